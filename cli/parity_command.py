"""`pullback parity`: of our gradients on MNIST, a rule or a whole model that a user names, or a saved failing run."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from . import model_command as models
from .outputs import deliver
from .parity_options import MANY_PANEL, MNIST, REPLAY, RULE, refuse_what_does_not_go_together
from .rule import PASSED_ON, check_rule, save_run
from .saved_run import replay_as_allowed
from .terminal import leave, no_way_round, plain_notes, progress, refuse_unwritable
from .watching import time_limit

if TYPE_CHECKING:
    from pullback.parity import Report

SOURCE_HELP = "auto, sample, cache, download, or the path of mnist.pkl.gz or of a folder of IDX files."
NAME = "PACKAGE.MODULE:NAME"
CAPSULE = "parity-capsule.npz"


def parity(
    batch_size: Annotated[
        int | None, typer.Option(min=1, show_default="64", help="Rows of MNIST's train split.", rich_help_panel=MNIST)
    ] = None,
    hidden: Annotated[
        int | None, typer.Option(min=1, show_default="50", help="Width of the hidden layer.", rich_help_panel=MNIST)
    ] = None,
    dtype: Annotated[
        Literal["float32", "float64", "bfloat16", "float16"] | None,
        typer.Option(show_default="float32", help="Arithmetic under test.", rich_help_panel=MNIST),
    ] = None,
    source: Annotated[str | None, typer.Option(show_default="auto", help=SOURCE_HELP, rich_help_panel=MNIST)] = None,
    full: Annotated[
        bool | None,
        typer.Option("--full", help="Also what --rule looks at, for each of our rules.", rich_help_panel=MNIST),
    ] = None,
    coordinator: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where process 0 listens for the others.", rich_help_panel=MANY_PANEL),
    ] = None,
    num_processes: Annotated[
        int | None, typer.Option(min=1, help="How many there are.", rich_help_panel=MANY_PANEL)
    ] = None,
    process_id: Annotated[
        int | None, typer.Option(min=0, help="Which one this is.", rich_help_panel=MANY_PANEL)
    ] = None,
    detect: Annotated[
        bool | None,
        typer.Option(
            "--detect", help="Find all that under SLURM, on Cloud TPU, ..., by itself.", rich_help_panel=MANY_PANEL
        ),
    ] = None,
    rule: Annotated[str | None, typer.Option(metavar=NAME, help="The function to check.", rich_help_panel=RULE)] = None,
    args: Annotated[
        str | None,
        typer.Option(
            metavar=NAME,
            help="The arguments to check it at: a tuple, or a pair of a tuple and a dict of keyword arguments, or a "
            "function that returns one.",
            rich_help_panel=RULE,
        ),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(metavar=NAME, help="The same maths in plain jax.", rich_help_panel=RULE)
    ] = None,
    torch: Annotated[
        str | None, typer.Option(metavar=NAME, help="The same maths in torch.", rich_help_panel=RULE)
    ] = None,
    static_argnums: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER,...",
            help="Positions of arguments that are passed on as they are.",
            rich_help_panel=RULE,
        ),
    ] = None,
    nondiff: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="Arguments that are not differentiated.", rich_help_panel=RULE),
    ] = None,
    checks: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="Only these, e.g. values,rule-ran,kinks.", rich_help_panel=RULE),
    ] = None,
    dtypes: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            show_default="those in which the functions run",
            help="Also check in these, e.g. float64,bfloat16.",
            rich_help_panel=RULE,
        ),
    ] = None,
    trusted: Annotated[
        Literal["torch", "reference"] | None,
        typer.Option(help="Who is right, where torch and the reference disagree.", rich_help_panel=RULE),
    ] = None,
    arithmetic: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option(help="A coarser dtype in which the rule may compute.", rich_help_panel=RULE),
    ] = None,
    allow_unjudged: Annotated[
        bool | None,
        typer.Option("--allow-unjudged", help="Pass where something could not be judged.", rich_help_panel=RULE),
    ] = None,
    capsule_file: Annotated[
        Path | None,
        typer.Option(
            "--capsule",
            metavar="FILE",
            show_default=CAPSULE,
            help="Where a failing run is saved, for --replay.",
            rich_help_panel=RULE,
        ),
    ] = None,
    model: models.ModelName = None,
    original: models.OriginalName = None,
    inputs: models.InputsName = None,
    original_inputs: models.OriginalInputsName = None,
    match: models.Match = None,
    weights: models.Weights = None,
    layout: models.LayoutName = None,
    frozen: models.Frozen = None,
    intended_stop: models.IntendedStop = None,
    no_grads: models.NoGrads = None,
    loss: models.LossName = None,
    steps: models.Steps = None,
    optimizer: models.OptimizerName = None,
    device: Annotated[
        Literal["cpu", "gpu", "tpu"] | None,
        typer.Option(show_default="jax's", help="Where the jax implementations run."),
    ] = None,
    precision: Annotated[
        Literal["default", "high", "highest"] | None,
        typer.Option(
            show_default="highest; with --rule, jax's own setting", help="jax's matmul precision for float32."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, show_default="0", help="Of the rows, the weights and the cotangents.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report there too, as JSON.")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the report there too, as a page.")
    ] = None,
    replay_file: Annotated[
        Path | None,
        typer.Option(
            "--replay",
            metavar="FILE",
            help="Re-run the failing run that was saved there. The file names functions. They are imported and called "
            "if --allow names their modules, or if you agree when you are asked.",
            rich_help_panel=REPLAY,
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE",
            help="A module or package whose functions --replay may import, which runs its code, and call; may be "
            "repeated. Functions of arrays in jax, torch and pullback need none.",
            rich_help_panel=REPLAY,
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0.1, metavar="SECONDS", show_default="none", help="End a check that takes longer, with code 2."
        ),
    ] = None,
) -> None:
    """Compare gradients: ours with jax.grad and torch on one MNIST batch, those of your own rule, or of a whole model.

    For example: pullback parity --rule my_ops:rule --reference my_ops:plain --args my_ops:args --html page.html

    Or, layer by layer: pullback parity --model my_port:port --original my_port:net --inputs my_port:example

    Exit code: 0 all agree, 1 something differs, 2 usage or something missing, 3 something could not be judged.
    """
    # No default above is a value, so what has one was given. (A default's value is that of the function called.)
    given = {name: value for name, value in locals().items() if value is not None}
    refuse_what_does_not_go_together(["--" + name.removesuffix("_file").replace("_", "-") for name in given])
    refuse_unwritable({"--json": json_file, "--html": html_file, "--capsule": capsule_file})
    if full or rule is not None:
        from pullback.parity.probes.transformations import make_two_devices

        make_two_devices()
    save = None
    with time_limit(timeout), no_way_round():
        if replay_file is not None:
            report = replay_as_allowed(replay_file, allow or [])
        elif rule is not None:
            options = {name: given[name] for name in PASSED_ON if name in given}
            report, save_capsule = check_rule(rule, reference, torch, args or "", options)
            if not report.ok:
                save = partial(save_run, save_capsule, capsule_file or Path(CAPSULE), asked=capsule_file is not None)
        elif model is not None:
            report = models.check_model_named(model, given)
        else:
            given = {name: value for name, value in given.items() if not name.endswith(("_file", "timeout"))}
            many = [given.pop(name, None) for name in ("coordinator", "num_processes", "process_id", "detect")]
            report = _check_mnist(given, *many)
    with time_limit(timeout):
        deliver(report, json_file, html_file, save)
    if report.ok and rule is model is replay_file is None and sys.stdout.isatty():
        typer.echo(
            "To check a gradient of your own: pullback parity --rule MODULE:FUNCTION --args MODULE:NAME", err=True
        )
    raise typer.Exit(report.exit_code)


def _check_mnist(
    options: dict[str, Any],
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    detect: bool | None,
) -> "Report":
    """The report; of many processes, the first goes on with it, and the others end here with its exit code."""
    import jax

    from pullback.parallel import ProcessLost, processes
    from pullback.parity import check_mnist

    try:
        with processes(coordinator, num_processes, process_id, detect=bool(detect)), plain_notes(), progress():
            report = check_mnist(**options)
            first = jax.process_index() == 0
    except ProcessLost as error:
        leave(error)
    if not first:
        raise typer.Exit(report.exit_code)
    return report
