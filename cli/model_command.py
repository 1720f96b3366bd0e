"""Two whole models, named on the command line: the port held against its original, layer by layer."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .by_name import arguments_named, make_importable, pair_named, value_named
from .parity_options import MODEL
from .terminal import progress, refuse

if TYPE_CHECKING:
    from pullback.parity import ModelReport

NAME = "PACKAGE.MODULE:NAME"


def _named(what: str) -> Any:
    return typer.Option(metavar=NAME, help=what, rich_help_panel=MODEL)


def _listed(metavar: str, what: str) -> Any:
    return typer.Option(metavar=metavar, help=what, rich_help_panel=MODEL)


Name = str | None
ModelName = Annotated[
    Name,
    _named(
        "The port: a flax or equinox module, (module, its variables), (function, its parameters), or a function of no "
        "arguments that makes one."
    ),
]
OriginalName = Annotated[Name, _named("The torch module it was made from, or a function that makes it.")]
InputsName = Annotated[
    Name,
    _named(
        "The port's inputs: a tuple, or a pair of a tuple and a dict of keyword arguments, or a function that returns "
        "one."
    ),
]
OriginalInputsName = Annotated[Name, _named("The original's own inputs, where they are others; in the same form.")]
Match = Annotated[
    list[str] | None,
    _listed("PORT=ORIGINAL", "Layers that are each other's, e.g. block{i}=enc.layers.{i}; may be repeated."),
]
Weights = Annotated[
    Literal["torch", "port"] | None,
    typer.Option(
        show_default="port, where --model names values beside the module; else torch",
        help="Whose weights both sides get.",
        rich_help_panel=MODEL,
    ),
]
LayoutName = Annotated[
    Name, _named("A dict: parameters of the port, e.g. **.query, and what makes each of the original's array.")
]
Frozen = Annotated[
    str | None, _listed("NAME,...", "Parameters that the port does not train, e.g. embed,**.bias: not compared.")
]
IntendedStop = Annotated[
    str | None, _listed("NAME,...", "Layers or parameters at which the port stops gradients on purpose.")
]
NoGrads = Annotated[
    bool | None, typer.Option("--no-grads", help="Compare the way forward only.", rich_help_panel=MODEL)
]
LossName = Annotated[Name, _named("A pair of functions of the model's output: a loss in jax, and the same in torch.")]
Steps = Annotated[
    int | None,
    typer.Option(min=1, help="Compare so many training steps too; needs --optimizer.", rich_help_panel=MODEL),
]
OptimizerName = Annotated[
    Name, _named("A pair: an optax transformation, and a function of the parameters that makes a torch optimizer.")
]
LISTS = ("frozen", "intended_stop")  # of names, with commas between them
PASSED_ON = ("weights", "steps", "seed")
"""The options that `parity.check_model` has too, in the same form."""


def check_model_named(model: str, given: dict[str, Any]) -> "ModelReport":
    """The report. given: the options as they were typed, by their names with underscores.

    Refuses, naming the option, what cannot be read or imported. Raises what `parity.check_model` does.
    """
    make_importable()
    options = {name: given[name] for name in PASSED_ON if name in given}
    options["grads"] = not given.get("no_grads", False)
    options["match"] = _matched(given.get("match", []))
    for name in LISTS:
        if name in given:
            options[name] = [each.strip() for each in given[name].split(",")]
    with progress():
        from pullback.parity import check_model

        original = made_named("--original", given["original"])
        port = made_named("--model", model)
        inputs, options["kwargs"] = arguments_named("--inputs", given["inputs"])
        if "original_inputs" in given:
            options["original_inputs"], options["original_kwargs"] = arguments_named(
                "--original-inputs", given["original_inputs"]
            )
        if "layout" in given:
            options["layout"] = _layout(given["layout"])
        for name in ("loss", "optimizer"):
            if name in given:
                options[name] = pair_named(f"--{name}", given[name])
        return check_model(port, original, inputs, **options)


def made_named(option: str, name: str) -> Any:
    """A model: what is named, or where that is a function or a class, what it makes without arguments.

    A module that can be called is a model itself. Refuses, naming the option, what cannot be imported or made.
    """
    return value_named(option, name, made_by=_is_maker)


def _is_maker(found: Any) -> bool:
    """Whether it makes a model. An instance of a class of the user's, which may be a model, does not."""
    return isinstance(found, type) or (
        isinstance(found, Callable) and type(found).__module__ in ("builtins", "functools")
    )


def _layout(name: str) -> dict[str, Any]:
    given = value_named("--layout", name)
    if not isinstance(given, dict):
        refuse(f"--layout: expected a dict of functions, but {name} gives {type(given).__name__}")
    return given


def _matched(pairs: list[str]) -> dict[str, str]:
    """`["block{i}=enc.layers.{i}"]` as the dict that it says."""
    match = {}
    for pair in pairs:
        ours, equals, theirs = (part.strip() for part in pair.partition("="))
        if not (ours and equals and theirs):
            refuse(f"--match: expected a layer of the port and one of the original, port=original, got {pair!r}")
        match[ours] = theirs
    return match
