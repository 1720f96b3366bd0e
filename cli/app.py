"""The commands. Exit codes: 0 all agree, 1 a mismatch, 2 usage or something missing, 3 not judged."""

from importlib.metadata import version
from typing import Annotated

import typer

from pullback.data import DataError, cache_dir, cached_files, load_mnist
from pullback.names import printable

from .bench_command import bench
from .ending import guarded
from .parity_command import SOURCE_HELP, parity
from .terminal import plain_notes, refuse

app = typer.Typer(
    name="pullback",
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


app.command()(guarded(parity))
app.command()(guarded(bench))


@app.command()
@guarded
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
    folder = cache_dir()
    typer.echo(f"cache   {printable(str(folder))}" + ("" if folder.is_dir() else " (does not exist yet)"))
    for path, verified in cached_files():
        typer.echo(
            f"        {printable(path.name)}  {path.stat().st_size:,} bytes, {'verified' if verified else 'DAMAGED'}"
        )
