"""What processes tell each other; with two real ones, tests/parallel/worker.py says what came of each case."""

import numpy as np
import pytest

from pullback.parallel import check_same, gather

TORN = "params must be the same in all 2 processes; {} is not {}. Draw them from one key, or load one file"
OTHER = (
    "params must have the same leaves in all 2 processes; process 1 has others than process 0 (here, in process {}: "
)


def test_one_process_agrees_with_itself():
    gathered = gather(np.float64(0.1))
    assert gathered.dtype == np.float64 and gathered.tolist() == [0.1]
    assert gather([1, 2]).shape == (1, 2)
    check_same("params", [np.zeros(3), 1])


@pytest.fixture(scope="module")
def said(start_processes, worker, tmp_path_factory):
    folder = tmp_path_factory.mktemp("agree")
    processes = start_processes(folder, [*worker, "agree", str(folder)], 2)
    assert [process.ended(60) for process in processes] == [0, 0], processes[0].stderr + processes[1].stderr
    return [process.said[-1] for process in processes]


def test_gather_gives_each_what_all_gave_in_order_and_bit_for_bit(said):
    for of_one in said:
        assert of_one["gathered"] == {
            "int32": [[0, 3], [1, 3]],
            "float32": [[0, 3], [1, 3]],
            "bool": [[False, True], [True, True]],
        }
        assert of_one["wide"] == [1, 1 + 2.0**-40], "not rounded to float32"
        assert of_one["shape"] == [2, 2, 3]


@pytest.mark.parametrize("case", ["same", "empty", "nan", "divided", "number"])
def test_the_same_bits_are_the_same(said, case):
    assert [of_one["said"][case] for of_one in said] == [None, None]


@pytest.mark.parametrize(
    "case, leaf, other",
    [
        ("value", "params[1][0] float32[2, 3] of process 1", "that of process 0"),
        ("zero", "params float32[] of process 1", "that of process 0"),
        ("wide", "params float64[] of process 1", "that of process 0"),
        ("torn", "params float32[2] of process 0", "the same on all its devices"),
    ],
)
def test_other_bits_are_named_in_all_processes(said, case, leaf, other):
    assert [of_one["said"][case] for of_one in said] == [TORN.format(leaf, other)] * 2


@pytest.mark.parametrize(
    "case, shown",
    [
        ("shape", ["params['w'] float32[1, 3])", "params['w'] float32[2, 3])"]),
        ("dtype", ["params float32[2, 3])", "params float16[2, 3])"]),
        ("count", ["params[0] float32[3])", "params[0] float32[3], params[1] float32[3])"]),
        ("none", ["none)", "params[0] float32[3])"]),
    ],
)
def test_other_leaves_are_shown(said, case, shown):
    assert [of_one["said"][case] for of_one in said] == [OTHER.format(k) + text for k, text in enumerate(shown)]
