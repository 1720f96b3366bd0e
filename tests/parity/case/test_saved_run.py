"""A capsule's text: what `save_capsule` would not have written is refused, whatever it is."""

import json

import numpy as np
import pytest

from pullback.parity import replay
from pullback.parity.case.saved_run import read_run
from pullback.parity.case.saved_values import CapsuleError


def test_a_good_one(write_capsule):
    run = read_run(write_capsule())
    assert run.named == {
        "rule": "jax.numpy:square",
        "reference": "pullback.functional:relu",
        "in kwargs": "jax.nn:relu",
    }
    assert run.options["seed"] == 3 and run.arrays.keys() == {"array0", "array1"}
    assert "arrays" not in repr(run)


def setting(*path_and_value):
    """A change of one entry of the JSON: setting("options", "seed", 3)."""
    *path, last, value = path_and_value

    def change(contents):
        for key in path:
            contents = contents[key]
        contents[last] = value

    return change


def without(*path):
    *before, last = path

    def change(contents):
        for key in before:
            contents = contents[key]
        del contents[last]

    return change


def nested(depth):
    node = {"value": 1}
    for _ in range(depth):
        node = {"tuple": [node]}
    return node


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("functions", "rule"), ": it names no rule"),
        (without("functions"), ""),
        (setting("functions", []), ""),
        (setting("functions", "oracle", "os:system"), ": its functions are not those of a run"),
        (setting("functions", "reference", 3), ": its functions are not those of a run"),
        (without("inputs"), ""),
        (without("inputs", "args"), ": its inputs are not those of a run"),
        (setting("inputs", "device", {"value": None}), ": its inputs are not those of a run"),
        (setting("inputs", "args", {"list": []}), ": its arguments are no tuple"),
        (setting("inputs", "args", {"set": []}), ": its arguments are no tuple"),
        (setting("inputs", "args", 3), ""),
        (setting("inputs", "kwargs", {"tuple": []}), ": its kwargs are no dict"),
        (setting("inputs", "kwargs", {"value": 3}), ": its kwargs are no dict"),
        (setting("inputs", "torch_kwargs", nested(3)), ": its torch_kwargs are no dict"),
        (setting("inputs", "args", "tuple", [{"array": "array7", "dtype": None}]), ": its arrays are not those of its"),
        (setting("inputs", "args", "tuple", []), ": its arrays are not those of its arguments"),
        (
            setting("inputs", "args", "tuple", 1, {"array": "array0", "dtype": None}),
            ": its arrays are not those of its",
        ),
        (setting("inputs", "args", "tuple", 1, {"array": "array0"}), ""),
        (setting("inputs", "args", "tuple", 1, {"pickle": "gASVAAA="}), ""),
        (setting("inputs", "args", "tuple", 1, {"value": [1, 2]}), ""),
        (setting("inputs", "args", "tuple", 1, {"value": 1, "function": "a:b"}), ""),
        (setting("inputs", "args", "tuple", 1, {"function": None}), ""),
        (setting("inputs", "args", "tuple", 1, {}), ""),
        (setting("inputs", "args", "tuple", 1, nested(64)), ""),
        (setting("inputs", "args", "tuple", 1, {"random key": {"value": 1}, "impl": 3}), ""),
        (without("options"), ""),
        (setting("options", "seed", "3"), ": its option 'seed' cannot be as it is"),
        (setting("options", "seed", True), ": its option 'seed' cannot be as it is"),
        (setting("options", "seed", 10**30), ": its option 'seed' cannot be as it is"),
        (setting("options", "static_argnums", [None]), ": its option 'static_argnums' cannot be as it is"),
        (setting("options", "checks", "values"), ": its option 'checks' cannot be as it is"),
        (setting("options", "dtypes", {"float32": 1}), ": its option 'dtypes' cannot be as it is"),
        (setting("options", "allow_unjudged", 1), ": its option 'allow_unjudged' cannot be as it is"),
        (setting("options", "trusted", 1.5), ": its option 'trusted' cannot be as it is"),
        (setting("options", "\x1b[2J", 1), r": its option '\\x1b\[2J' cannot be as it is"),
        (setting("options", "rule", "os:system"), ": its option 'rule' cannot be as it is"),
        (without("here"), ""),
        (without("here", "x64"), ""),
        (setting("here", "x64", None), ": what it says of the place where it was saved cannot be read"),
        (setting("here", "jax", [1]), ": what it says of the place where it was saved cannot be read"),
        (without("failed"), ""),
        (setting("failed", "all"), ": what it says of the place"),
        (setting("schema", None), ""),
        (setting("schema", "9"), ""),
        (setting("schema", 0), ""),
        (setting("failed", ["\ud800"]), ""),
        (setting("functions", "rule", "\udc80:f"), ""),
    ],
)
def test_texts_that_no_capsule_has(write_capsule, contents, change, message):
    change(contents)
    path = write_capsule(contents)
    with pytest.raises(CapsuleError, match=f"capsule.npz is a damaged capsule{message}") as raised:
        read_run(path)
    assert "\n" not in str(raised.value)
    with pytest.raises(CapsuleError, match="is a damaged capsule"):
        replay(path, "my_ops")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        "nan",
        '{"schema": 1}',
        "[" * 100_000,
        '{"a":' * 50_000,
        "9" * 5000,
        '"\\ud800"',
        "{}x",
    ],
)
def test_texts_that_are_none(write_capsule, text):
    with pytest.raises(CapsuleError, match="capsule.npz is a damaged capsule"):
        read_run(write_capsule(text))


