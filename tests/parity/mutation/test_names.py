import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.mutation.names import NAMELESS, NAMES, right_name, tally
from pullback.parity.mutation.planted_errors import plant_all
from pullback.parity.verdict.diagnosis import KINDS

X = np.ones((3, 3), np.float32)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("x_bar doubled", "factor"),
        ("params[0][1]_bar sign flipped", "sign"),
        ("x_bar times 1.001", "factor"),
        ("forward times 1.001", "factor"),
        ("residual in bfloat16 of w", "precision"),
        ("ignores the cotangent", "cotangent ignored"),
        ("x_bar absolute value", ""),
        ("residual of zeros of x", ""),
        ("x_bar and w_bar swapped", ""),
    ],
)
def test_the_right_name_of_a_planted_error(error, kind):
    assert right_name(error) == kind


def test_every_name_is_a_kind_of_diagnosis_and_every_kind_is_planted():
    assert set(NAMES.values()) == set(KINDS)
    planted = [name for name, _ in plant_all(lambda x, w: x @ jnp.sin(w), ["x", "w"], (X, X))]
    for kind in NAMES:
        assert any(kind in name for name in planted), kind
    assert {right_name(name) for name in planted} == {*KINDS, ""}


def test_the_tally():
    said = {"x_bar doubled": "factor", "w_bar doubled": "", "x_bar sign flipped": "factor", "x_bar absolute value": ""}
    assert tally(said) == {"factor": (1, 2), "sign": (0, 1), NAMELESS: (1, 1)}
    assert tally({}) == {}
