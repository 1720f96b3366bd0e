"""The reference, from docstrings that are written to be read in the source.

There a docstring is plain text: code stands in single backticks, equations are indented, and arguments begin a sentence
(`mask: bools of x's leading axes.`). Sphinx reads reStructuredText, so this makes it of them.
"""

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer.main
from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

ROOMS = ("functional", "functional.experimental", "data", "parallel", "parity", "parity.roundoff")
SHOWN_FIELDS = 4
"""A class of more fields than these is one that users read, and do not make."""


def public_names(room: str) -> list[str]:
    """The names that `pullback.<room>` exports: `__all__`, or what its `__init__` imports as itself."""
    package = importlib.import_module(f"pullback.{room}")
    if hasattr(package, "__all__"):
        return list(package.__all__)
    imports = [node for node in ast.parse(inspect.getsource(package)).body if isinstance(node, ast.ImportFrom)]
    return [alias.name for node in imports for alias in node.names if alias.asname == alias.name]


def full_names() -> dict[str, str]:
    """What a docstring calls a thing -> its full name: `lin`, `parity.check`, `pullback.data.load_mnist`."""
    names = {}
    for room in ROOMS:
        for name in public_names(room):
            full = f"pullback.{room}.{name}"
            names |= {name: full, f"{room}.{name}": full, full: full}
    return names


def source_of(function: Any) -> ast.FunctionDef:
    """The definition, as it stands in its file."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function)))).body
    assert isinstance(node, ast.FunctionDef)
    return node


def signature_of(function: Any) -> tuple[str, str | None]:
    """Arguments and result as they are annotated in the source, so that shapes and aliases stay what they are."""
    node = source_of(function)
    for part in ast.walk(node):  # jaxtyping wants a space before a shape of one axis, and no reader does
        if isinstance(part, ast.Subscript) and isinstance(part.slice, ast.Tuple):
            for item in part.slice.elts:
                if isinstance(item, ast.Constant) and isinstance(item.value, str):
                    item.value = item.value.strip()
    node.args.args = [argument for argument in node.args.args if argument.arg not in ("self", "cls")]
    returns = None if node.returns is None else ast.unparse(node.returns).strip("'")
    return f"({ast.unparse(node.args)})", returns


def as_rst(lines: list[str], parameters: list[str]) -> Iterator[str]:
    """A docstring as reStructuredText: indented lines as they are, an item for each argument, and no other markup."""
    lines = list(lines)
    # What begins a sentence and ends with a colon, as in `mean, std: real numbers.` or `tile_rows (static): that of`.
    said = "|".join(map(re.escape, sorted(parameters, key=len, reverse=True)))
    begins = re.compile(rf"(?:^|(?<=[.;] ))((?:(?:{said}), )*(?:{said})(?: \([^)]*\))?):(?= |$)") if said else None
    indented = re.compile("    .*|")
    while lines:
        if not lines[0]:
            yield lines.pop(0)
        elif indented.fullmatch(lines[0]):  # an equation, or a table
            yield from ["::", ""]
            while lines and indented.fullmatch(lines[0]):
                yield lines.pop(0)
            yield ""
        elif lines[0] == "Raises:":
            lines.pop(0)
            while lines and indented.fullmatch(lines[0]):
                line = lines.pop(0)
                error = re.fullmatch(r"    (\w+): (.*)", line)
                yield f":raises {error[1]}: {escaped(error[2])}" if error else f"    {escaped(line.strip())}"
            yield ""
        else:
            paragraph = []
            while lines and lines[0] and not indented.fullmatch(lines[0]):
                paragraph.append(lines.pop(0))
            for part in re.split(r"(?<=\. )(?=Raises |Source: )", " ".join(paragraph)):
                text, *items = begins.split(part) if begins else [part]
                yield from [escaped(text.strip()), ""]
                for names, of_them in zip(items[::2], items[1::2], strict=True):
                    yield from [f"- **{escaped(names)}**: {escaped(of_them.strip())}", ""]


def escaped(text: str) -> str:
    """The text with what reStructuredText would take for markup escaped, and a link where it names a page."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*|\\]|_(?!\w))", r"\\\1", part) for part in parts[::2]]
    parts[::2] = [re.sub(r"\bdocs/([\w-]+)\.md", r":doc:`docs/\1.md </\1>`", part) for part in parts[::2]]
    return "`".join(parts)


def process_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    parameters = []
    if what in ("function", "method"):
        arguments = source_of(obj).args
        parameters = [arg.arg for arg in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        parameters += [arg.arg for arg in (arguments.vararg, arguments.kwarg) if arg]
    lines[:] = list(as_rst(lines, parameters))
    if what == "module":  # it may speak of the lesson's `mse`, which is not ours
        lines[:] = [re.sub(r"(?<!\S)`([^`]+)`", r"``\1``", line) for line in lines]


def process_signature(app: Any, what: str, name: str, obj: Any, *_: Any) -> tuple[str, str | None] | None:
    if what in ("function", "method"):
        return signature_of(obj)
    if what == "class":
        fields = getattr(obj, "_fields", None) or [f.name for f in dataclasses.fields(obj)] if _made(obj) else []
        return (f"({', '.join(fields)})" if 0 < len(fields) <= SHOWN_FIELDS else "", None)
    return None


def _made(obj: Any) -> bool:
    return hasattr(obj, "_fields") or dataclasses.is_dataclass(obj)


def name_role(role: str, raw: str, text: str, line: int, inliner: Any, *_: Any) -> tuple[list[nodes.Node], list[Any]]:
    """Code in single backticks: a link where it names something public."""
    text = re.sub(r"\\(.)", r"\1", text)
    full = full_names().get(text)
    shown = nodes.literal(text, text)
    if full is None:
        return [shown], []
    reference = addnodes.pending_xref("", shown, refdomain="py", reftype="obj", reftarget=full, refexplicit=True)
    return [reference], []


class Command(SphinxDirective):
    """`.. command:: parity`: the options of that subcommand, as its `--help` has them."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        from pullback.cli.app import app

        command: Any = typer.main.get_command(app).commands[self.arguments[0]]  # type: ignore[attr-defined]
        kinds = get_type_hints(command.callback, include_extras=True)
        said = inspect.cleandoc(command.help or "").splitlines()
        lines, panel = [f".. program:: pullback {command.name}", "", *as_rst(said, [])], None
        for option in command.params:
            if option.rich_help_panel != panel:
                panel = option.rich_help_panel
                lines += ["", f".. rubric:: {options_in(panel or 'For all')}", ""]
            value = "" if option.is_flag else f" {option.metavar or value_of(kinds[option.name])}"
            default = f" Default: {option.show_default}." if isinstance(option.show_default, str) else ""
            lines += [
                f".. option:: {option.opts[0]}{value}",
                "",
                f"   {options_in(escaped(option.help + default))}",
                "",
            ]
        return self.parse_text_to_nodes("\n".join(lines))


def options_in(text: str) -> str:
    """The text, with the options that it names as code."""
    return re.sub(r"(?<!\S)(--[a-z-]+)", r"``\1``", text)


def value_of(hint: Any) -> str:
    """What stands after an option whose argument has that annotation: `cpu|gpu|tpu`, `INTEGER`, `TEXT`."""
    kind = next(part for part in get_args(get_args(hint)[0]) or get_args(hint) if part is not type(None))
    return "|".join(get_args(kind)) if get_origin(kind) is Literal else {int: "INTEGER"}.get(kind, "TEXT")


def setup(app: Any) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", process_docstring)
    app.connect("autodoc-process-signature", process_signature)
    app.add_role("name", name_role)
    app.add_directive("command", Command)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
