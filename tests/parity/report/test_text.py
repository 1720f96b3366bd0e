import html.parser

import numpy as np
import pytest
from rich.console import Console

from pullback.parity import Finding, Report, check_mnist
from pullback.parity.verdict.comparison import Outcome
from pullback.parity.verdict.rows import compare


@pytest.fixture(scope="module")
def passing():
    return check_mnist(8, 4, source="sample")


def report_of(got, findings=(), raised=None, **changes):
    want = {"w1": np.ones((2, 2)), "b1": np.ones(2)}
    bounds = {"w1": np.full((2, 2), 1e-6), "b1": np.full(2, 1e-6)}
    rows = compare("net", got, want, bounds, dict.fromkeys(want, np.float32), raised)
    parts = {"gates": 10, "kinks": 3, "kink_at": ((1, 2),), "oracle_budget": 0.5, "fallbacks": ()}
    return Report.of({"net": "n"}, [Outcome(rows, **(parts | changes))], findings)


RIGHT = {"w1": np.ones((2, 2), np.float32), "b1": np.ones(2, np.float32)}
WRONG = RIGHT | {"w1": np.array([[1, 1], [1.5, 1]], np.float32)}


def words(report):
    return " ".join(str(report).split())


def test_a_pass(passing):
    text = str(passing)
    assert text.splitlines()[-1] == "PASS: all 18 leaves in 6 implementations agree."
    assert "FAIL" not in text
    assert "embedded sample of MNIST (4,000 train and 1,000 valid images, no test)" in text
    assert max(map(len, text.splitlines())) <= 116
    for row in passing.rows:
        assert f"{row.check} {row.leaf}" in text


def test_a_failure_names_who_what_and_where():
    report = report_of({"by hand": RIGHT, "custom_vjp": WRONG}, raised={"torch": "RuntimeError: out of memory"})
    next(row for row in report.rows if row.leaf == "w1").diagnosis["custom_vjp"] = "the sign is wrong"
    text = words(report)
    assert (
        "net w1 of custom_vjp is wrong at 1 of 4 elements, [1, 0]: the sign is wrong. At [1, 0] it is 1.500, and 1.000 "
        "is right (as by hand has it): 5e5 times as far off as rounding explains." in text
    )
    assert "torch raised RuntimeError: out of memory." in text and text.index("What is wrong:") < text.index("verdict")
    assert text.endswith("FAIL: 2 of 2 leaves in 3 implementations disagree. Wrong: custom_vjp, torch.")
    assert "Kinks: 3 of 10 comparisons" in text and "either side is right: at [1,2] and others." in text


def test_findings_are_grouped_and_failures_come_first():
    findings = [
        Finding("transformations", "jit", "pass", "bitwise equal"),
        Finding("transformations", "vmap", "pass", "bitwise equal"),
        Finding("kinks", "x = nan", "note", "a convention [of torch]"),
        Finding("kinks", "x = inf", "note", "a convention [of torch]"),
        Finding("numerical", "x", "FAIL", "slope measured 1, rule 2"),
    ]
    report = report_of({"ours": RIGHT}, findings)
    lines = [" ".join(line.split()) for line in str(report).splitlines()]
    shown = [line for line in lines if line.startswith(("transformations", "kinks", "numerical"))]
    assert shown == [
        "numerical x FAIL slope measured 1, rule 2",
        "kinks x = nan, x = inf note a convention [of torch]",
        "transformations jit, vmap pass bitwise equal",
    ]
    assert lines[-1] == "FAIL: all 2 leaves in 1 implementations agree, but of the further checks 1 fail."


def test_no_gates_no_kink_band_and_fallbacks_are_said():
    text = words(report_of({"ours": RIGHT}, gates=0, kinks=0, kink_at=(), fallbacks=("lu", "sort")))
    assert "Kinks:" not in text
    assert "The bound is an estimate, and weaker, for want of a rule for lu, sort." in text


def test_an_oracle_that_is_contradicted():
    assert words(report_of({"ours": RIGHT}, oracle_budget=1.5)).endswith("so there is nothing to judge by.")


def test_many_rows_stay_on_one_screen():
    got = {f"w{i}": np.ones(1, np.float32) for i in range(60)}
    rows = compare(
        "net", {"ours": got}, {n: np.ones(1) for n in got}, {n: np.ones(1) for n in got}, dict.fromkeys(got, np.float32)
    )
    report = Report.of({"net": "n"}, [Outcome(rows, 0, 0, (), 0.5, ())])
    assert len(str(report).splitlines()) < 55 and "and 36 more, which use less of their bound" in str(report)


def test_html_fragment(passing):
    page = passing._repr_html_()
    html.parser.HTMLParser().feed(page)
    assert page.startswith("<pre") and "PASS: all 18 leaves" in page


def test_at_a_prompt_it_is_one_line(passing):
    shown = repr(passing)
    assert shown.startswith("<Report PASS: all 18 leaves") and shown.endswith("print(report) shows the table>")
    assert "\n" not in shown


