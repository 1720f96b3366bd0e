"""Which options of `pullback parity` go with which of its four jobs."""

from .terminal import refuse

MNIST, RULE = "Our gradients on MNIST", "A rule of your own, with --rule"
MODEL = "A whole model that was ported from torch, with --model"
REPLAY = "A failing run again, with --replay"
OUTPUT = ("--json", "--html", "--timeout")
MANY_PANEL = "Our gradients on MNIST, in many processes"
MANY = ("--coordinator", "--num-processes", "--process-id", "--detect")
OPTIONS = {
    "--rule": (
        *("--reference", "--torch", "--args", "--static-argnums", "--nondiff", "--checks", "--dtypes", "--trusted"),
        *("--arithmetic", "--allow-unjudged", "--device", "--precision", "--seed", "--capsule", *OUTPUT),
    ),
    "--model": (
        *("--original", "--inputs", "--original-inputs", "--match", "--weights", "--layout", "--frozen"),
        *("--intended-stop", "--no-grads", "--loss"),
        *("--steps", "--optimizer", "--seed", *OUTPUT),
    ),
    "--replay": ("--allow", *OUTPUT),
    MNIST: (
        "--batch-size",
        "--hidden",
        "--dtype",
        "--seed",
        "--source",
        "--full",
        "--device",
        "--precision",
        *OUTPUT,
        *MANY,
    ),
}
"""Which options go with which of the four jobs."""


NEEDED = {
    "--rule": {"--args": "the arguments to check it at"},
    "--model": {"--original": "the torch module it was made from", "--inputs": "the inputs to compare them at"},
}
"""What a job cannot do without."""


def refuse_what_does_not_go_together(given: list[str]) -> None:
    """Ends the command, with one sentence, where an option is given that is none of the job's."""
    job = next((option for option in ("--replay", "--rule", "--model") if option in given), MNIST)
    for option in given:
        if option not in (job, *OPTIONS[job]):
            needed = next(each for each in ("--rule", "--model", "--replay", MNIST) if option in (each, *OPTIONS[each]))
            refuse(f"{option} needs {needed}" if job == MNIST else f"{option} does not go with {job}")
    for option, what in NEEDED.get(job, {}).items():
        if option not in given:
            refuse(f"{job} needs {option}, which names {what}")
