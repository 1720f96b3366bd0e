"""The survey of models: a right port must pass, a wrong one must be named, and what is not so is counted."""

import os
import pickle
import subprocess
import sys

import numpy as np

from pullback import parity
from pullback.benchmarks.models.__main__ import all_cases
from pullback.benchmarks.models.case import judged
from pullback.benchmarks.models.costs import of_net
from pullback.benchmarks.models.large import large
from pullback.benchmarks.models.nets import resnets


def test_there_are_many_layers_right_and_wrong():
    cases = all_cases()
    assert len({case.layer for case in cases}) >= 60
    assert {case.framework for case in cases} == {"linen", "nnx", "equinox"}
    right = {case.layer for case in cases if not case.error}
    assert len(right) >= 50 and sum(bool(case.error) for case in cases) >= 70
    assert {case.layer for case in all_cases(["LSTM"])} == {
        "LSTM",
        "LSTMCell",
        "LSTMCell, optimized",
        "LSTM, two layers",
    }


def test_a_case_is_as_it_should_be_only_if_its_error_is_found_and_named():
    cases = all_cases(["LeakyReLU"])
    (right,) = [case for case in cases if not case.error]
    (wrong,) = [case for case in cases if case.error]
    assert judged(right).as_it_should and judged(wrong) == (True, "negative_slope=0.01, where the original has 0.2")
    assert judged(right._replace(error="none")) == (False, "not seen")
    assert not judged(wrong._replace(error="")).as_it_should
    assert not judged(wrong._replace(hint="eps")).as_it_should
    assert not judged(wrong._replace(where="elsewhere")).as_it_should
    broken = right._replace(inputs=(np.zeros((0, 6), np.float32),))
    assert not judged(broken).as_it_should and judged(broken).said.startswith("ValueError: inputs must have elements")


def test_a_net_can_be_checked_in_a_process_of_its_own():
    """Such a process cannot find what `python -m` has in its main module."""
    assert pickle.loads(pickle.dumps(of_net)) is of_net and of_net.__module__ == "pullback.benchmarks.models.costs"
    assert {net.framework for net in resnets()} == {"linen", "nnx"} and any(net.where for net in resnets())


def test_the_command_counts_and_its_exit_code_says_whether_all_is_well():
    command = [sys.executable, "-m", "pullback.benchmarks.models", "--only", "Softplus"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"})
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert (
        "Right ports that pass: 1 of 1. Errors found at their layer, and named where a name is known: 1 of 1." in said
    )


def test_the_large_net_is_right_when_it_is_small():
    (net,) = large(width=6, depth=2, rows=3)
    assert parity.check_model(net.port(), net.original(), net.inputs).ok
    assert next(large()).name == "12 linear layers, 100.7 million parameters"
