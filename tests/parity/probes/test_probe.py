import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback import parity
from pullback.parity import Finding
from pullback.parity._check import CHECKS
from pullback.parity.case.case import take_up
from pullback.parity.probes.probe import PROBES, Probe
from pullback.parity.verdict.comparison import Outcome
from pullback.parity.verdict.evaluation import Evaluation
from pullback.parity.verdict.oracle import choose_oracle

X = np.array([[0.51, -1.1, 2.3], [-0.27, 0.9, -3.3]], np.float32)


def square(x):
    return x * x


def check(*checks, **options):
    return parity.check(square, X, reference=square, checks=checks, dtypes=(), **options)


def test_a_probe_stays_as_it_is():
    probe = Probe("small", lambda evaluation: [])
    with pytest.raises(dataclasses.FrozenInstanceError):
        probe.name = "other"  # pyright: ignore[reportAttributeAccessIssue]


def test_a_probe_asks_an_evaluation():
    seen = []
    check(Probe("look", lambda evaluation: seen.append(evaluation) or []))
    (evaluation,) = seen
    assert isinstance(evaluation, Evaluation) and evaluation.case.name == "square"
    assert set(evaluation.values.got["rule"]) == {"y", "y (primal)", "x_bar"}
    np.testing.assert_array_equal(evaluation.values.want["y"], X.astype(np.float64) ** 2)


def largest(evaluation):
    """Whether no gradient is larger than ten."""
    bar = evaluation.values.got["rule"]["x_bar"]
    ok = bool(np.abs(bar).max() <= 10)
    yield Finding("largest", "x_bar", "pass" if ok else "FAIL", f"at most {np.abs(bar).max():.3g}")


def test_its_findings_are_in_the_report():
    report = check(Probe("largest", largest))
    (finding,) = (finding for finding in report.findings if finding.check == "largest")
    assert finding.status == "FAIL" and finding.about == "x_bar" and not report.ok and report.culprits == []
    assert "largest" in str(report)
    with pytest.raises(parity.ParityError, match="largest"):
        report.raise_if_failed()


def test_a_finding_that_passes_leaves_the_report_ok():
    report = check(Probe("fine", lambda evaluation: [Finding("fine", "x", "pass", "as it should be")]))
    assert report.ok and ("fine", "as it should be") in {(f.check, f.text) for f in report.findings}


def in_float64(evaluation):
    """The same in float64."""
    other = evaluation.cast(jnp.float64)
    with other.case.x64:
        yield other.values.outcome


def test_its_outcomes_are_in_the_report():
    report = check(Probe("in float64", in_float64))
    assert report.ok and {row.check for row in report.rows} == {"float32", "float64"}
    assert all(row.dtype == row.check for row in report.rows)


def test_an_outcome_that_is_wrong_is_blamed():
    wrong = parity.check(
        lambda x: x * x * (2 if x.dtype == jnp.float64 else 1),
        X,
        reference=square,
        checks=[Probe("in float64", in_float64)],
        dtypes=(),
    )
    assert wrong.culprits == ["rule"]
    assert {row.check for row in wrong.rows if not row.ok} == {"float64"}


def test_a_probe_that_raises_fails_and_its_traceback_is_kept():
    def broken(evaluation):
        yield Finding("broken", "first", "pass", "until then")
        raise RuntimeError("out of luck\nand more")

    report = check(Probe("broken", broken), Probe("largest", largest))
    found = {(finding.check, finding.about): (finding.status, finding.text) for finding in report.findings}
    assert found["broken", "first"] == ("pass", "until then")
    assert found["broken", "square"] == ("FAIL", "the probe raised RuntimeError: out of luck")
    assert ("largest", "x_bar") in found, "those after it are made"
    text = report.errors["probe broken"]
    assert text.startswith("Traceback (most recent call last):") and "in broken" in text
    assert text.rstrip().endswith("RuntimeError: out of luck\nand more")
    assert not report.ok and "and more" not in str(report), "one line on screen"


def test_a_probe_with_the_name_of_ours_is_made_beside_it():
    def broken(evaluation):
        raise RuntimeError("out of luck")

    report = check("kinks", Probe("kinks", broken))
    statuses = [finding.status for finding in report.findings if finding.check == "kinks"]
    assert statuses == ["FAIL", "note", "pass"]


def test_probes_are_made_in_their_order_after_ours():
    order = []
    probes = [Probe(name, lambda evaluation, name=name: order.append(name) or []) for name in ("b", "a")]
    check(probes[0], "structure", probes[1])
    assert order == ["b", "a"]


@pytest.mark.parametrize(("other", "kind"), [(largest, "function"), (None, "NoneType"), (3, "int")])
def test_neither_a_name_nor_a_probe(as_a_user, other, kind):
    with pytest.raises(TypeError) as caught:
        check("values", other)
    assert str(caught.value) == f"checks must be names or Probes; got a {kind}"


def test_it_can_be_asked_without_a_report():
    (finding,) = Probe("largest", largest).look(Evaluation(take_up(square, (X,))))
    assert isinstance(finding, Finding) and finding.status == "FAIL"