def test_a_newer_schema(write_capsule, contents):
    contents["schema"] = 7
    with pytest.raises(CapsuleError, match="capsule.npz has schema 7, newer than 1: update pullback to read it"):
        read_run(write_capsule(contents))


@pytest.mark.parametrize(
    ("change", "arrays"),
    [
        (setting("inputs", "args", "tuple", 0, "dtype", "object"), {}),
        (setting("inputs", "args", "tuple", 0, "dtype", "float32"), {}),
        (setting("inputs", "args", "tuple", 0, "dtype", "bfloat16"), {}),
        (setting("inputs", "args", "tuple", 0, "dtype", "no such dtype"), {}),
        (setting("inputs", "cotangents", "impl", "no such generator"), {}),
        (setting("inputs", "cotangents", "random key", {"value": "text"}), {"array1.npy": None}),
        (setting("here", "matmul precision", "very high"), {}),
    ],
)
def test_what_shows_only_when_the_values_are_made(write_capsule, contents, change, arrays):
    change(contents)
    with pytest.raises(CapsuleError, match="capsule.npz is a damaged capsule"):
        replay(write_capsule(contents, arrays))


def test_options_that_check_does_not_know_are_said_as_check_says_them(write_capsule, contents):
    contents["options"]["checks"] = ["poetry"]
    with pytest.raises(ValueError, match="checks must be among 'values'.*; got 'poetry'"):
        replay(write_capsule(contents))


def test_the_table_of_options_is_that_of_check():
    import inspect

    from pullback.parity import check
    from pullback.parity.case.saved_run import INPUTS, OPTIONS, ROLES

    known = set(inspect.signature(check).parameters)
    assert known - {"device"} == {*OPTIONS, *INPUTS, *ROLES}


def test_a_long_text_takes_little_memory(write_capsule, contents):
    """Four million characters of JSON, of which each two would be a list."""
    import tracemalloc

    contents["failed"] = [""]
    text = json.dumps(contents).replace('[""]', "[" + ",".join(["[]"] * 1_000_000) + "]")
    path = write_capsule(text)
    tracemalloc.start()
    with pytest.raises(CapsuleError, match="what it says of the place where it was saved cannot be read"):
        read_run(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 250_000_000 and len(text) < 4 * 2**20
    assert np.load(path)["capsule"].shape == ()
