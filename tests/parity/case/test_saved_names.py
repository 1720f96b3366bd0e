"""Which names in a capsule may run: each row of names says what a replay does with it."""

import inspect
import sys

import pytest

from pullback.parity import CapsuleError, replay, save_capsule
from pullback.parity.case.saved_names import OF_ARRAYS, NotAllowed, as_modules, find_allowed, refuse_never

TRAP = """
raise SystemError("this module was imported")
"""

RULES = """
import functools
import math
import os
import pathlib
import subprocess
from math import sin as math_sin
from os import system

import jax
import jax.numpy as jnp
import my_other
import numpy as np

def rule(x):
    return x * x

class Rules:
    @staticmethod
    def static(x):
        return x

    def __call__(self, x):
        return x

instance = Rules()
compiled = jax.jit(jnp.sin)
partial = functools.partial(rule)
partial_system = functools.partial(os.system)
square = jnp.square
load = jnp.load
theirs = my_other.theirs
folder = pathlib.Path(".")
text = "text"
number = 3
"""


@pytest.fixture
def modules(tmp_path, monkeypatch):
    (tmp_path / "my_names.py").write_text(RULES)
    (tmp_path / "my_other.py").write_text("def theirs(x):\n    return x\n")
    (tmp_path / "my_trap.py").write_text(TRAP)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("my_names", "my_other", "my_trap"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "name",
    [
        *("pullback.functional:relu", "pullback.functional.mse:mse", "pullback.functional.experimental:fused_pallas"),
        *("jax.numpy:square", "jax.numpy:linalg.norm", "jax.numpy:float32", "jax.lax:dot", "jax.nn:relu"),
        *("jax.nn:initializers.he_normal", "jax.scipy.special:logsumexp", "jax.random:normal"),
        *("numpy:float32", "numpy:int8", "torch.nn.functional:relu", "torch.nn.functional:conv2d"),
        "pullback.parity.lesson.in_jax:twin_loss",
    ],
)
def test_functions_of_arrays_need_no_word(name):
    if name.startswith("torch"):
        pytest.importorskip("torch")
    if "experimental" in name:
        name = "pullback.functional.experimental:fused_value_and_grad_pallas"
    assert callable(find_allowed([name], ())[name])


@pytest.mark.parametrize(
    ("name", "because"),
    [
        *((name, "is a part of Python itself") for name in ("builtins:exec", "builtins:eval", "builtins:__import__")),
        *(
            (name, "is a part of Python itself")
            for name in ("os:system", "posix:system", "nt:system", "subprocess:run")
        ),
        *((name, "is a part of Python itself") for name in ("operator:attrgetter", "operator:mul", "math:sin")),
        *(
            (name, "is a part of Python itself")
            for name in ("importlib:import_module", "runpy:run_path", "pickle:loads")
        ),
        *((name, "is a part of Python itself") for name in ("ctypes:CDLL", "shutil:rmtree", "functools:partial")),
        *((name, "is a part of Python itself") for name in ("antigravity:geohash", "this:s", "os.path:join")),
        *((name, "runs code that it is given") for name in ("__main__:f", "joblib:load", "pip:main", "dill:loads")),
        *((name, "this part of pullback reads and writes files") for name in ("pullback:x", "pullback.cli:main")),
        ("pullback.parity:replay", "this part of pullback reads and writes files"),
        ("pullback.data:load_mnist", "this part of pullback reads and writes files"),
        *((name, "it reads or writes files") for name in ("jax.numpy:load", "jax.numpy:save", "jax.numpy:savez")),
        *((name, "it reads or writes files") for name in ("jax.numpy:fromfile", "numpy:load", "numpy:memmap")),
        *((name, "it reads or writes files") for name in ("torch:load", "torch.jit:load", "torch.ops:load_library")),
        ("torch.utils.cpp_extension:load_inline", "it reads or writes files, or loads code"),
        ("my_trap:rule.__globals__", "names with two underscores are Python's own"),
        ("my_trap.__init__:rule", "names with two underscores are Python's own"),
    ],
)
def test_never(modules, name, because):
    with pytest.raises(CapsuleError, match=f"^a capsule cannot name {name}, because .*{because}"):
        find_allowed([name], ["my_trap", "jax", "numpy", "torch", name.partition(":")[0]])


