import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from pullback.functional import lin
from pullback.parity.case.case import take_up
from pullback.parity.probes.one_program import in_one_program
from pullback.parity.probes.transformations import transformation_findings, transformation_parts
from pullback.parity.verdict.evaluation import Evaluation

f32 = functools.partial(np.array, dtype=np.float32)

X = f32([[1, -2, 0.3], [0.7, 4, 5]])
W = f32([[0.1, 0.2], [0.3, -0.4], [0.5, 0.6]])
B = f32([1, 2])
ALL = ["jit, a second time", "eager", "donated buffers", "sharded", "vmap", "scan", "checkpoint", "inputs"]


def findings(rule, *args, **options):
    found = list(transformation_findings(Evaluation(take_up(rule, args or (X,), **options))))
    assert {finding.check for finding in found} == {"transformations"}
    return {finding.about: (finding.status, finding.text) for finding in found}


def square(x):
    return x * x


def callback(function):
    """x -> an array like it, computed by NumPy outside of jax."""
    return lambda x, method: jax.pure_callback(
        lambda x: np.asarray(function(np.asarray(x)), x.dtype), jax.ShapeDtypeStruct(x.shape, x.dtype), x,
        vmap_method=method,
    )  # fmt: skip


def with_forward(forward):
    """x^2 with a right backward, whatever forward does."""

    @jax.custom_vjp
    def rule(x):
        return forward(x)

    rule.defvjp(lambda x: (forward(x), x), lambda x, g: (2 * x * g,))
    return rule


def test_a_right_rule_passes_them_all():
    found = findings(lin, X, W, B)
    assert list(found) == ALL
    assert found.pop("sharded")[0] in ("skipped", "pass")
    assert {status for status, _ in found.values()} == {"pass"}, found
    assert found["jit, a second time"][1] == "bitwise equal"
    assert found["inputs"][1] == "left as they were"


def test_other_bits_within_the_bound_pass_and_say_how_near():
    # Under vmap another order of the same sum: a rule may do that.
    @jax.custom_batching.custom_vmap
    def total(x):
        return jnp.sum(jnp.sin(x))

    @total.def_vmap
    def _mapped(size, batched, x):
        rows = [x[:, i, j] for i in reversed(range(2)) for j in range(3)]
        return sum(map(jnp.sin, rows[1:]), jnp.sin(rows[0])), True

    @jax.custom_vjp
    def rule(x):
        return total(x)

    rule.defvjp(lambda x: (total(x), x), lambda x, g: (g * jnp.cos(x),))
    status, text = findings(rule, reference=lambda x: jnp.sum(jnp.sin(x)))["vmap"]
    assert status == "pass" and (text == "bitwise equal" or text.startswith("within the bound (y"))


def test_a_rule_that_cannot_be_mapped():
    # The first line only of what jax says.
    found = findings(with_forward(lambda x: callback(np.square)(x, None)), reference=square)
    status, text = found["vmap"]
    assert status == "FAIL" and text.startswith("raised NotImplementedError: ") and "\n" not in text
    assert {found[name][0] for name in ("jit, a second time", "eager", "scan", "donated buffers")} == {"pass"}


def test_a_rule_that_counts_its_calls_fails():
    calls = []

    def forward(x):
        calls.append(1)
        return x * x + f32(0.01 * len(calls))

    # The others share one trace, and count alike; eager is a call of the function itself.
    status, text = findings(with_forward(forward), reference=square)["eager"]
    assert status == "FAIL" and text.startswith("y") and text.endswith("of what rounding allows")


def test_a_rule_that_differs_from_one_run_to_the_next_fails():
    calls = []

    def counted(x):
        calls.append(1)
        return x * x + 1e-7 * len(calls)

    found = findings(with_forward(lambda x: callback(counted)(x, "sequential")), reference=square)
    status, text = found["jit, a second time"]
    assert status == "FAIL" and "y" in text


def test_a_rule_that_only_compiles():
    def rule(x):
        if not isinstance(x, Tracer):
            raise RuntimeError("compile me\nor else")
        return x * x

    found = findings(rule, reference=square)
    assert found["eager"] == ("FAIL", "raised RuntimeError: compile me")
    assert [name for name, (status, _) in found.items() if status == "FAIL"] == ["eager"]


def test_a_rule_that_keeps_what_it_saw():
    kept = []

    def rule(x):
        kept.append(x)
        return x * x + 0 * kept[0]  # that of the one trace, which the others share

    status, text = findings(rule, reference=square)["eager"]
    assert status == "FAIL" and text.startswith("raised UnexpectedTracerError: ") and "\n" not in text


def test_another_dtype_is_said():
    def forward(x):
        return x * x if isinstance(x, Tracer) else (x * x).astype(jnp.bfloat16)

    found = findings(forward, reference=square)
    assert found["eager"] == ("FAIL", "y (primal) is bfloat16[2, 3], not float32[2, 3]")


