import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import lin, mse, relu
from pullback.parity import MutationScore
from pullback.parity.mutation.planted_errors import plant_all
from pullback.parity.mutation.score import mutants

f32 = functools.partial(np.array, dtype=np.float32)

# A zero and both signs; the first element, row and column and the last ones are not those of a unit that is off.
# None but that is exact in bfloat16.
X = f32([[0.51, -1.1, 2.3], [-0.27, 0, -3.3], [1.7, -0.3, 1.3]])
W = f32([[0.3, 0.7], [-0.2, 0.45], [1.1, -0.6]])
B = f32([0.3, -0.8])


@pytest.fixture
def every(monkeypatch):
    """every(n, m): of the planted errors the m-th, and every n-th after it. All of them take minutes."""

    def only(n, m=0):
        some = lambda *args: (p for i, p in enumerate(plant_all(*args)) if i % n == m)  # noqa: E731
        monkeypatch.setattr(sys.modules["pullback.parity.mutation.score"], "plant_all", some)

    return only


@pytest.fixture
def named(monkeypatch):
    """named(...): the planted errors of these names."""

    def only(*names):
        some = lambda *args: ((name, fun) for name, fun in plant_all(*args) if name in names)  # noqa: E731
        monkeypatch.setattr(sys.modules["pullback.parity.mutation.score"], "plant_all", some)

    return only


def test_relu():
    score = mutants(relu, X)
    assert score.ok and not score.survivors, str(score)
    assert len(score.caught) >= 30 and score.rule == "relu"
    assert score.caught["x_bar 1 at 0"]
    assert score.caught["x_bar doubled"] == "x_bar: outside the bound"
    # Its sign is all that backward reads of x.
    assert score.equivalent == ["residual in bfloat16 of x"]


def test_lin(every):
    every(11)
    score = mutants(lin, X, W, B)
    assert score.ok and len(score.caught) >= 8, str(score)


def test_mse(every):
    every(3)
    score = mutants(mse, X[0], X[2])
    assert score.ok and len(score.caught) >= 18, str(score)


def test_against_a_reference(every):
    every(9)
    assert mutants(relu, X, reference=jax.nn.relu).ok


def test_blind_arguments_leave_survivors_and_the_reason(named):
    named("x_bar doubled", "x_bar zero", "of dtype bfloat16", "x_bar 1 at 0", "ignores the cotangent")
    score = mutants(relu, np.zeros((2, 3), np.float32))
    assert not score.ok
    assert list(score.caught) == ["x_bar 1 at 0"]
    why = "changes nothing with these arguments, though it does with random ones"
    assert score.survivors == dict.fromkeys(["x_bar doubled", "x_bar zero", "ignores the cotangent"], why)


def test_an_error_within_rounding_is_named_as_that(named):
    # Less than the last place of float16, after a dozen roundings.
    named("x_bar doubled", "x_bar times 1.001")
    score = mutants(lambda x: jnp.sin(x) * jnp.cos(x) * x * x * x, X.astype(np.float16))
    assert list(score.caught) == ["x_bar doubled"]
    assert score.survivors == {"x_bar times 1.001": "within rounding error"}


def test_equivalents_are_no_survivors_and_not_counted(named):
    named("stale residual of x", "x_bar doubled")
    score = mutants(lambda x: 3 * x, X)
    assert (score.equivalent, list(score.caught), score.survivors) == (["stale residual of x"], ["x_bar doubled"], {})
    assert str(score).splitlines()[0] == "<lambda>: 1 of 1 planted errors caught (1 more: equivalent)"


def test_the_wrong_dtype_and_the_wrong_convention_are_caught_by_name(named):
    named("x_bar of dtype bfloat16", "x_bar None", "takes the cotangent squared", "forward times 1.001")
    score = mutants(lambda x: x * x, X)
    assert score.caught["x_bar of dtype bfloat16"] == "x_bar: dtype is bfloat16, expected float32"
    assert score.caught["forward times 1.001"] == "y: outside the bound"
    assert len(score.caught) == 4


