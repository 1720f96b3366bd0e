"""Which options of `pullback parity` go with which of its three jobs."""

from .terminal import refuse

MNIST, RULE = "Our gradients on MNIST", "A rule of your own, with --rule"
REPLAY = "A failing run again, with --replay"
OUTPUT = ("--json", "--html", "--timeout")
MANY_PANEL = "Our gradients on MNIST, in many processes"
MANY = ("--coordinator", "--num-processes", "--process-id", "--detect")
OPTIONS = {
    "--rule": (
        *("--reference", "--torch", "--args", "--static-argnums", "--nondiff", "--checks", "--dtypes", "--trusted"),
        *("--arithmetic", "--allow-unjudged", "--device", "--precision", "--seed", "--capsule", *OUTPUT),
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
"""Which options go with which of the three jobs."""


def refuse_what_does_not_go_together(given: list[str]) -> None:
    """Ends the command, with one sentence, where an option is given that is none of the job's."""
    job = next((option for option in ("--replay", "--rule") if option in given), MNIST)
    for option in given:
        if option not in (job, *OPTIONS[job]):
            needed = "--replay" if option == "--allow" else "--rule"
            refuse(f"{option} needs {needed}" if job == MNIST else f"{option} does not go with {job}")
    if job == "--rule" and "--args" not in given:
        refuse("--rule needs --args, which names the arguments to check it at")
