import dataclasses
import functools

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


def moved_by_a_rounding(x):
    """The sine of a number that is next to x in float32: as good as an algorithm that nobody sees has to be."""
    if x.dtype == torch.float64:
        return torch.sin(x)
    return torch.sin(torch.nextafter(x.detach(), torch.tensor(torch.inf)) + (x - x.detach()))


def test_torch_may_be_as_far_off_as_rounded_arguments_would_be():
    x = f32([8.6, 8.65])
    wrong, found = arithmetic_of(evaluated(jnp.sin, x, reference=jnp.sin, torch=moved_by_a_rounding))
    text = "it loses more digits than the one it is held against, and no more than rounded arguments would"
    assert not wrong and found == [("float32 torch", "note", text)]


def test_however_steep_the_function_is():
    # At 1000 an argument that is moved by a rounding is a hundred bounds off.
    x = f32([1000.25, 2000.5])
    wrong, found = arithmetic_of(evaluated(jnp.sin, x, reference=jnp.sin, torch=moved_by_a_rounding))
    assert not wrong and [status for _, status, _ in found] == ["note"]


def test_torch_promises_no_digits_of_small_elements():
    x = f32([-5.6, -5.3, -5.2])
    exact_gelu = functools.partial(jax.nn.gelu, approximate=False)
    wrong, found = arithmetic_of(evaluated(exact_gelu, x, reference=exact_gelu, torch=torch.nn.functional.gelu))
    assert not wrong and found == [("float32 torch", "note", "its small elements have fewer right digits")]
    spoiled = lambda x: torch.nn.functional.gelu(x) + (1e-5 if x.dtype == torch.float32 else 0)  # noqa: E731
    wrong, _ = arithmetic_of(evaluated(exact_gelu, x, reference=exact_gelu, torch=spoiled))
    assert {who for _, who in wrong} == {"torch"}


def test_torch_that_is_further_off_is_wrong():
    def theirs(x):
        return torch.sin(x) if x.dtype == torch.float64 else moved_by_a_rounding(x) + 1e-3

    evaluation = evaluated(jnp.sin, f32([1000.25, 2000.5]), reference=jnp.sin, torch=theirs)
    wrong, found = arithmetic_of(evaluation)
    assert {who for _, who in wrong} == {"torch"} and not found and not evaluation.values.own


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
