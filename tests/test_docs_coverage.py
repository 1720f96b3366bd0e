"""The reference says what a user must know: every public name is in it, with its result, its errors and its source."""

import ast
import importlib.util
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import jax
import pytest

from pullback.parity._check import CHECKS, DTYPES
from pullback.parity.layers.marks import Place
from pullback.parity.report.data import Unjudged
from pullback.parity.report.mistakes import Mistake
from pullback.parity.verdict.diagnosis import Diagnosis
from pullback.parity.verdict.slopes import Estimate, Slope

ROOMS = ("functional", "functional.experimental", "data", "parallel", "parity", "parity.roundoff")
# What reports and evaluations are made of, beside the names of `parity` itself.
PARTS = {f"{part.__module__}.{part.__name__}": part for part in (Diagnosis, Estimate, Mistake, Place, Slope, Unjudged)}
ELSEWHERE = {
    "pullback.cli.pytest_plugin.Parity",
    "pullback.cli.pytest_plugin.parity",
    "pullback.parity.verdict.comparison.Comparison",
    "pullback.parity.verdict.comparison.Outcome",
}


def load(path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def public(room: str) -> dict[str, Any]:
    """Name -> object: `__all__`, or what the room's `__init__` imports as itself."""
    package = importlib.import_module(f"pullback.{room}")
    body = ast.parse(inspect.getsource(package)).body
    aliases = [alias for node in body if isinstance(node, ast.ImportFrom) for alias in node.names]
    names = getattr(package, "__all__", [alias.name for alias in aliases if alias.asname == alias.name])
    return {name: getattr(package, name) for name in names}


EVERY = {f"pullback.{room}.{name}": thing for room in ROOMS for name, thing in public(room).items()}
CLASSES = {name: thing for name, thing in EVERY.items() if isinstance(thing, type)} | PARTS
FUNCTIONS = {name: thing for name, thing in EVERY.items() if inspect.isfunction(inspect.unwrap(thing))}
OTHERS = {"pullback.functional.Params", "pullback.parity.roundoff.Rule"}


def test_what_is_looked_at_below_is_all_of_it():
    assert set(EVERY) | set(PARTS) == set(FUNCTIONS) | set(CLASSES) | OTHERS


@pytest.fixture
def pages(root) -> str:
    return "\n".join(page.read_text() for page in sorted((root / "docs" / "reference").glob("*.md")))


def test_every_public_name_is_in_the_reference_once(pages):
    named = re.findall(r"^\.\. (?:auto(?:function|class|exception)|py:type):: (\S+)$", pages, re.MULTILINE)
    assert sorted(named) == sorted([*EVERY, *PARTS, *ELSEWHERE])


def test_every_class_in_it_shows_its_members(pages):
    shown = re.findall(r"^\.\. autoclass:: (\S+)\n   :members:$", pages, re.MULTILINE)
    classes = {name for name, thing in CLASSES.items() if not issubclass(thing, Exception)}
    # Most of a Report's members are those of the class that it builds on, which autodoc would sort by name.
    assert set(shown) == classes - {"pullback.parity.Report"} | {"pullback.cli.pytest_plugin.Parity"}
    named = re.findall(r"^   \.\. auto(?:method|property|attribute):: (\w+)$", pages, re.MULTILINE)
    every = [member for member, _ in members(CLASSES["pullback.parity.Report"]) if not member.startswith("_")]
    assert sorted(named) == sorted(set(every) - {"of"}), "`of` makes one, and only `check` does"


def test_the_names_that_a_check_takes_are_in_the_reference(pages):
    (sentence,) = re.findall(r"^   What `checks` takes: (.*)$", pages, re.MULTILINE)
    assert re.findall(r"`\"([^`]+)\"`", sentence) == [*CHECKS, *DTYPES]


def test_the_commands_are_in_the_reference(root):
    from pullback.cli.app import app

    page = (root / "docs" / "reference" / "command-line.md").read_text()
    commands = [command.callback.__name__ for command in app.registered_commands if command.callback]
    assert sorted(re.findall(r"^\.\. command:: (\w+)$", page, re.MULTILINE)) == sorted(commands)


# Of each function: what goes in, what comes out, what it raises.


def doc(thing: Any) -> str:
    return inspect.getdoc(thing) or ""


def definition(function: Any) -> ast.FunctionDef:
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function)))).body
    assert isinstance(node, ast.FunctionDef)
    return node


