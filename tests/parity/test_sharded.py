"""The net on all devices is one more implementation, and of many processes the report says whether they agree."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback import parallel
from pullback.parity import check_mnist, sharded
from pullback.parity.result import Result

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


@pytest.mark.eight_devices
@pytest.mark.parametrize("wrong", ["no all-reduce", "mean over places", "mask dropped"])
def test_a_wrong_sharded_step_is_found_and_blamed(wrong, monkeypatch):
    right: Any = parallel.sharded_value_and_grad

    def step(mesh, params, x, targ, mask, **options):
        if wrong == "mask dropped":
            return right(mesh, params, x, targ, jnp.ones_like(mask), **options)
        loss, grads, x_bar = right(mesh, params, x, targ, mask, **options)
        share = 1 / 8 if wrong == "no all-reduce" else 13 / 16
        return loss, jax.tree.map(lambda g: g * jnp.asarray(share, g.dtype), grads), x_bar

    monkeypatch.setattr(sharded, "sharded_value_and_grad", step)
    report = check_mnist(**SMALL)
    assert not report.ok and report.culprits == ["sharded"]


@pytest.mark.parametrize("ok", [True, False])
def test_verdicts_of_processes(ok, monkeypatch):
    """What the findings say; the processes themselves: tests/cli/test_many_processes.py."""
    monkeypatch.setattr(sharded, "gather", lambda said: np.array([1, said, 1]))
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(sharded, "check_same", lambda name, grads: None)
    result = Result(None, None, [], None)
    gradients, verdicts = sharded.process_findings(lambda: result, (), ok)
    assert (gradients.status, gradients.text) == ("pass", "bitwise equal in all 3 processes")
    said = ("pass", "the same in all 3 processes") if ok else ("FAIL", "process 1 of 3 says FAIL")
    assert (verdicts.status, verdicts.text) == said


def test_gradients_that_differ_are_a_failure(monkeypatch):
    def differ(name, grads):
        raise ValueError(f"{name} must be the same in all 2 processes; grads[0][0] of process 1 is not")

    monkeypatch.setattr(sharded, "check_same", differ)
    gradients, _ = sharded.process_findings(lambda: Result(None, None, [], None), (), True)
    assert gradients.status == "FAIL" and "grads[0][0] of process 1" in gradients.text
