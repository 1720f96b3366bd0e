"""One door: the `pullback` command."""

import sys

from pullback.signals import ends_on_signals


def main() -> None:
    """Entry point of the `pullback` command."""
    with ends_on_signals():
        try:
            from .app import app
        except ImportError as error:
            if (error.name or "").split(".")[0] not in ("typer", "rich"):
                raise
            print("The pullback command needs typer and rich: pip install 'pullback[cli]'", file=sys.stderr)
            sys.exit(2)
        app(prog_name="pullback")