def with_those_it_names(name: str, seen: tuple[str, ...] = ()) -> str:
    """The docstring, and those of the public functions that it names: `errors: those of mlp_loss`."""
    room = name.rpartition(".")[0]
    text = doc(EVERY[name])
    for other in re.findall(r"`(?:pullback\.\w+\.)?(\w+)`", text):
        full = next((f for f in (f"{room}.{other}", *(f"pullback.{r}.{other}" for r in ROOMS)) if f in FUNCTIONS), None)
        if full is not None and full not in (name, *seen):
            text += "\n" + with_those_it_names(full, (*seen, name))
    return text


def all_arguments(node: ast.FunctionDef) -> list[ast.arg]:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    return [argument for argument in arguments if argument is not None]


def has_shape(annotation: ast.expr) -> bool:
    return any(re.match(r"Float\[Array, ['\"]", ast.unparse(node)) for node in ast.walk(annotation))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_says_what_each_argument_is(name):
    text = with_those_it_names(name)
    for argument in all_arguments(definition(FUNCTIONS[name])):
        assert argument.annotation is not None, f"{argument.arg} has no annotation"
        said = has_shape(argument.annotation) or re.search(rf"\b{argument.arg}\b", text)
        assert said, f"{argument.arg} has no shape in its annotation, and the docstring does not say what it is"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_says_what_it_returns(name):
    returns = definition(FUNCTIONS[name]).returns
    assert returns is not None and doc(FUNCTIONS[name])
    if re.search(r"\b(Array|NDArray|ndarray|Params|StateDict)\b", ast.unparse(returns)) and not has_shape(returns):
        said = re.search(r"`[^`]*\w?\[[^`]+\][^`]*`|\bshapes?\b", with_those_it_names(name))
        assert said, "arrays come out, and neither annotation nor docstring has their shapes"