def evaluated(rule=square, *args, dtypes=("bfloat16",), **options):
    return choose_oracle(Evaluation(take_up(rule, args or (X,), **options), dtypes))


def test_their_names_are_those_that_check_takes():
    names = ["values", "structure", "rule ran", "transformations", "dtypes", "kinks", "numerical"]
    assert list(PROBES) == list(CHECKS) == names
    assert all(isinstance(probe, Probe) and probe.name == name for name, probe in PROBES.items())


def test_what_each_of_them_yields():
    evaluation = evaluated(reference=square)
    yields = {}
    for name, probe in PROBES.items():
        found = list(probe.look(evaluation))
        checks = {"outcome" if isinstance(item, Outcome) else item.check for item in found}
        yields[name] = checks
    assert yields == {
        "values": {"outcome", "maths", "linearity"},
        "structure": {"structure"},
        "rule ran": {"rule ran"},
        "transformations": {"outcome", "transformations"},
        "dtypes": {"outcome"},
        "kinks": {"kinks"},
        "numerical": {"numerical"},
    }


def test_the_values_come_first():
    first, *others = PROBES["values"].look(evaluated())
    assert isinstance(first, Outcome) and {row.leaf for row in first.rows} == {"y", "y (primal)", "x_bar"}
    assert not [other for other in others if isinstance(other, Outcome)]


def test_linearity_is_not_asked_of_a_rule_that_raises():
    @jax.custom_vjp
    def rule(x):
        return x * x

    def backward(x, g):
        raise RuntimeError("no gradient")

    rule.defvjp(lambda x: (x * x, x), backward)
    (outcome,) = PROBES["values"].look(evaluated(rule, reference=square))
    assert isinstance(outcome, Outcome)
    assert {row.deviations["rule"].problem for row in outcome.rows} == {"raised RuntimeError: no gradient"}


def ruled(backward):
    @jax.custom_vjp
    def rule(x):
        return x * x

    rule.defvjp(lambda x: (x * x, x), lambda x, g: (backward(x, g),))
    return rule


def values_of(rule, *args, **options):
    outcomes, findings = [], []
    for found in PROBES["values"].look(evaluated(rule, *args, **options)):
        outcomes.append(found) if isinstance(found, Outcome) else findings.append(found)
    return outcomes, {(finding.check, finding.about): finding for finding in findings}


def test_what_is_right_in_float64_is_said():
    _, findings = values_of(square, reference=square)
    found = findings["maths", "x_bar, y, y (primal)"]
    assert found.status == "pass" and found.text.startswith("the rule's exact values are the oracle's, within ")


def test_a_mistake_that_only_exact_values_show_has_its_own_rows():
    (values, maths), findings = values_of(ruled(lambda x, g: 2 * x * g + 1e-9 * g), reference=square)
    assert all(row.ok for row in values.rows)
    assert [(row.check, row.leaf, row.ok) for row in maths.rows] == [("maths", "x_bar", False)]
    assert findings["maths", "y, y (primal)"].status == "pass"


def test_one_mistake_is_one_row():
    (values,), findings = values_of(ruled(lambda x, g: -2 * x * g), reference=square)
    assert [row.leaf for row in values.rows if not row.ok] == ["x_bar"] and ("maths", "x_bar") not in findings


def test_what_nobody_can_judge_in_float64_is_a_note():
    x = np.array([9.0], np.float32)  # float64's next number after 1e17 is 16 further
    _, findings = values_of(lambda x: (x + 1e17) - 1e17, x, reference=lambda x: (x + 1e17) - 1e17)
    finding = findings["maths", "y"]
    assert finding.status == "note" and finding.text.startswith("not judged in float64: rounding may move ")


def test_a_gradient_that_is_the_slope_of_its_own_forward_leaves_it_undecided():
    stopped = lambda x: 2 * x * jax.lax.stop_gradient(x) - jax.lax.stop_gradient(x * x)  # noqa: E731
    evaluation = evaluated(lambda x: x * x, reference=lambda x: x * jax.lax.stop_gradient(x))
    _ = list(PROBES["values"].look(evaluation))
    assert evaluation.undecided and [finding.about for finding in evaluation.findings] == ["undecided"]
    agreeing = evaluated(square, reference=stopped)
    _ = list(PROBES["values"].look(agreeing))
    assert not agreeing.undecided, "it is twice x there too"


def test_elements_without_a_bound_are_counted():
    (values,), _ = values_of(lambda x: 1 / (x - jnp.mean(x)), np.array([1, 2, 3], np.float32))
    (row,) = (row for row in values.rows if row.leaf == "y")
    assert (row.verdict, row.unjudged) == ("not judged", 1)


def test_a_leaf_that_could_be_dropped_unseen_is_no_agreement():
    cancelling = lambda x: (x + 1e9) - 1e9  # noqa: E731
    for rule in (cancelling, lambda x: 0 * cancelling(x) + x):
        (values, *_), _ = values_of(rule, np.array([3.0], np.float32), reference=cancelling)
        assert {row.leaf: row.verdict for row in values.rows} == {
            "x_bar": "pass",
            "y": "not judged",
            "y (primal)": "not judged",
        }
