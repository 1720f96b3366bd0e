"""`pullback parity --model`: what it prints and writes, its exit codes, and what it says of what it cannot take."""

import json
import os
import subprocess
import sys

import pytest

from pullback import parity
from pullback.cli.model_command import made_named

MODELS = """
import jax.numpy as jnp
import numpy as np
import optax
import torch

def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.GELU(approximate="tanh"), torch.nn.Linear(8, 3))

NET = net()
PARAMS = [(jnp.asarray(l.weight.detach().numpy().T), jnp.asarray(l.bias.detach().numpy())) for l in (NET[0], NET[2])]

def forward(params, x, scale=1.0):
    (w1, b1), (w2, b2) = params
    h = x @ w1 + b1[None]
    h = 0.5 * h * (1 + jnp.tanh((2 / np.pi) ** 0.5 * (h + 0.044715 * h * h * h)))
    return scale * (h @ w2 + b2[None])

def right():
    return forward, PARAMS

class Right(tuple):
    def __new__(cls):
        return forward, PARAMS

def twice():
    return (lambda params, x: forward(params, x, 2.0)), PARAMS

def needs(width):
    return right()

X = np.random.default_rng(0).standard_normal((5, 6), np.float32)
INPUTS = (X,)
SCALED = ((X,), {"scale": 3.0})
OPTIMIZERS = optax.sgd(0.1), lambda parameters: torch.optim.SGD(parameters, 0.1)
LOSSES = (lambda y: (y * y).sum(), lambda y: (y * y).sum())
LAYOUT = {"**.query": np.transpose}
def leave():
    raise SystemExit(0)
def hangs(params, x):
    import ctypes
    ctypes.PyDLL(None).sleep(100)
"""
ASKED = ["parity", "--original", "my_models:net", "--inputs", "my_models:INPUTS"]


@pytest.fixture
def models(rules):
    """The current folder of a user who has `my_models.py` in it."""
    (rules / "my_models.py").write_text(MODELS)
    yield rules
    sys.modules.pop("my_models", None)


@pytest.mark.parametrize("name", ["right", "Right"])
def test_a_right_port_is_0(run, models, name):
    result = run(*ASKED, "--model", f"my_models:{name}", "--json", "report.json", "--html", "page.html")
    assert result.exit_code == 0 and result.stderr == "", result.output
    assert result.stdout.splitlines()[-1].startswith("PASS: ")
    assert json.loads((models / "report.json").read_text())["ok"] is True
    assert (models / "page.html").read_text().startswith("<!DOCTYPE html>")


def test_a_wrong_port_is_1(run, models):
    result = run(*ASKED, "--model", "my_models:twice", "--json", "report.json")
    assert result.exit_code == 1 and result.stderr == ""
    assert "It looks like 2 times the original's." in " ".join(result.stdout.split())
    assert json.loads((models / "report.json").read_text())["first_divergence"]["hint"]


def test_what_could_not_be_judged_is_3(run, models):
    with (models / "my_models.py").open("a") as file:
        file.write("\nNET.extra = torch.nn.Parameter(torch.ones(3))\n")
    result = run("parity", "--model", "my_models:right", "--original", "my_models:NET", "--inputs", "my_models:INPUTS")
    assert result.exit_code == 3 and result.stdout.splitlines()[-1].startswith("NOT JUDGED: ")


def test_options_arrive(run, models, monkeypatch):
    import numpy as np

    given = {}
    params = {"w": np.ones(3, np.float32)}
    report = parity.check_model((lambda p, x: x, params), _identity(), (np.ones(3, np.float32),), grads=False)
    monkeypatch.setattr(parity, "check_model", lambda *args, **options: given.update(options, args=args) or report)
    result = run(
        *("parity", "--model", "my_models:right", "--original", "my_models:NET", "--inputs", "my_models:SCALED"),
        *("--original-inputs", "my_models:INPUTS", "--match", "block{i}=enc.layers.{i}", "--match", "out = head"),
        *("--weights", "port", "--no-grads", "--loss", "my_models:LOSSES", "--steps", "2", "--seed", "7"),
        *("--optimizer", "my_models:OPTIMIZERS", "--frozen", "embed, **.bias", "--intended-stop", "encoder"),
        *("--layout", "my_models:LAYOUT"),
    )
    assert result.exit_code == report.exit_code, result.output
    import my_models  # pyright: ignore[reportMissingImports]

    port, original, inputs = given.pop("args")
    assert port == (my_models.forward, my_models.PARAMS) and original is my_models.NET and inputs == (my_models.X,)
    assert given == {
        "kwargs": {"scale": 3.0},
        "original_inputs": (my_models.X,),
        "original_kwargs": {},
        "match": {"block{i}": "enc.layers.{i}", "out": "head"},
        "weights": "port",
        "grads": False,
        "loss": my_models.LOSSES,
        "steps": 2,
        "optimizer": my_models.OPTIMIZERS,
        "frozen": ["embed", "**.bias"],
        "intended_stop": ["encoder"],
        "layout": my_models.LAYOUT,
        "seed": 7,
    }


