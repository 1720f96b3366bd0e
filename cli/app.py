"""The commands. Exit codes: 0 all agree, 1 a mismatch, 2 usage or something missing, 3 not judged."""

import contextlib
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pullback.data import DataError, cache_dir, cached_files, load_mnist
from pullback.names import printable

from .bench_command import bench
from .ending import NOBODY_READS, code_of
from .parity_command import SOURCE_HELP, parity
from .terminal import plain_notes, refuse


class _Commands(TyperGroup):
    """They end with our exit codes: typer has 1 for whatever happens to standard output, which is our "a mismatch"."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Reads the command line, where `--help` and `--version` print."""
        with _our_codes():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        with _our_codes():
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


@contextlib.contextmanager
def _our_codes() -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, OSError) as error:
        raise typer.Exit(code_of(error)) from None
    except SystemExit:  # by rich, as nobody reads
        raise typer.Exit(NOBODY_READS) from None


app = typer.Typer(
    name="pullback",
    cls=_Commands,
    help="Hand-written gradients, proven right.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"pullback {version('pullback')}")
        raise typer.Exit
    return wanted


@app.callback()
def pullback(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command()(parity)
app.command()(bench)


@app.command()
def data(source: Annotated[str, typer.Option(help=SOURCE_HELP)] = "auto") -> None:
    """Fetch MNIST, verify it, and say what is where.

    Exit code: 0 loaded (from the embedded sample too, which is said), 2 it could not be.
    """
    with plain_notes():
        try:
            mnist = load_mnist(source)
        except DataError as error:
            refuse(error)
    typer.echo(f"source  {printable(mnist.source)}")
    for name in ("train", "valid", "test"):
        images, labels = getattr(mnist, name)
        typer.echo(f"{name:<7} {len(images):>6,} images of 784 uint8 pixels, labels {sorted(set(labels.tolist()))}")
    pixels = mnist.train.images.astype("float32") / 256
    typer.echo(f"moments of train, of uint8 / 256: mean {pixels.mean():.8f}, std {pixels.std():.8f}")
    try:
        folder, files = cache_dir(), cached_files()
    except DataError as error:
        typer.echo(f"cache   {printable(str(error))}")
        return
    typer.echo(f"cache   {printable(str(folder))}" + ("" if folder.is_dir() else " (does not exist yet)"))
    for path, verified in files:
        state = "verified" if verified else "DAMAGED"
        typer.echo(f"        {printable(path.name)}  {path.stat().st_size:,} bytes, {state}")
