import pytest
import typer

from pullback.cli.parity_options import MNIST, NEEDED, OPTIONS, RULE, refuse_what_does_not_go_together


def test_each_job_takes_its_own_options():
    assert RULE != MNIST and set(OPTIONS) == {"--rule", "--model", "--replay", MNIST}
    for job, options in OPTIONS.items():
        needed = list(NEEDED.get(job, {}))
        for option in options:
            refuse_what_does_not_go_together([*([] if job == MNIST else [job]), *needed, option])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--trusted"], "--trusted needs --rule"),
        (["--allow-unjudged", "--batch-size"], "--allow-unjudged needs --rule"),
        (["--rule"], "--rule needs --args, which names the arguments to check it at"),
        (["--no-grads"], "--no-grads needs --model"),
        (["--allow"], "--allow needs --replay"),
        (["--model", "--original"], "--model needs --inputs, which names the inputs to compare them at"),
        (["--model", "--args"], "--args does not go with --model"),
        (["--rule", "--args", "--full"], "--full does not go with --rule"),
        (["--replay", "--arithmetic"], "--arithmetic does not go with --replay"),
    ],
)
def test_an_option_of_another_job_is_refused(given, message, capsys):
    with pytest.raises(typer.Exit) as caught:
        refuse_what_does_not_go_together(given)
    assert caught.value.exit_code == 2 and message in capsys.readouterr().err