def _identity():
    import torch

    return torch.nn.Identity()


def test_training_steps_and_a_loss(run, models):
    asked = [*ASKED, "--model", "my_models:right", "--loss", "my_models:LOSSES", "--steps", "2"]
    result = run(*asked, "--optimizer", "my_models:OPTIMIZERS")
    assert result.exit_code == 0, result.output
    assert "(loss)" in result.stdout


RIGHT = ["--model", "my_models:right"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (RIGHT, "--model needs --original, which names the torch module it was made from"),
        ([*RIGHT, *ASKED[1:3]], "--model needs --inputs, which names the inputs to compare them at"),
        (["--original", "a:b"], "--original needs --model"),
        (["--no-grads"], "--no-grads needs --model"),
        ([*RIGHT, "--rule", "a:b"], "--model does not go with --rule"),
        ([*RIGHT, "--device", "cpu"], "--device does not go with --model"),
        ([*RIGHT, *ASKED[1:], "--match", "block"], "--match: expected a layer of the port and one of the original"),
        ([*RIGHT, *ASKED[1:], "--loss", "my_models:X"], "--loss: expected a pair, one for jax and one for torch, but"),
        (
            [*RIGHT, *ASKED[1:], "--layout", "my_models:X"],
            "--layout: expected a dict of functions, but my_models:X gives",
        ),
        ([*RIGHT, *ASKED[1:], "--frozen", "fc"], "frozen has 'fc', which fits nothing in the port; there are 0.0, 0.1"),
        ([*RIGHT, *ASKED[1:], "--steps", "2"], "steps and optimizer go together"),
        (["--model", "my_models:nothing", *ASKED[1:]], "--model: there is no nothing in my_models"),
        (["--model", "my_models:needs", *ASKED[1:]], "--model: my_models:needs() raised TypeError: needs() missing 1"),
        (["--model", "my_models:leave", *ASKED[1:]], "--model: my_models:leave() ended Python (SystemExit: 0, in "),
        (["--model", "my_models:NET", *ASKED[1:]], "port must be a flax module, "),
        ([*RIGHT, "--original", "my_models:right", *ASKED[3:]], "original must be a torch.nn.Module; got tuple"),
        ([*RIGHT, *ASKED[1:3], "--inputs", "my_models:X"], "--inputs: expected a tuple or list of arguments"),
        ([*RIGHT, *ASKED[1:], "--html", "/no/such/file"], "--html: the folder /no/such does not exist"),
    ],
)
def test_usage_is_2(run, models, args, message):
    result = run("parity", *args)
    assert result.exit_code == 2 and result.stdout == "", result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"pullback: {message}")


def test_a_model_that_can_be_called_is_the_model_itself(models):
    import flax.linen
    import torch
    from flax import nnx

    sys.path.insert(0, str(models))
    import my_models  # pyright: ignore[reportMissingImports]

    for model in (flax.linen.Dense(3), torch.nn.Linear(2, 2), nnx.Linear(2, 2, rngs=nnx.Rngs(0))):
        my_models.model = model
        assert made_named("--model", "my_models:model") is model


@pytest.mark.parametrize("columns", ["80", "120", None])
def test_it_is_as_wide_as_it_may_be(models, columns):
    env = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    env |= {} if columns is None else {"COLUMNS": columns}
    env["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # of which older versions of XLA say on stderr what they doubt
    command = [sys.executable, "-c", "from pullback.cli import main; main()", *ASKED, "--model", "my_models:twice"]
    with open(models / "out", "w") as file:  # a file, which is no terminal
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True, cwd=models, env=env, timeout=120)
    shown = (models / "out").read_text()
    assert (done.returncode, done.stderr) == (1, "") and "\x1b" not in shown
    longest = max(map(len, shown.splitlines()))
    assert longest <= int(columns or 116) and longest > int(columns or 116) - 20


def test_the_command_is_watched(models):
    command = [sys.executable, "-c", "from pullback.cli import main; main()", *ASKED, "--timeout", "10"]
    with (models / "my_models.py").open("a") as file:
        file.write("\nHANGS = hangs, PARAMS\n")
    done = subprocess.run([*command, "--model", "my_models:HANGS"], capture_output=True, text=True, cwd=models)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "not done after 10 s, the --timeout; it was at: the port's trace. Nothing is judged" in line
