"""Code under test that ends Python: refused, for an end that Python counts as a success is no verdict."""

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def refusing_exit() -> Iterator[None]:
    """While this lasts, SystemExit becomes a ValueError that says where it was raised.

    KeyboardInterrupt passes: the user means it.
    """
    try:
        yield
    except SystemExit as error:
        said = "the code under test ended Python, where it should return or raise an error, so nothing is judged"
        raise ValueError(f"{said}: {exit_described(error)}") from error


def exit_described(error: SystemExit) -> str:
    """`SystemExit: 0, in my_rules.py, line 12`."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f", in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"SystemExit: {error.code}{where}"