@pytest.mark.parametrize(
    "name",
    [
        "",
        "f",
        ":f",
        "m:",
        "m:f:g",
        "a b:f",
        "m:f()",
        "../m:f",
        "/etc/m:f",
        "m\n:f",
        "m:f\x1b[2J",
        "m..n:f",
        ".m:f",
        "m:3",
    ],
)
def test_what_is_no_name(name):
    with pytest.raises(CapsuleError, match="^expected package.module:function, got '") as raised:
        refuse_never([name])
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("name", "modules_to_allow"),
    [
        ("my_trap:rule", ("my_trap",)),
        ("my_trap.sub.module:rule", ("my_trap.sub.module",)),
        ("jax.experimental.pallas:pallas_call", ("jax.experimental.pallas",)),
        ("jax.numpy:_private", ("jax.numpy",)),
        ("numpy:sin", ("numpy",)),
        ("numpy:random.seed", ("numpy",)),
        ("torch:sin", ("torch",)),
        ("jax_extra.numpy:sin", ("jax_extra.numpy",)),
    ],
)
def test_what_the_user_must_allow(modules, name, modules_to_allow):
    with pytest.raises(NotAllowed) as raised:
        find_allowed(["jax.numpy:sin", name, name], ["my_other"])
    assert raised.value.modules == modules_to_allow and str(raised.value) == name


def test_nothing_is_imported_before_all_is_allowed(modules):
    with pytest.raises(NotAllowed):
        find_allowed(["my_names:rule", "my_trap:rule"], ["my_names"])
    assert not {"my_names", "my_other", "my_trap"}.intersection(sys.modules)
    with pytest.raises(ImportError, match="cannot import my_trap: SystemError: this module was imported"):
        find_allowed(["my_names:rule", "my_trap:rule"], ["my_names", "my_trap"])


@pytest.mark.parametrize("path", ["rule", "Rules.static", "instance", "compiled", "partial", "square", "Rules"])
def test_what_is_in_an_allowed_module(modules, path):
    assert callable(find_allowed([f"my_names:{path}"], ["my_names"])[f"my_names:{path}"])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("os.system", "that is os:system: os is a part of Python itself"),
        ("system", "that is posix:system: posix is a part of Python itself"),
        ("subprocess.run", "that is subprocess:run: subprocess is a part of Python itself"),
        ("partial_system", "that is posix:partial_system"),
        ("math_sin", "that is math:sin"),
        ("folder.unlink", "that is pathlib"),
        ("text.format", "that is builtins:format"),
        ("load", "that is jax.numpy:load: it reads or writes files"),
        ("np.load", "that is numpy:load: it reads or writes files"),
        ("number", "it is no function"),
        ("jnp", "it is no function"),
    ],
)
def test_what_an_allowed_module_has_from_elsewhere(modules, path, message):
    with pytest.raises(CapsuleError, match=message) as raised:
        find_allowed([f"my_names:{path}"], ["my_names", "numpy"])
    assert not isinstance(raised.value, NotAllowed)


@pytest.mark.parametrize("path", ["theirs", "my_other.theirs"])
def test_another_module_of_the_users_is_allowed_by_its_name(modules, path):
    with pytest.raises(NotAllowed, match=f"my_names:{path}, which is my_other:") as raised:
        find_allowed([f"my_names:{path}"], ["my_names"])
    assert raised.value.modules == ("my_other",)
    assert find_allowed([f"my_names:{path}"], ["my_names", "my_other"])[f"my_names:{path}"](3) == 3


