import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback.parity.case.case import take_up
from pullback.parity.verdict.evaluation import Evaluation
from pullback.parity.verdict.oracle import choose_oracle

f32 = functools.partial(np.array, dtype=np.float32)

X = f32([[0.51, -1.1, 2.3], [-0.27, 0.9, -3.3]])
RIGHT_BUT_COARSE = "the maths is right; it computes in bfloat16"
MORE_DIGITS = "the maths is right; its own way of computing loses more digits than the one it is held against"


def evaluated(rule, *args, arithmetic=None, **options):
    return choose_oracle(Evaluation(take_up(rule, args or (X,), **options), (), None, arithmetic))


def arithmetic_of(evaluation):
    """Who is wrong in which leaf, with the diagnosis; and the findings about arithmetic."""
    rows = evaluation.values.rows
    wrong = {(row.leaf, who): row.diagnosis.get(who) for row in rows for who, d in row.deviations.items() if d.problem}
    found = [(f.about, f.status, f.text) for f in evaluation.findings if f.check == "arithmetic"]
    return wrong, found


def square(x):
    return x * x


def in_bfloat16(x):
    low = x.astype(jnp.bfloat16)
    return (low * low).astype(x.dtype)


def test_a_rule_whose_maths_is_right_and_whose_arithmetic_is_coarser_is_told_so():
    evaluation = evaluated(in_bfloat16, reference=square)
    assert all(row.ok for row in evaluation.maths_rows)
    wrong, found = arithmetic_of(evaluation)
    assert {leaf for leaf, _ in wrong} == {"y", "y (primal)", "x_bar"} and not found
    assert set(wrong.values()) == {f"{RIGHT_BUT_COARSE} (arithmetic='bfloat16' accepts that)"}


def test_an_arithmetic_that_is_named_is_accepted():
    wrong, _ = arithmetic_of(evaluated(in_bfloat16, reference=square, arithmetic="bfloat16"))
    assert not wrong


def test_an_arithmetic_that_is_named_is_no_excuse_for_a_coarser_one():
    wrong, _ = arithmetic_of(evaluated(in_bfloat16, reference=square, arithmetic="float16"))
    assert set(wrong.values()) == {f"{RIGHT_BUT_COARSE} (arithmetic='bfloat16' accepts that)"}


def test_a_finer_arithmetic_than_the_arguments_is_no_finding():
    def in_float32(x):
        return square(x.astype(jnp.float32)).astype(x.dtype)

    wrong, found = arithmetic_of(evaluated(in_float32, X.astype(jnp.bfloat16), reference=square))
    assert not wrong and not found


def test_wrong_maths_is_not_excused_by_coarse_arithmetic():
    # Off by 1/1000, less than bfloat16 rounds.
    wrong, found = arithmetic_of(evaluated(lambda x: in_bfloat16(x) * 1.001, reference=square))
    assert {leaf for leaf, _ in wrong} == {"y", "y (primal)", "x_bar"} and not found
    assert not any(text and text.startswith("the maths is right") for text in wrong.values())


def test_nan_is_not_excused_by_coarse_arithmetic():
    def overflows(x):
        low = (x * f32(1e4)).astype(jnp.float16)
        return (low * low).astype(x.dtype) / f32(1e8)

    wrong, _ = arithmetic_of(evaluated(overflows, reference=square))
    assert ("y", "rule") in wrong and not any(text and "accepts that" in text for text in wrong.values())


def test_another_way_of_computing_that_loses_more_digits_is_a_note():
    def longer(x):
        return (x + f32(1000)) ** 2 - f32(2000) * x - f32(1e6)

    wrong, found = arithmetic_of(evaluated(longer, reference=square))
    assert not wrong and found == [("float32 rule", "note", MORE_DIGITS)]


def test_more_digits_than_its_own_way_loses_are_wrong():
    # The trace says float32, and what it runs is coarser: nothing that it says explains that.
    def rule(x):
        def forward(x):
            return np.asarray(np.float16(x) * np.float16(x), np.float32)

        return jax.pure_callback(forward, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="sequential")

    ours = jax.custom_vjp(rule)
    ours.defvjp(lambda x: (rule(x), x), lambda x, g: (2 * x * g,))
    wrong, found = arithmetic_of(evaluated(ours, reference=square))
    assert {leaf for leaf, _ in wrong} == {"y", "y (primal)"} and not found


def test_in_a_finer_dtype_the_arithmetic_of_the_arguments_dtype_is_a_note():
    # It casts to float32: that is all that float32 arguments ask for.
    def in_float32(x):
        return square(x.astype(jnp.float32)).astype(x.dtype)

    other = evaluated(in_float32, reference=square).cast(np.float64)
    with other.case.x64:
        wrong, found = arithmetic_of(other)
    assert not wrong and found == [("float64 rule", "note", "the maths is right; it computes in float32")]


def test_in_a_finer_dtype_a_coarser_arithmetic_than_the_arguments_is_wrong():
    other = evaluated(in_bfloat16, reference=square).cast(np.float64)
    with other.case.x64:
        wrong, found = arithmetic_of(other)
    assert set(wrong.values()) == {f"{RIGHT_BUT_COARSE} (arithmetic='bfloat16' accepts that)"} and not found


