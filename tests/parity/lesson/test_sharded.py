"""The net on all devices is one more implementation, and of many processes the report says whether they agree."""

import sys
from typing import Any

import jax
import numpy as np
import pytest

from pullback.parity import check_mnist
from pullback.parity.lesson import in_jax, sharded
from pullback.parity.lesson.result import result_leaves
from pullback.parity.lesson.sharded import net_sharded

SMALL = {"batch_size": 13, "hidden": 6, "source": "sample"}


@pytest.mark.eight_devices
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_many_devices_are_one_more_implementation(dtype):
    report = check_mnist(**SMALL, dtype=dtype)
    assert report.ok, report
    assert report.implementations[-1] == "sharded"
    assert report.about["device"].startswith("8 × cpu (cpu), ")
    of_net = [row for row in report.rows if row.check == "net"]
    assert len(of_net) == 7 and all("sharded" in row.deviations for row in of_net)
    assert not [finding for finding in report.findings if finding.check == "processes"]


def test_one_device_is_no_other_implementation():
    report = check_mnist(**SMALL)
    assert "sharded" not in report.implementations and report.about["device"].startswith("cpu (cpu), ")


def without_the_all_reduce(whole_batch):
    return lambda squares, sums, size, mask, axis_name, acc: whole_batch(squares, sums, size, mask, None, acc)


def counting_padding(whole_batch):
    """Divided by the number of places."""
    return lambda squares, sums, size, mask, axis_name, acc: whole_batch(
        squares, sums, size, mask | True, axis_name, acc
    )


def counting_devices(whole_batch):
    """Divided by the mean of what the devices have."""

    def whole(*args):
        squares, sums, count = whole_batch(*args)
        return squares, sums, count / 8

    return whole


def bias_of_one_device(whole_batch):
    def whole(squares, sums, size, mask, axis_name, acc):
        here = jax.lax.axis_index(axis_name) == 0
        sums = [(w, jax.numpy.where(here, b, 0)) for w, b in sums]
        return whole_batch(squares, sums, size, mask, axis_name, acc)

    return whole


@pytest.mark.eight_devices
@pytest.mark.parametrize(
    "name, change, leaves",
    [
        ("whole_batch", without_the_all_reduce, {"loss", "w1", "b1", "w2", "b2", "x_bar", "output"}),
        ("whole_batch", counting_padding, {"loss", "w1", "b1", "w2", "b2", "x_bar"}),
        ("whole_batch", counting_devices, {"loss", "w1", "b1", "w2", "b2", "x_bar"}),
        ("whole_batch", bias_of_one_device, {"b1", "b2"}),
        ("of_rows", lambda _: lambda mask: lambda d: d, {"loss", "b2"}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_wrong_step_is_named(monkeypatch, name, change, leaves):
    fused = sys.modules["pullback.functional.fused"]
    monkeypatch.setattr(fused, name, change(getattr(fused, name)))
    report = check_mnist(61, 4, source="sample")
    assert not report.ok and report.culprits == ["sharded"]
    failed = {row.leaf for row in report.rows if not row.ok}
    assert leaves <= failed and (name == "of_rows" or leaves == failed)


@pytest.mark.eight_devices
def test_what_comes_back_is_whole_and_of_the_rows_alone():
    rng = np.random.default_rng(0)
    params = [(rng.integers(-1, 2, (6, 4)), np.ones(4)), (rng.integers(-1, 2, (4, 1)), np.ones(1))]
    args: Any = (params, rng.integers(-2, 3, (4, 6)), rng.integers(0, 10, 4))
    args = jax.tree.map(lambda a: np.asarray(a, np.float32), args)
    got, want = result_leaves(net_sharded(jax.devices())(*args)), result_leaves(in_jax.net_twin(*args))
    assert got.keys() == want.keys()
    for name, leaf in want.items():
        np.testing.assert_array_equal(got[name], leaf)


@pytest.mark.parametrize("ok", [True, False])
def test_verdicts_of_processes(ok, monkeypatch):
    """What the findings say; the processes themselves: tests/cli/test_many_processes.py."""
    monkeypatch.setattr(sharded, "gather", lambda said: np.array([1, said, 1]))
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(sharded, "check_same", lambda name, grads: None)
    gradients, verdicts = sharded.process_findings({"loss": np.ones(()), "w1": np.ones(2)}, ok)
    assert (gradients.status, gradients.text) == ("pass", "bitwise equal in all 3 processes")
    said = ("pass", "the same in all 3 processes") if ok else ("FAIL", "process 1 of 3 says FAIL")
    assert (verdicts.status, verdicts.text) == said


def test_gradients_that_differ_are_a_failure(monkeypatch):
    def differ(name, grads):
        raise ValueError(f"{name} must be the same in all 2 processes; {name}['w1'] of process 1 is not")

    monkeypatch.setattr(sharded, "check_same", differ)
    gradients, _ = sharded.process_findings({"w1": np.ones(2)}, True)
    assert gradients.status == "FAIL" and "grads['w1'] of process 1" in gradients.text
