"""Processes of the operating system, on this machine: they compute together, and none is left waiting.

What one of them does is in tests/parallel/worker.py.
"""

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import pytest

from pullback.data import load_mnist
from pullback.functional import init_mlp
from pullback.parallel import processes
from pullback.parity.case.leaves import as_numpy
from pullback.parity.lesson import in_jax, in_torch
from pullback.parity.lesson.result import grad_leaves
from pullback.parity.verdict.comparison import Comparison

TIMEOUT = ["--timeout", "6"]
"""For the tests in which somebody is missed."""
ENDED = "pullback: process {} of {} was ended: by a signal, or by jax because another process ended or did not come"


@pytest.fixture(scope="module")
def trained(start_processes, worker, tmp_path_factory) -> Mapping[int, Any]:
    """Number of processes -> what each said, and the loss and gradients of process 0, all on four devices."""
    runs = {}
    for count in (1, 2, 4):
        folder = tmp_path_factory.mktemp(f"train{count}")
        command = [*worker, "train", str(folder)]
        started = start_processes(folder, command, count, devices=4 // count)
        assert [process.ended(90) for process in started] == [0] * count, [process.stderr for process in started]
        arrays = np.load(folder / "0.npz")
        runs[count] = [process.said[-1] for process in started], [arrays[f"arr_{k}"] for k in range(5)]
    return runs


def test_all_processes_have_the_same_bits(trained):
    for count, (said, _) in trained.items():
        assert [(one["process"], one["of"], one["devices"]) for one in said] == [(k, count, 4) for k in range(count)]
        assert len({one["digest"] for one in said}) == 1
        assert len({str(one["losses"]) for one in said}) == 1


def test_each_process_reads_and_holds_only_its_rows(trained):
    """61 rows on four devices: 16 each, the last 13."""
    for count, (said, _) in trained.items():
        rows = [list(range(61))[64 // count * k : 64 // count * (k + 1)] for k in range(count)]
        assert [one["read"] for one in said] == rows
        assert [one["held"] for one in said] == [[[16, 784]] * (4 // count)] * count


def test_gradients_of_many_processes_are_right(trained):
    """Within the bound, as in tests/parallel/test_step.py: x is normalized first, the bound is the folded one's."""
    images, labels = load_mnist("sample").train
    mean, std = np.float32(33.3), np.float32(78.6)
    params = jax.tree.map(np.asarray, init_mlp(jax.random.key(0), (784, 64, 1)))

    def folded(params, x, targ):
        (w, b), last = params
        shift = jax.numpy.broadcast_to((mean / std) * jax.numpy.sum(w, axis=0), b.shape)
        return in_jax.twin_loss([(w / std, b - shift), last], x, targ)

    def leaves(result):
        loss, grads, *_ = result
        return as_numpy({"loss": loss} | grad_leaves(grads))

    def of_run(arrays):
        loss, w1, b1, w2, b2 = arrays
        return lambda *_: (loss, [(w1, b1), (w2, b2)])

    compared = Comparison(
        "processes",
        (params, images[:61].astype(np.float32), labels[:61].astype(np.float32)),
        {f"{count} processes": of_run(arrays) for count, (_, arrays) in trained.items()},
        jax.value_and_grad(folded),
        lambda p, x, t: in_torch.in_double(in_torch.net_autograd)(p, (x.astype(np.float64) - mean) / std, t)[1:3],
        np.float32,
        leaves,
    )
    rows = compared.rows
    assert len(rows) == 5 and all(row.ok for row in rows), [row.deviations for row in rows if not row.ok]


def test_an_epoch_of_many_processes_is_that_of_one(trained):
    """The order in which an all-reduce adds is the one difference; how steps grow it, no bound says: 1e-5."""
    (of_one,), _ = trained[1]
    assert len(of_one["losses"]) == 4 and of_one["losses"][-1] < of_one["losses"][0] / 2
    for count in (2, 4):
        np.testing.assert_allclose(trained[count][0][0]["losses"], of_one["losses"], rtol=1e-5)


def test_params_that_differ_end_all_with_one_sentence(start_processes, worker, tmp_path):
    started = start_processes(tmp_path, [*worker, "disagree", str(tmp_path)], 3, devices=1)
    assert [process.ended(30) for process in started] == [1, 1, 1]
    for process in started:
        assert process.stderr.strip().splitlines()[-1] == (
            "ValueError: params must be the same in all 3 processes; params[1][0] float32[8, 1] of process 1 is not "
            "that of process 0. Draw them from one key, or load one file"
        )


@pytest.mark.parametrize("which, how", [(1, signal.SIGKILL), (0, signal.SIGKILL), (2, signal.SIGTERM)])
def test_where_one_is_ended_all_end_and_say_so(start_processes, worker, until, tmp_path, which, how):
    """In the middle of a loop of all-reduces, in which all wait for each other."""
    started = start_processes(tmp_path, [*worker, "endless", str(tmp_path), *TIMEOUT], 3, devices=1)
    until(lambda: all(process.said for process in started))
    started[which].popen.send_signal(how)
    for k, process in enumerate(started):
        # The one that got the signal ends by it at once, the others when they miss it.
        code = process.ended(30)
        assert code == -how if k == which else code != 0
        sentence = re.compile(
            re.escape(ENDED.format(k, 3)) + "|a collective failed, most likely because another process"
        )
        until(lambda process=process, sentence=sentence: sentence.search(process.stderr), 10)


def test_one_that_goes_silent_is_missed(start_processes, worker, until, tmp_path):
    """Stopped, not ended: its connections stay open, and only its heartbeats stay away."""
    started = start_processes(tmp_path, [*worker, "endless", str(tmp_path), *TIMEOUT], 3, devices=1)
    until(lambda: all(process.said for process in started))
    started[1].popen.send_signal(signal.SIGSTOP)
    for k in (0, 2):
        assert started[k].ended(40) != 0
        until(lambda k=k: ENDED.format(k, 3) in started[k].stderr or "a collective failed" in started[k].stderr, 10)
    assert started[1].popen.poll() is None


def test_an_error_of_ones_own_is_shown_before_the_others_are_missed(start_processes, worker, until, tmp_path):
    started = start_processes(tmp_path, [*worker, "fail", str(tmp_path), *TIMEOUT], 2, devices=1)
    assert all(process.ended(30) != 0 for process in started)
    assert "KeyError: 'mine'" in started[1].stderr
    until(lambda: ENDED.format(0, 2) in started[0].stderr or "a collective failed" in started[0].stderr, 10)


def test_without_a_coordinator_the_others_give_up(start_processes, worker, tmp_path):
    started = start_processes(tmp_path, [*worker, "meet", str(tmp_path), "--timeout", "2"], 2, only=[1])
    assert started[0].ended(30) == 1
    assert re.fullmatch(
        r"ConnectionError: processes: no coordinator at 127\.0\.0\.1:\d+ within 2 s: Connection refused\. "
        r"Process 0 must run there, and its port be open",
        started[0].stderr.strip().splitlines()[-1],
    )


def test_where_the_others_never_come_the_first_ends(start_processes, worker, until, tmp_path):
    (alone,) = start_processes(tmp_path, [*worker, "meet", str(tmp_path), "--timeout", "2"], 2, only=[0])
    assert alone.ended(30) != 0
    until(lambda: f"{ENDED.format(0, 2)} within 2 s" in alone.stderr, 10)


def test_under_slurm_they_find_each_other(start_processes, worker, tmp_path):
    """What `srun` would set for two tasks on this host; the port that jax takes follows from the job's number."""

    def is_free(job: int) -> bool:
        with socket.socket() as here:
            return here.connect_ex(("127.0.0.1", job % 2**12 + 65535 - 2**12 + 1)) != 0

    job = next(job for job in range(os.getpid(), os.getpid() + 4096) if is_free(job))

    def env(task: int) -> dict[str, str]:
        where = {"SLURM_JOB_ID": str(job), "SLURM_STEP_NODELIST": "localhost", "SLURM_STEP_NUM_NODES": "1"}
        return where | {"SLURM_NTASKS": "2", "SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)}

    started = start_processes(tmp_path, [*worker, "meet", str(tmp_path), "--detect"], 2, devices=1, env=env)
    assert [process.ended(60) for process in started] == [0, 0], started[0].stderr + started[1].stderr
    assert [process.said for process in started] == [[{"process": k, "of": 2, "gathered": [0, 1]}] for k in range(2)]


def test_with_nothing_there_is_one_process_and_nothing_is_started(monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **__: pytest.fail("started"))
    with processes():
        assert jax.process_count() == 1 and not jax.distributed.is_initialized()
    with pytest.raises(KeyError), processes():
        raise KeyError


MISSING = "Give coordinator, num_processes and process_id"
WRONG: Any = [
    ({"coordinator": "127.0.0.1"}, "processes: coordinator must be HOST:PORT; got '127.0.0.1'"),
    ({"coordinator": ":80"}, "processes: coordinator must be HOST:PORT; got ':80'"),
    ({"coordinator": "host:http"}, "processes: coordinator must be HOST:PORT; got 'host:http'"),
    ({"coordinator": "host:65536"}, "processes: coordinator must be HOST:PORT; got 'host:65536'"),
    ({"num_processes": 0}, "processes: num_processes must be at least 1; got 0"),
    ({"num_processes": 2, "process_id": 2}, "processes: process_id must be 0 to num_processes - 1; got 2 of 2"),
    ({"num_processes": 2, "process_id": -1}, "processes: process_id must be 0 to num_processes - 1; got -1 of 2"),
]


@pytest.mark.parametrize("wrong, text", WRONG)
def test_arguments_that_do_not_fit(wrong, text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"), processes(**wrong):
        pytest.fail("went on")


def test_what_jax_cannot_find_is_asked_for(start_processes, worker, tmp_path):
    missing = [["--num-processes", "2"], ["--detect"], ["--coordinator", "127.0.0.1:8476"]]
    command = [*worker, "meet", str(tmp_path)]
    started = start_processes(tmp_path, command, 3, each=dict(enumerate(missing)), env=lambda k: {})
    assert [process.ended(60) for process in started] == [1, 1, 1]
    for process, said in zip(
        started, ("coordinator_address", "coordinator_address", "Number of processes"), strict=True
    ):
        (line,) = process.stderr.strip().splitlines()[-1:]
        assert line.startswith(f"ValueError: processes: {said}") and line.endswith(MISSING)


def test_after_a_computation_it_is_too_late(monkeypatch):
    jax.devices()
    # Neither this process's settings nor what listens here is in question.
    for name in ("_configure", "_check_free"):
        monkeypatch.setattr(sys.modules["pullback.parallel.processes"], name, lambda *_: None)
    with pytest.raises(ValueError, match=r"must be called before any JAX calls .* and others$"):
        with processes("127.0.0.1:8476", 1, 0):
            pytest.fail("went on")


def test_a_port_that_is_taken_is_said():
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        text = f"processes: process 0 cannot listen at {address}: Address already in use. Choose another port"
        with pytest.raises(ConnectionError, match=f"^{re.escape(text)}$"), processes(address, 2, 0):
            pytest.fail("went on")


def test_a_host_that_does_not_exist_is_not_waited_for():
    start = time.monotonic()
    with pytest.raises(ConnectionError, match="^processes: no coordinator at no.such.host.invalid:80 within"):
        with processes("no.such.host.invalid:80", 2, 1):
            pytest.fail("went on")
    assert time.monotonic() - start < 15