def test_a_column_has_its_own_name():
    case = take_up(in_bfloat16, (X,), reference=square)
    evaluation = Evaluation(dataclasses.replace(case, columns={"rule": "ours"}))
    assert {row.diagnosis["ours"] for row in evaluation.values.rows} == {
        f"{RIGHT_BUT_COARSE} (arithmetic='bfloat16' accepts that)"
    }


def coarser_in_float32(x):
    return torch.sin(x) if x.dtype == torch.float64 else torch.sin(x.detach().half().float() + (x - x.detach()))


def test_digits_that_torch_loses_are_noted_where_it_agrees_in_float64():
    x = f32([8.6, 8.65])
    evaluation = evaluated(jnp.sin, x, reference=jnp.sin, torch=coarser_in_float32)
    wrong, found = arithmetic_of(evaluation)
    text = r"it agrees in float64; in float32 its (y|x_bar) is off by \de-0\d of the largest element"
    ((about, status, said),) = found
    assert not wrong and (about, status) == ("float32 torch", "note") and re.fullmatch(text, said)
    # The rule's own bound stays what it was.
    spoiled = jax.custom_vjp(jnp.sin)
    spoiled.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x) * 1.00001,))
    wrong, _ = arithmetic_of(evaluated(spoiled, x, reference=jnp.sin, torch=coarser_in_float32))
    assert {who for _, who in wrong} == {"rule"}


def test_nan_of_torch_is_wrong_though_it_agrees_in_float64():
    def theirs(x):
        return torch.log1p(torch.exp(x))  # overflows in float32, and not in float64

    wrong, _ = arithmetic_of(evaluated(jax.nn.softplus, f32([100.0, 1.0]), reference=jax.nn.softplus, torch=theirs))
    assert {who for _, who in wrong} == {"torch"}


@pytest.mark.parametrize(
    "said",
    [
        "\"square_cpu\" not implemented for 'BFloat16'",
        "linalg.vander supports floating point, complex, and integer tensors, but got BFloat16",
        "linalg.qr: Low precision dtypes not supported. Got BFloat16",
    ],
)
def test_torch_without_a_kernel_is_heard_in_float64_only(said):
    def theirs(x):
        if x.dtype == torch.bfloat16:
            raise NotImplementedError(said)
        return x * x

    evaluation = evaluated(square, X.astype(jnp.bfloat16), reference=square, torch=theirs)
    wrong, _ = arithmetic_of(evaluation)
    assert not wrong and "torch" not in evaluation.values.implementations
    assert any(f.text.startswith("it has no kernel for bfloat16 (Not") for f in evaluation.findings)


def test_torch_that_disagrees_in_float64_has_no_such_excuse():
    def theirs(x):
        return torch.sin(x + 5e-5)  # the next number of float32

    wrong, found = arithmetic_of(evaluated(jnp.sin, f32([1000.25, 1000.5]), reference=jnp.sin, torch=theirs))
    assert {who for _, who in wrong} == {"torch"} and not found


ROUNDED = {
    "at the start": lambda x: (x.float() / 3).to(x.dtype),
    "at the end": lambda x: torch.sin(x).float().to(x.dtype),
    "in the middle": lambda x: torch.sin(x).float().to(x.dtype) * x,
    "one factor": lambda x: x.float().to(x.dtype) * x,
    "half precision": lambda x: (x.half() * x).to(x.dtype),
}


@pytest.mark.parametrize("name", ROUNDED)
def test_torch_that_rounds_inside_is_found_out(name):
    assert Evaluation(take_up(square, (X,), torch=ROUNDED[name])).torch_rounds_inside()


NOT_ROUNDED = {
    "linear": lambda x: 3 * x,
    "curved": lambda x: torch.sin(x) * x**3,
    "a norm": lambda x: x / x.norm(),
    "several": lambda x: (x.sum(), torch.softmax(x, -1)),
    "whole numbers": lambda x: (x.argmax(), x * x),
    "steps": lambda x: torch.floor(x) + 0 * x,
    "no elements": lambda x: (x[:0], x * x),
    "no use of it": lambda x: torch.ones(2) + 0 * x.sum(),
}


@pytest.mark.parametrize("name", NOT_ROUNDED)
def test_torch_that_computes_in_float64_is_not(name):
    theirs = NOT_ROUNDED[name]
    count = {"several": lambda x: (jnp.sum(x), x), "whole numbers": lambda x: (jnp.argmax(x), x)}
    count |= {"no elements": lambda x: (x[:0], x), "no use of it": lambda x: x[:, 0]}
    assert not Evaluation(take_up(count.get(name, square), (X,), torch=theirs)).torch_rounds_inside()


def test_arguments_that_are_not_differentiated_are_not_moved():
    product = lambda x, table: x * table  # noqa: E731
    assert not Evaluation(take_up(product, (X, X), torch=product, nondiff=["table"])).torch_rounds_inside()


def test_rounding_that_evens_out_over_many_elements_is_found_out():
    x = np.linspace(-3, 3, 40000, dtype=np.float32)
    assert Evaluation(take_up(jnp.sin, (x,), torch=ROUNDED["at the end"])).torch_rounds_inside()
