"""One door: the `pullback` command."""

import sys


def main() -> None:
    """Entry point of the `pullback` command."""
    from .ending import ended, open_what_is_closed
    from .watching import runs_code_of_the_user, watched

    if sys.stdout is None or not runs_code_of_the_user(sys.argv[1:]):
        sys.exit(ended(_run))
    open_what_is_closed()
    sys.exit(watched(lambda: ended(_run)))


def _run() -> None:
    try:
        from .app import app
    except ImportError as error:
        if (error.name or "").split(".")[0] not in ("typer", "rich"):
            raise
        print("The pullback command needs typer and rich: pip install 'pullback[cli]'", file=sys.stderr)
        sys.exit(2)
    app(prog_name="pullback")
