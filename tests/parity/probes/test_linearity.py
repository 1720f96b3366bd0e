import numpy as np
import pytest

from pullback.parity.probes.linearity import linearity_findings

G = np.array([[1.0, 2.0], [3.0, -4.0], [7.0, -6.0], [1.0, 1.0], [0.0, 0.0]])
BOUNDS = {"x_bar": np.full((5, 2), 1e-6), "w_bar": np.full((5, 2), 1e-6)}


def found(names=("x",), bounds=BOUNDS, **leaves):
    findings = linearity_findings(list(names), leaves, bounds)
    assert {finding.check for finding in findings} <= {"linearity"}
    return {finding.about: (finding.status, finding.text) for finding in findings}


def changed(row, by):
    bar = 2 * G
    bar[row] += by
    return bar


def test_linear():
    assert found(x_bar=2 * G) == {"x_bar": ("pass", "linear in the cotangent, 0% of what rounding allows")}


def test_within_what_rounding_allows():
    # One bound for the sum, one for the first, two for twice the second.
    assert found(x_bar=changed(2, 2e-6))["x_bar"] == ("pass", "linear in the cotangent, 50% of what rounding allows")
    assert found(x_bar=changed(0, 3.9e-6))["x_bar"][0] == "pass"


@pytest.mark.parametrize(("row", "by", "bounds_off"), [(2, 8e-6, "2"), (0, 8e-6, "2"), (1, 8e-6, "4")])
def test_not_linear(row, by, bounds_off):
    status, text = found(x_bar=changed(row, by))["x_bar"]
    assert (status, text) == ("FAIL", f"not linear in the cotangent: {bounds_off} bounds off")


def test_ones_have_no_say():
    assert found(x_bar=changed(3, 100.0))["x_bar"][0] == "pass", "that is for the table"


def test_not_zero_for_zero():
    assert found(x_bar=changed(4, 1e-30))["x_bar"] == ("FAIL", "not zero for a zero cotangent")


def test_no_bound_is_needed_where_it_is_exact():
    nothing = {"x_bar": np.zeros((5, 2))}
    assert found(bounds=nothing, x_bar=2 * G)["x_bar"][0] == "pass"
    assert found(bounds=nothing, x_bar=changed(2, 1e-12)) == {
        "x_bar": ("FAIL", "not linear in the cotangent: inf bounds off")
    }


def test_nan_is_not_linear():
    assert found(x_bar=changed(0, np.nan))["x_bar"][0] == "FAIL"


def test_each_argument_is_judged_for_itself():
    found_in_both = found(("x", "w"), x_bar=2 * G, w_bar=changed(4, 1.0))
    assert [status for status, _ in found_in_both.values()] == ["pass", "FAIL"]


def test_your_own_cotangents_are_not_asked():
    bounds = {"x_bar": np.full((6, 2), 1e-6)}
    assert found(bounds=bounds, x_bar=np.concatenate([2 * G, [[5, 5]]]))["x_bar"][0] == "pass"


@pytest.mark.parametrize("bar", [2 * G[:, :1], 2 * G[:, :0]])
def test_what_has_another_shape_or_no_elements_is_left_to_the_table(bar):
    bounds = {"x_bar": np.zeros((5, 0))} if not bar.size else BOUNDS
    assert found(bounds=bounds, x_bar=bar) == {}


def test_half_precision_is_judged_in_float64():
    assert found(x_bar=(2 * G).astype(np.float16))["x_bar"][0] == "pass"
