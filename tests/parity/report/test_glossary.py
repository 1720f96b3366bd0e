import numpy as np
import pytest

from pullback.parity import Finding
from pullback.parity.report.data import ReportData
from pullback.parity.report.glossary import explained, how_to_read
from pullback.parity.verdict.rows import compare

ALWAYS = {"leaf", "implementation", "oracle", "bound", "bound used", "would notice", "ulps"}


def words_of(report):
    return dict(explained(report))


def test_the_words_of_every_page(outcome, passing):
    report = ReportData.of({}, [outcome(passing, gates=0)])
    assert words_of(report).keys() == ALWAYS
    assert how_to_read(report).count("<dt>") == len(ALWAYS) and '<h2 id="read">' in how_to_read(report)


def test_words_are_explained_where_they_come_up(outcome, passing):
    want = {"x_bar": np.ones((2, 3))}
    bounds = {"x_bar": np.full((2, 3), np.inf)}
    rows = [
        row
        for check in ("float32 maths", "grad of grad")
        for row in compare(check, {"rule": want}, want, bounds, {}, stacked=True)
    ]
    report = ReportData.of({}, [outcome([*passing, *rows])], [Finding("kinks", "x = 0", "note", "jax says 0")])
    assert words_of(report).keys() - ALWAYS == {
        "cotangent",
        "maths",
        "grad of grad, forward over reverse",
        "kink",
        "not judged",
        "note, skipped",
    }


@pytest.mark.parametrize(
    ("who", "told"), [({"rule", "torch"}, {"rule", "torch"}), ({"by hand", "torch"}, set()), ({"rule"}, {"rule"})]
)
def test_only_those_who_are_there_are_explained(outcome, who, told):
    want = {"y": np.ones(2)}
    rows = compare("net", dict.fromkeys(sorted(who), want), want, {"y": np.ones(2)}, {})
    text = words_of(ReportData.of({}, [outcome(rows)]))["implementation"]
    assert {name for name in ("rule", "reference", "torch") if f"{name} is " in text} == told