@pytest.mark.parametrize("backward", [lambda x, g: 2 * x, lambda x, g: x * g])
def test_a_wrong_rule_is_refused(backward):
    @jax.custom_vjp
    def rule(x):
        return x * x

    rule.defvjp(lambda x: (x * x, x), lambda x, g: (backward(x, g),))
    with pytest.raises(ValueError, match="^the rule itself is wrong .*x_bar.*: set it right before planting errors"):
        mutants(rule, X)


def test_the_score_as_text():
    score = MutationScore("lin", {"a": "y"}, ["b"], {"c": "why"})
    assert str(score).splitlines() == [
        "lin: 1 of 2 planted errors caught (1 more: equivalent)",
        "  survived    c: why",
        "  equivalent  b",
    ]
    assert not score.ok and MutationScore("lin", {}, [], {}).ok


def test_static_integer_and_keyword_arguments(named):
    named("x_bar doubled", "x_bar None")
    score = mutants(
        lambda x, rows, axis, *, scale: scale * jnp.sum(x[rows], axis),
        X,
        np.array([0, 2], np.int32),
        1,
        static_argnums=(2,),
        kwargs={"scale": 2},
    )
    assert score.ok and len(score.caught) == 2


def test_several_outputs(named):
    named("x_bar sign flipped", "takes the cotangent's sign only", "forward in bfloat16")
    score = mutants(lambda x: {"a": 3 * x, "b": jnp.sum(x * x)}, X)
    assert score.ok and len(score.caught) == 3


def test_what_is_caught_with_an_integer_output_is_caught_for_what_it_is(named):
    named("takes the cotangent squared", "ignores the cotangent", "forward times 1.001")
    score = mutants(lambda x: (3 * x, jnp.argmax(x)), X)
    assert set(score.caught.values()) <= {"x_bar: outside the bound", "y[0]: outside the bound"}


def test_an_absolute_value_of_a_scalar_is_not_equivalent(named):
    named("x_bar absolute value")
    assert not mutants(jnp.sin, f32(0.7)).equivalent


def test_nan_elsewhere_is_no_change_in_bfloat16(named):
    named("x_bar times 1.001")  # times 1 in bfloat16; log of the random arguments is NaN
    score = mutants(jnp.log, f32([1, 2, 3]).astype(jnp.bfloat16))
    assert score.equivalent == ["x_bar times 1.001"]


def test_arguments_that_cannot_be_checked_raise_what_check_raises():
    with pytest.raises(ValueError, match="no argument is a floating-point array"):
        mutants(relu, 2)


def test_the_diagnosis_calls_planted_errors_by_their_names(named):
    one_of_each = ("doubled", "times 1.0003", "sign flipped", "transposed", "None", "last column dropped")
    one_of_each += ("first element dropped", "shifted by a row", "rows reversed", "rounded to bfloat16")
    named(*(f"w_bar {kind}" for kind in one_of_each), "ignores the cotangent", "takes the cotangent in bfloat16")
    square = np.concatenate([W, W[:, :1] - 0.13], axis=1)
    score = mutants(lin, X, square, np.append(B, f32(0.7)))
    assert score.ok and len(score.said) == 12
    assert score.names == {
        "factor": (2, 2),
        "sign": (1, 1),
        "transpose": (1, 1),
        "drop": (3, 3),
        "shift": (1, 1),
        "reversal": (1, 1),
        "cotangent ignored": (1, 1),
        "precision": (2, 2),
    }, score.said


def test_of_all_planted_errors_nine_in_ten_are_called_by_their_names():
    gates = np.concatenate([np.abs(X[:1]), X, X[::-1] - f32(0.01), np.abs(X[-1:])])
    for kind, (right, of) in mutants(relu, gates).names.items():
        assert right >= 0.9 * of, kind
