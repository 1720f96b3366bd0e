"""Names of rules and leaves, texts of errors and of probes: text in every output, never markup or a control code."""

import dataclasses
import io
import json
import re

import jax
import numpy as np
import pytest
from rich.console import Console

from pullback import parity
from pullback.parity import Finding, ParityError, Probe
from pullback.parity.report.names import with_printable_names
from pullback.parity.verdict.diagnosis import Diagnosis

X = np.arange(1, 4, dtype=np.float32)
NAMES = {
    "a closing tag": "[/red]x",
    "a tag": "[bold]x",
    "an emoji": ":smile:",
    "a link": "[link=file:///x]y[/link]",
    "HTML": "<script>alert(1)</script>",
    "an entity": "&amp;",
    "mathematics": "$x^2$",
    "colour": "\x1b[31mred",
    "a title of the terminal": "\x1b]0;title\x07",
    "C1 control": "\x9b2Jx",
    "backspaces": "PASS\x08\x08\x08\x08FAIL",
    "a line": "a\nPASS: all agree.",
    "carriage return": "a\rPASS",
    "nul": "a\x00b",
    "right to left": "\u202eevil",
    "nothing to be seen": "a\u200bb",
    "a surrogate": "a\ud800b",
    "a format": "{x}%s%(y)s",
    "a backslash": "a\\[b",
    "wide": "重み",
}


@jax.tree_util.register_pytree_with_keys_class
class Tree:
    """A tree of one leaf, whose key writes itself as it likes."""

    def __init__(self, name, leaf):
        self.name, self.leaf = name, leaf

    def tree_flatten_with_keys(self):
        return [(Key(self.name), self.leaf)], self.name

    def tree_flatten(self):
        return [self.leaf], self.name

    @classmethod
    def tree_unflatten(cls, name, leaves):
        return cls(name, leaves[0])


class Key:
    def __init__(self, name):
        self.name = name

    def __str__(self):
        return f".{self.name}"


class Shown:
    """A static argument that writes itself as it likes."""

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return self.name


def named_rule(name, wrong=True):
    @jax.custom_vjp
    def rule(x):
        return x * x

    rule.defvjp(lambda x: (x * x, x), lambda x, y_bar: (x * y_bar if wrong else 2 * x * y_bar,))
    rule.__name__ = name  # pyright: ignore[reportAttributeAccessIssue]
    return rule


def of_rule(name):
    return parity.check(named_rule(name), X, checks=["values"])


def of_leaf(name):
    return parity.check(lambda t: Tree(t.name, named_rule("rule")(t.leaf)), Tree(name, X), checks=["values"])


def of_key(name):
    return parity.check(lambda t: {name: named_rule("rule")(t[name])}, {name: X}, checks=["values"])


def of_keyword(name):
    return parity.check(lambda x, **_: named_rule("rule")(x), X, kwargs={name: 1}, checks=["values"])


def of_argument(name):
    return parity.check(lambda x, s: named_rule("rule")(x), X, Shown(name), static_argnums=[1], checks=["values"])


def of_error(name):
    def raising(x, y_bar):
        raise ValueError(name)

    rule = jax.custom_vjp(lambda x: x * x)
    rule.defvjp(lambda x: (x * x, x), raising)
    return parity.check(rule, X, reference=lambda x: x * x, checks=["values"])


def of_probe(name):
    found = [Finding(name, name, "FAIL", name), Finding(name, name, "pass", name), Finding(name, name, "note", name)]
    return parity.check(named_rule("rule"), X, checks=["values", Probe(name, lambda _: found)])


def of_capsule(name):
    """What a capsule says of the run that failed, and of the machine."""
    about = {"failed then": name, "changed": f"{name} was {name}, is None"}
    report = parity.check(named_rule("rule"), X, checks=["values"])
    return dataclasses.replace(report, about=report.about | about)


def in_terminal(report):
    screen = io.StringIO()
    Console(file=screen, force_terminal=True, color_system="truecolor", width=116).print(report)
    # The report's own colours: bold, and one of three.
    return re.sub(r"\x1b\[(?:1|0|1;3[123])m", "", screen.getvalue())


def error_of(report):
    with pytest.raises(ParityError) as caught:
        report.raise_if_failed()
    return str(caught.value)


OUTPUTS = {
    "text": str,
    "a terminal": in_terminal,
    "repr": repr,
    "a notebook": lambda report: report._repr_html_(),
    "the page": lambda report: report.to_html(),
    "JSON": lambda report: json.dumps(report.to_dict(), ensure_ascii=False, allow_nan=False),
    "an error": error_of,
}
PLACES = [of_rule, of_leaf, of_key, of_keyword, of_argument, of_error, of_probe, of_capsule]


def assert_text(report, outputs):
    assert report.exit_code == 1
    for output in outputs:
        shown = OUTPUTS[output](report)
        odd = {c for c in shown if not c.isprintable()} - {"\n"}
        assert not odd, f"{odd} in {output}"
        shown.encode()  # and no lone surrogate
        assert output != "text" or not any(line.startswith("PASS: ") for line in shown.splitlines())
        assert "<script" not in shown or output not in ("a notebook", "the page")


@pytest.mark.parametrize("what", NAMES)
def test_names_are_text(what):
    assert_text(of_rule(NAMES[what]), [output for output in OUTPUTS if output != "the page"])


@pytest.mark.parametrize("place", PLACES)
def test_names_are_text_wherever_they_come_from(place):
    assert_text(place("".join(NAMES.values())), OUTPUTS)


@pytest.mark.parametrize("what", ["a closing tag", "a tag", "an emoji", "a link", "mathematics", "a format", "wide"])
def test_what_looks_like_markup_is_shown_as_it_is(what):
    report = of_rule(NAMES[what])
    for output in ("text", "a terminal", "a notebook", "the page", "an error"):
        assert NAMES[what] in OUTPUTS[output](report), output
    assert json.loads(OUTPUTS["JSON"](report))["about"]["rule"] == NAMES[what]


def test_what_cannot_be_printed_is_shown_escaped():
    report = of_rule(NAMES["colour"])
    for output in ("text", "a terminal", "a notebook", "the page", "an error"):
        assert r"\x1b[31mred" in OUTPUTS[output](report), output
    assert json.loads(OUTPUTS["JSON"](report))["about"]["rule"] == r"\x1b[31mred"


def test_a_traceback_keeps_its_lines():
    (text,) = of_error("\x1b[2J").errors.values()
    assert len(text.splitlines()) > 3 and "ValueError: \\x1b[2J" in text


def test_the_score_of_mutants_too():
    assert str(parity.mutants(named_rule("\x1b[2J", wrong=False), X)).startswith(r"\x1b[2J: ")


def test_the_same_object_where_there_is_nothing_to_change():
    finding = Finding("check", "about", "pass", "text")
    for value in ("text", {"a": [1, ("b", finding)]}, 1.5, None, Finding):
        assert with_printable_names(value) is value


def test_what_is_changed_keeps_its_kind():
    diagnosis = with_printable_names(Diagnosis("a\x00", "sign"))
    assert diagnosis == r"a\x00" and diagnosis.kind == "sign"
    value = {"\x00": [("a\n", 1)], "b": Finding("c", "\t", "pass", "")}
    assert with_printable_names(value) == {r"\x00": [(r"a\n", 1)], "b": Finding("c", r"\t", "pass", "")}
