"""A rule of the user's own, named on the command line: checked, and saved where it fails."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pullback.signals import tidily

from .by_name import arguments_named, function_named, make_importable
from .ending import say
from .saved_run import replay_command
from .terminal import note, progress, refuse

if TYPE_CHECKING:
    from pullback.parity import Report

LISTS = ("checks", "dtypes", "nondiff", "static_argnums")  # of names or numbers, with commas between them
PASSED_ON = (*LISTS, "trusted", "arithmetic", "allow_unjudged", "device", "precision", "seed")
"""The options that `parity.check` has too."""


def check_rule(
    rule: str, reference: str | None, torch: str | None, args: str, options: dict[str, Any]
) -> tuple["Report", Callable[[Path], None]]:
    """The report, and what saves its run in a capsule. Functions and arguments are given by name.

    options: those of PASSED_ON, as they were typed. Refuses, naming the option, what cannot be read or imported.
    """
    make_importable()
    names = {"rule": rule, "reference": reference, "torch": torch}
    with progress():
        from pullback.parity import check
        from pullback.parity.capsule import save_capsule

        functions = {role: function_named(f"--{role}", name) for role, name in names.items() if name is not None}
        positional, keywords = arguments_named("--args", args)
        options = {"kwargs": keywords, **_read(options)}
        report = check(functions["rule"], *positional, **{k: f for k, f in functions.items() if k != "rule"}, **options)
    saved = {name: value for name, value in options.items() if name != "device"}  # a replay runs on what is there
    return report, lambda path: save_capsule(path, report, args=positional, **names, **saved)


def _read(options: dict[str, Any]) -> dict[str, Any]:
    """The options as `parity.check` takes them."""
    read = dict(options)
    for name in LISTS:
        if name in read:
            read[name] = [each.strip() for each in read[name].split(",")]
    if "checks" in read:
        read["checks"] = [name.replace("-", " ") for name in read["checks"]]
    if "static_argnums" in read:
        try:
            read["static_argnums"] = [int(number) for number in read["static_argnums"]]
        except ValueError:
            refuse(f"--static-argnums: expected positions such as 0,2, got {options['static_argnums']!r}")
    return read


def save_run(save_capsule: Callable[[Path], None], file: Path, asked: bool = False) -> str:
    """Says where the failing run is. That it could not be saved is no reason to hide the verdict: a note.

    asked: whether the user named the file. That it cannot be written is then what is returned.
    """
    from pullback.parity.capsule import modules_to_allow
    from pullback.parity.case.saved_run import read_run

    try:
        with tidily():
            save_capsule(file)
        again = replay_command(file, modules_to_allow(read_run(file)))
    except (ImportError, OSError, ValueError) as error:
        if asked and isinstance(error, OSError):
            return f"--capsule: cannot write {file}: {error.strerror}"
        note(f"this run is not saved: {error}")
    else:
        say(f"this run is saved; to re-run it: {again}")
    return ""
