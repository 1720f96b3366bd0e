import jax
import jax.numpy as jnp
import numpy as np

from pullback.parity._check import CHECKS
from pullback.parity.case.case import take_up
from pullback.parity.probes.builtin import PROBES
from pullback.parity.probes.probe import Probe
from pullback.parity.verdict.comparison import Outcome
from pullback.parity.verdict.evaluation import Evaluation
from pullback.parity.verdict.oracle import choose_oracle

X = np.array([[0.51, -1.1, 2.3], [-0.27, 0.9, -3.3]], np.float32)


def square(x):
    return x * x


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
        "values": {"outcome", "linearity"},
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


def test_elements_without_a_bound_are_counted():
    _, *others = PROBES["values"].look(evaluated(lambda x: 1 / (x - jnp.mean(x)), np.zeros(2, np.float32)))
    notes = [other for other in others if not isinstance(other, Outcome) and other.check == "values"]
    assert notes and all(note.status == "note" and "are not judged" in note.text for note in notes)