def test_a_bracket_is_no_markup_and_no_tag():
    report = report_of({"ours": RIGHT}, [Finding("kinks", "x[0] <b>", "note", "[bold]loud[/bold] & <i>")])
    assert "[bold]loud[/bold] & <i>" in str(report) and "[bold]loud[/bold] &amp; &lt;i&gt;" in report._repr_html_()
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        console.print(report)
    assert "[bold]loud[/bold] & <i>" in capture.get()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_at_every_width(width, passing, monkeypatch):
    """In a terminal and in a pipe: no line is longer, and no figure is cut."""
    names = [f"params['layer_{i}']['a rather long name']_bar" for i in range(3)]
    want = {name: np.ones((5, 100, 2000)) for name in names}
    got = {
        who: {name: leaf.astype(np.float32) for name, leaf in want.items()} for who in ("rule", "reference", "torch")
    }
    got["rule"][names[1]][2, 50, 1234] = 3
    bounds = dict.fromkeys(names, np.full((5, 100, 2000), 1e-6))
    rows = compare("bfloat16", got, want, bounds, dict.fromkeys(names, np.float32), stacked=True)
    found = [Finding("kinks", "x" * 70, "note", "words " * 40)]
    failing = Report.of({"net": "n " * 100}, [Outcome(rows, 9, 1, ((1,),), 0.5, ("lu",))], found)
    monkeypatch.setenv("COLUMNS", str(width))
    for report in (passing, failing):
        *text, verdict = str(report).splitlines()
        console = Console(width=width, color_system=None)
        with console.capture() as capture:
            console.print(report)
        for lines in (text, capture.get().splitlines()):
            assert max(map(len, lines)) <= width
            header = next(line for line in lines if line.startswith("leaf "))
            start = lines.index(header) + 1
            table = lines[start : start + len(report.rows)]
            assert [line.split()[-1] for line in table] == [row.verdict for row in report.rows]
            assert not [line for line in table if "…" in line[len("leaf") + 40 :]], "only the leaf's name is cut"
        assert verdict.startswith(("PASS", "FAIL")) and ("ulps:" in " ".join(text)) == (" ulps " in str(report))


def test_colours_come_from_rich_where_it_is_used():
    console = Console(width=116, force_terminal=True, color_system="standard")
    with console.capture() as capture:
        console.print(report_of({"ours": WRONG}))
    assert "\x1b[1;31m" in capture.get()


def test_on_a_narrow_terminal(passing):
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(passing)
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if line.startswith("net x_bar"))
    assert row.split()[-1] == "pass", "the verdict is on the leaf's own line"


def test_a_failure_on_a_narrow_terminal_and_in_a_pipe(monkeypatch):
    report = report_of({"by hand": RIGHT, "custom_vjp": WRONG}, [Finding("kinks", "x", "FAIL", "differs " * 20)])
    wide = str(report)
    monkeypatch.setenv("COLUMNS", "80")
    narrow = str(report)
    *narrow_lines, verdict = narrow.splitlines()
    assert max(map(len, narrow_lines)) <= 80 < max(map(len, wide.splitlines())) <= 116
    assert verdict == wide.splitlines()[-1], "in one line"
    assert "Under each implementation" in " ".join(wide.split())
    for words_of in (" ".join(narrow.split()), " ".join(wide.split())):
        assert "net w1 of custom_vjp is wrong at 1 of 4 elements, [1, 0]." in words_of
    assert not [line for line in (*wide.splitlines(), *narrow.splitlines()) if line != line.rstrip()]


@pytest.mark.parametrize("columns", ["", "wide", "-3", "0"])
def test_columns_that_are_no_number_are_not_heeded(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    assert max(map(len, str(report_of({"ours": RIGHT})).splitlines())) > 100


def test_the_primal_is_a_row_only_where_it_comes_off_otherwise():
    def of(y, primal):
        got = {"ours": {"y": np.array([y, 1], np.float32), "y (primal)": np.array([primal, 1], np.float32)}}
        want = {"y": np.ones(2), "y (primal)": np.ones(2)}
        rows = compare("float32", got, want, dict.fromkeys(want, np.full(2, 1e-6)), dict.fromkeys(want, np.float32))
        return [row.leaf for row in Report.of({"net": "n"}, [Outcome(rows, 0, 0, (), 0.5, ())]).rows]

    assert of(1, 1) == of(2, 2) == of(1, 1 + 2**-23) == ["y"]
    assert sorted(of(1, 2)) == sorted(of(2, 1)) == sorted(of(2, 3)) == ["y", "y (primal)"]


def test_a_cotangent_leaf_has_the_shape_of_its_argument():
    want = {"x_bar": np.ones((5, 2, 3))}
    got = {"x_bar": np.ones((5, 2, 3), np.float32)}
    got["x_bar"][2, 1, 0] = 2
    bounds, dtypes = {"x_bar": np.full((5, 2, 3), 1e-6)}, {"x_bar": np.float32}
    rows = compare("float32", {"rule": got}, want, bounds, dtypes, stacked=True)
    report = Report.of({"net": "n"}, [Outcome(rows, 0, 0, (), 0.5, ())])
    line = next(line for line in str(report).splitlines() if line.startswith("float32 x_bar"))
    assert line.split()[2] == "2×3" and " 1,0 c2 " in line
    assert "At [1, 0], for cotangent c2 (c0 + 2 c1), it is 2.000" in words(report)
    assert "the cotangent with which it is so" in words(report)
    assert report.to_dict()["rows"][0]["shape"] == [5, 2, 3] and report.to_dict()["rows"][0]["cotangents"] == 5


def test_a_bound_of_zero_is_named():
    got, want = {"y": np.ones(2, np.float32)}, {"y": np.zeros(2)}
    rows = compare("relu", {"ours": got}, want, {"y": np.zeros(2)}, {"y": np.float32})
    text = words(Report.of({"net": "n"}, [Outcome(rows, 0, 0, (), 0.5, ())]))
    assert "relu y of ours is wrong at every element. At [0] it is 1.000, and 0 is right: nothing is rounded" in text
    assert " inf any FAIL" in text
