"""One door: the `pullback` command."""

import sys

from pullback.signals import ends_on_signals


def main() -> None:
    """Entry point of the `pullback` command."""
    from .ending import open_what_is_closed
    from .watching import runs_code_of_the_user, watched

    if sys.stdout is None or not runs_code_of_the_user(sys.argv[1:]):
        sys.exit(_ended())
    open_what_is_closed()
    sys.exit(watched(_ended))


def _ended() -> int:
    from .ending import ended

    with ends_on_signals():
        return ended(_run)


def _run() -> None:
    try:
        from .app import app
    except ImportError as error:
        if (error.name or "").split(".")[0] not in ("typer", "rich"):
            raise
        print("The pullback command needs typer and rich: pip install 'pullback[cli]'", file=sys.stderr)
        sys.exit(2)
    app(prog_name="pullback")
