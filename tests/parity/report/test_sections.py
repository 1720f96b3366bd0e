import dataclasses
import html

import numpy as np
import pytest

from pullback.parity import Finding
from pullback.parity.report import sections
from pullback.parity.report.data import ReportData
from pullback.parity.verdict.rows import ALONE, compare

BROKEN = Finding("transformations", "vmap", "FAIL", "differs")


@pytest.fixture
def failing(outcome, rows):
    return ReportData.of({"rule": "my_<rule>"}, [outcome(rows)])


@pytest.fixture
def unjudged(outcome):
    want = {"w": np.ones(2), "b": np.ones(2), "c": np.ones(3)}
    bounds = {"w": np.array([np.inf, 1]), "b": np.full(2, np.inf), "c": np.full(3, 0.1)}
    return ReportData.of({"rule": "f"}, [outcome(compare("net", {"rule": want}, want, bounds, {}))])


def test_the_head_says_what_the_verdict_means(failing, unjudged, outcome, passing):
    right = ReportData.of({"rule": "f"}, [outcome(passing)])
    broken = ReportData.of({"rule": "f"}, [outcome(passing)], [BROKEN])
    shaken = ReportData.of({"rule": "f"}, [outcome(passing, oracle_budget=2.0)])
    for report, kind, meaning in (
        (right, "pass", "Every result is as close to a float64 computation of the same maths as"),
        (unjudged, "unsure", "of some results nothing can be said: they may be right or wrong."),
        (dataclasses.replace(unjudged, allow_unjudged=True), "pass", "Every result that could be judged is as close"),
        (failing, "fail", "What fails is farther from a float64 computation of the same maths than rounding explains"),
        (dataclasses.replace(failing, is_port=True), "fail", "farther from torch's function, its original, than"),
        (dataclasses.replace(failing, undecided="a <> b"), "fail", "Nobody is called wrong: a <> b."),
        (broken, "fail", "but a further check found a mistake."),
        (shaken, "fail", "a second one disagrees with it: trust no figure here."),
    ):
        head = html.unescape(sections.head(report))
        assert f'<h1 class="{kind}">' in head and meaning in head and 'href="#read"' in head
    assert "pullback parity: my_&lt;rule&gt;" in sections.head(failing)


def test_who_is_wrong_stands_first(failing):
    lines = sections.culprits(failing).splitlines()[1:-1]
    assert [line.split("</span>: ")[1] for line in lines] == [
        "1 of 2 leaves fail</li>",
        "2 of 2 leaves fail</li>",
        "none of 2 leaves fail</li>",
    ]
    assert ["custom_vjp" in lines[0], "torch" in lines[1], "by hand" in lines[2]] == [True] * 3
    assert ["✗" in line for line in lines] == ['class="fail"' in line for line in lines] == [True, True, False]


def test_nobody_is_named_where_nobody_is_called_wrong(failing, unjudged):
    assert sections.culprits(dataclasses.replace(failing, undecided="who knows")) == ""
    assert sections.culprits(dataclasses.replace(failing, oracle_budget=2.0)) == ""
    assert sections.culprits(unjudged) == ""


def test_what_is_wrong_opens_in_bold_and_ends_with_what_to_try(failing):
    text = sections.wrong(failing)
    assert "<li><strong>net w1 of custom_vjp is wrong at 1 of 4 elements, [1, 0].</strong> At [1, 0] it is" in text
    assert "<p><b>Try:</b> hold the steps of the forward" in text and text.count("<li>") == 2


def test_a_long_sentence_is_bold_up_to_its_colon(outcome, passing):
    finding = Finding("transformations", "vmap", "FAIL", "differs " * 40)
    text = sections.wrong(ReportData.of({"rule": "f"}, [outcome(passing)], [finding]))
    assert "<li><strong>transformations vmap:</strong> differs differs" in text


def test_nothing_is_wrong(unjudged):
    assert sections.wrong(unjudged) == ""


def test_not_judged(unjudged):
    text = sections.not_judged(unjudged)
    assert "<strong>net b</strong> (2 of 2 elements)" in text and "<strong>net w</strong> (1 of 2 elements)" in text
    assert text.count("<li>") == 1, "the same reason is given once"
    assert text.count("To have it judged:") == 1 and "net c" not in text


def test_why_a_gradient_without_company_is_not_judged(unjudged):
    rows = [dataclasses.replace(row, reason=ALONE) for row in unjudged.rows]
    text = sections.not_judged(dataclasses.replace(unjudged, rows=rows))
    assert f"{ALONE.capitalize()}." in text and "In that dtype" not in text


def test_all_is_judged(failing):
    assert sections.not_judged(failing) == ""


def test_what_was_raised_is_folded_away(failing):
    report = dataclasses.replace(failing, errors={"float32 torch": "Traceback:\nValueError: <no>"})
    assert "<summary>float32 torch</summary><pre>Traceback:\nValueError: &lt;no&gt;</pre>" in sections.tracebacks(
        report
    )
    assert sections.tracebacks(failing) == ""


def test_what_ran(failing):
    assert "<dt>rule</dt><dd>my_&lt;rule&gt;</dd>" in sections.ran(failing)