def test_a_rule_that_writes_into_its_inputs():
    x = X.copy()

    def rule(y):
        x[0, 0] += 1
        return y * y

    assert findings(rule, x, reference=square)["inputs"] == ("FAIL", "changed by the call")


def test_arrays_without_a_numpy_interface_are_no_fault():
    # Eager too the rule must get jax's arrays: NumPy's have no `at`.
    assert findings(lambda x: 2 * x.at[0].set(0.0))["eager"] == ("pass", "bitwise equal")


def test_a_backward_that_raises_is_reported():
    @jax.custom_vjp
    def rule(x):
        return x * x

    def backward(x, g):
        raise RuntimeError("no gradient")

    rule.defvjp(lambda x: (x * x, x), backward)
    assert "RuntimeError: no gradient" in str(findings(rule, reference=square))


def batched(wrong):
    """x^2 with a backward that has a batching rule of its own, which may be wrong."""

    @jax.custom_batching.custom_vmap
    def bar(x, g):
        return 2 * x * g

    @bar.def_vmap
    def _mapped(size, batched, x, g):
        x, g = (a if b else jnp.broadcast_to(a, (size, *a.shape)) for a, b in zip((x, g), batched, strict=True))
        return 2 * wrong(x) * g, True

    @jax.custom_vjp
    def rule(x):
        return x * x

    rule.defvjp(lambda x: (x * x, x), lambda x, g: (bar(x, g),))
    return rule


def test_a_batching_rule_that_uses_the_first_slices_primal_for_all():
    found = findings(batched(lambda x: jnp.broadcast_to(x[:1], x.shape)), reference=square)
    status, text = found["vmap"]
    assert status == "FAIL" and text.startswith("slice 1: x_bar differs, ")
    assert {found[name][0] for name in ("scan", "checkpoint")} == {"pass"}


def test_a_batching_rule_that_turns_the_slices_round():
    status, text = findings(batched(lambda x: x[::-1]), reference=square)["vmap"]
    assert status == "FAIL" and text.startswith("slice 0: x_bar differs, ")


def test_a_batching_rule_that_is_right():
    assert findings(batched(lambda x: x), reference=square)["vmap"][0] == "pass"


def test_a_rule_that_reads_its_gates_from_another_slice():
    # The third set of arguments has other gates on: with the same ones everywhere, a mix-up is not seen.
    def gated(x):
        return jnp.where(x[:1] > 0, x, 0 * x)

    status, text = findings(batched(gated), reference=square)["vmap"]
    assert status == "FAIL" and text.startswith("slice ")


def test_complex_arguments():
    z = (X + 1j * X[::-1]).astype(np.complex64)
    found = findings(square, z, reference=square)
    assert found.pop("sharded")[0] in ("skipped", "pass") and {status for status, _ in found.values()} == {"pass"}


def test_a_mask_of_infinities():
    add = lambda x, mask: jax.nn.softmax(x + mask)  # noqa: E731
    found = findings(add, X, f32([[0, -np.inf, 0]] * 2), reference=add, nondiff=["mask"])
    assert found.pop("sharded")[0] in ("skipped", "pass") and {status for status, _ in found.values()} == {"pass"}


def test_parts_that_were_compiled_already_are_not_compiled_again():
    evaluation = Evaluation(take_up(square, (X,), reference=square))
    runs = in_one_program(transformation_parts(evaluation))
    assert list(runs) == ["vmap", "scan", "checkpoint", "donated buffers"]
    asked = []
    counted = {name: lambda name=name: asked.append(name) or runs[name]() for name in runs}
    _ = list(transformation_findings(evaluation, counted))
    assert sorted(asked) == sorted(runs)


def test_no_even_axis_to_divide():
    code = "findings(square, np.ones((3, 3), np.float32), reference=square)['sharded']"
    assert on_two_devices(code) == "('skipped', 'no input has an even first axis to divide')"


def test_one_device_is_too_few(monkeypatch):
    monkeypatch.setattr(jax, "devices", lambda: [object()])
    status, text = findings(square, reference=square)["sharded"]
    assert (status, text) == ("skipped", "one device only; JAX_NUM_CPU_DEVICES=2 makes two of a CPU")


def test_sharded_over_two_devices():
    found = on_two_devices("findings(lin, X, W, B)['sharded'], jax.device_count()")
    assert found.endswith(", 2)") and found.startswith("(('pass', '"), found


def on_two_devices(expression):
    """The value of an expression in this file's names, in a process with two devices."""
    code = f"""
import runpy
names = runpy.run_path({__file__!r})
print(eval({expression!r}, names))
"""
    env = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