@pytest.mark.parametrize(
    ("allow", "message"),
    [
        ("os", "allow: os is never allowed, because os is a part of Python itself"),
        (["my_ops", "builtins"], "allow: builtins is never allowed"),
        ("pullback.cli", "allow: pullback.cli is never allowed"),
        ("my ops", "allow: expected the name of a module or a package, such as my_ops; got 'my ops'"),
        ("my_ops:f", "got 'my_ops:f'"),
        ("", "got ''"),
        ([3], "got 3"),
    ],
)
def test_what_cannot_be_allowed(allow, message):
    with pytest.raises(ValueError, match=message):
        as_modules(allow)
    assert as_modules("my_ops") == ("my_ops",) and as_modules(["a.b", "c"]) == ("a.b", "c") and as_modules(()) == ()


@pytest.mark.parametrize("package", [*OF_ARRAYS, "jax.scipy.special", "jax.scipy.linalg", "jax.numpy.linalg"])
def test_no_function_that_needs_no_word_takes_a_file(package):
    """Of every public function there, in the installed version: none has an argument that is a file."""
    import importlib

    if package.startswith("torch"):
        pytest.importorskip("torch")
    module, seen = importlib.import_module(package), 0
    for name in dir(module):
        try:
            parameters = set(inspect.signature(getattr(module, name)).parameters)
            find_allowed([f"{package}:{name}"], ())
        except (CapsuleError, TypeError, ValueError):
            continue
        seen += 1
        assert not parameters.intersection({"file", "fname", "filename", "path", "fid", "code", "cmd", "url"}), name
    assert seen >= 3 or package == "jax.scipy", "which holds modules only"


def test_a_run_on_a_number_alone_is_saved(modules, tmp_path):
    from pullback.parity import check

    report = check(find_allowed(["my_names:rule"], ["my_names"])["my_names:rule"], 1.5, checks=["values"])
    save_capsule(tmp_path / "capsule.npz", report, "my_names:rule", (1.5,), checks=["values"])
    assert replay(tmp_path / "capsule.npz", "my_names").ok


def test_a_capsule_of_what_never_runs_is_not_saved(tmp_path):
    from pullback.parity import check

    report = check(lambda x: x, 1.5, checks=["values"])
    for rule, reference in (("math:sin", None), ("my:f", "operator:mul"), ("my f", None)):
        with pytest.raises(CapsuleError, match="a capsule cannot name|expected package.module:function"):
            save_capsule(tmp_path / "capsule.npz", report, rule, (1.5,), reference=reference)
    with pytest.raises(CapsuleError, match="a capsule cannot name builtins:len"):
        save_capsule(tmp_path / "capsule.npz", report, "my:f", (1.5, len))
    assert not list(tmp_path.iterdir())


def test_replay_lists_what_is_not_allowed(write_capsule, contents, modules):
    contents["functions"] = {"rule": "my_trap:rule", "reference": "my_other:theirs"}
    message = (
        "names functions, which a replay imports and calls: rule my_trap:rule, reference my_other:theirs, in kwargs "
        r"jax.nn:relu. Not allowed so far: my_trap:rule. If you trust them: replay\(path, allow=\['my_other', "
        r"'my_trap'\]\)$"
    )
    with pytest.raises(CapsuleError, match=message):
        replay(write_capsule(contents), allow=["my_other"])
    assert not {"my_trap", "my_other"}.intersection(sys.modules)
    with pytest.raises(CapsuleError, match="capsule.npz needs what is not here: cannot import my_trap: SystemError"):
        replay(write_capsule(contents), allow=["my_other", "my_trap"])
    contents["functions"]["rule"] = "builtins:exec"
    contents["inputs"]["args"]["tuple"][1] = {"value": "open('made by exec', 'w')"}
    with pytest.raises(
        CapsuleError, match="capsule.npz: a capsule cannot name builtins:exec, because builtins is a part"
    ):
        replay(write_capsule(contents), allow=["my_other"])