def reached(node: ast.AST) -> Iterator[ast.AST]:
    """What lies below, but for what is called elsewhere (a lambda), or where somebody listens for errors (a try)."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Lambda) or (isinstance(node, ast.Try) and node.handlers and child in node.body):
            continue
        yield child
        yield from reached(child)


def raised_by(function: Callable[..., Any], folder: str, seen: set[Any]) -> Iterator[str]:
    """The exceptions that the function raises, and what it calls in the same folder."""
    function = inspect.unwrap(function)
    if not inspect.isfunction(function) or function in seen or not function.__module__.startswith(folder):
        return
    seen.add(function)
    for node in reached(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            yield node.exc.func.id
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = function.__globals__.get(node.func.id)
            if called is not None and not isinstance(called, type):
                yield from raised_by(called, folder, seen)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_names_the_errors_that_it_raises(name):
    function = inspect.unwrap(FUNCTIONS[name])
    # In parity a call goes through every room, and what is raised below is mostly reported: its own file counts there.
    folder = function.__module__ if ".parity" in function.__module__ else ".".join(function.__module__.split(".")[:2])
    text = with_those_it_names(name)
    silent = sorted({error for error in raised_by(function, folder, set()) if error not in text})
    assert not silent, f"it raises {', '.join(silent)}, and the docstring does not say when"


def of_rules() -> list[str]:
    wrapped = {name: getattr(thing, "__wrapped__", None) for name, thing in FUNCTIONS.items()}
    rules = {name for name, thing in FUNCTIONS.items() if isinstance(wrapped[name], jax.custom_vjp)}
    assert rules, "a rule is a custom_vjp with its check before it"
    return sorted(name for name in FUNCTIONS if re.sub("_(fwd|bwd)$", "", name) in rules)


@pytest.mark.parametrize("name", of_rules())
def test_a_rule_names_its_source(name):
    function = inspect.unwrap(FUNCTIONS[name])
    assert re.search(r"^Sources?: \w", doc(function) + "\n" + (sys.modules[function.__module__].__doc__ or ""), re.M)


@pytest.mark.parametrize("name", [name for name, f in FUNCTIONS.items() if f.__module__ == "pullback.functional.init"])
def test_an_init_names_its_source(name):
    if name.endswith(".fans"):
        return  # counts, and draws nothing
    assert re.search(r"\bSource: [\w`]", doc(FUNCTIONS[name])), "from which paper, or which text?"


UNITS = {"timeout": "seconds", "batch_size": "rows", "tile_rows": "rows", "mean": "unit", "std": "unit"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_number_has_its_unit(name):
    for argument in all_arguments(definition(FUNCTIONS[name])):
        unit = UNITS.get(argument.arg)
        assert unit is None or unit in with_those_it_names(name), f"{argument.arg} is a number of which unit?"


# Of each class: what each field and method is.


def members(thing: type) -> Iterator[tuple[str, str]]:
    """Each public field, property and method of ours, and what is said of it."""
    for owner in thing.__mro__:
        if not owner.__module__.startswith("pullback"):
            continue
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        assert isinstance(node, ast.ClassDef)
        for here, after in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(here, ast.AnnAssign) and isinstance(here.target, ast.Name):
                text = (
                    after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
                )
                yield here.target.id, str(text)
            elif isinstance(here, ast.FunctionDef):
                yield here.name, ast.get_docstring(here) or ""


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_says_what_each_of_its_fields_is(name):
    assert doc(CLASSES[name]) and CLASSES[name].__doc__
    silent = [member for member, text in members(CLASSES[name]) if not member.startswith("_") and not text]
    assert not silent, f"nothing is said of {', '.join(silent)}"


# The site's own code.


def test_shapes_are_in_the_signatures_of_the_site(root):
    docstrings = load(root / "docs" / "docstrings.py")
    arguments, returns = docstrings.signature_of(FUNCTIONS["pullback.functional.lin"])
    assert arguments == (
        "(x: Float[Array, '*batch fan_in'], w: Float[Array, 'fan_in fan_out'], b: Float[Array, 'fan_out'] | None=None)"
    )
    assert returns == "Float[Array, '*batch fan_out']"


def test_a_docstring_becomes_text_with_equations_and_items(root):
    docstrings = load(root / "docs" / "docstrings.py")
    text = "Takes |a| and `b_`:\n\n    y = x * w\n\nmask: bools of x. lr, std: numbers (see docs/parity.md)."
    text += " Source: us.\n\nRaises:\n    ValueError: x is 0,\n        or w is."
    made = list(docstrings.as_rst(text.split("\n"), ["mask", "lr", "std"]))
    assert [line for line in made if line] == [
        r"Takes \|a\| and `b_`:",
        "::",
        "    y = x * w",
        "- **mask**: bools of x.",
        "- **lr, std**: numbers (see :doc:`docs/parity.md </parity>`).",
        "Source: us.",
        ":raises ValueError: x is 0,",
        "    or w is.",
    ]


def test_a_link_that_leads_nowhere_is_found(root, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "a.html").write_text('<a href="in/b.html#here">b</a> <a href="https://x.org/">x</a> <a href="#">a</a>')
    (tmp_path / "in" / "b.html").write_text('<p id="here"><a href="../a.html#gone">a</a> <img src="c.png">')
    found = list(load(root / "docs" / "link_check.py").broken_links(tmp_path))
    assert [(str(page), link) for page, link in found] == [("in/b.html", "../a.html#gone"), ("in/b.html", "c.png")]


def test_a_link_to_a_file_leads_to_its_page(root):
    links = load(root / "docs" / "site_links.py")
    text = "[a](../functional/lin.py) [b](gpu.md#is-it-fast) [c](../README.md) [d](#here) [e](https://x.org/y)"
    assert links.rewritten(text, "parity") == (
        "[a](repo:functional/lin.py) [b](gpu.md#is-it-fast) [c](index.md) [d](#here) [e](https://x.org/y)"
    )
    text = "[a](docs/parity.md#in-a-test) [b](notebooks/01_forward.ipynb) [c](tests/test_house.py)"
    assert links.rewritten(text, "project/CONTRIBUTING") == (
        "[a](../parity.md#in-a-test) [b](../notebooks/01_forward.ipynb) [c](repo:tests/test_house.py)"
    )
