import json
import re
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from pullback import parity
from pullback.data import fetch
from pullback.parity import Report

SMALL = ["parity", "--batch-size", "8", "--hidden", "4", "--source", "sample"]
RULE = ["parity", "--args", "my_rules:example", "--checks", "values"]


def test_all_agree(run):
    result = run(*SMALL)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].startswith("PASS: all 18 leaves in 6 implementations agree.")
    assert "embedded sample of MNIST" in result.stdout


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_dtype(run, dtype):
    result = run(*SMALL, "--dtype", dtype, "--seed", "7")
    assert result.exit_code == 0
    assert re.search(rf"dtype +{dtype}\n", result.stdout) and "seed 7" in result.stdout


def test_device_and_precision(run):
    result = run(*SMALL, "--device", "cpu", "--precision", "high")
    assert result.exit_code == 0
    assert re.search(r"device +cpu \(cpu\), matmul precision high: float32 products\n", result.stdout)


def test_mismatch_is_1(run, monkeypatch):
    from pullback.parity.lesson import in_torch

    right = in_torch.relu_grad
    monkeypatch.setattr(in_torch, "relu_grad", lambda x, y_bar: 1.01 * right(x, y_bar))
    result = run(*SMALL)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].endswith("Wrong: torch by hand.")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--batch-size", "0"], "Invalid value for '--batch-size'"),
        (["--batch-size", "x"], "Invalid value for '--batch-size'"),
        (["--dtype", "float8"], "Invalid value for '--dtype'"),
        (["--seed", "-1"], "Invalid value for '--seed'"),
        (["--device", "cuda"], "Invalid value for '--device'"),
        (["--device", "gpu"], "pullback: device must be one that jax finds here: cpu; got 'gpu'"),
        (["--precision", "float32"], "Invalid value for '--precision'"),
        (["--colour", "red"], "No such option: --colour"),
        (["--batch-size", "4001"], "pullback: batch_size must be at most 4,000"),
        (["--source", "/no/such/path"], "pullback: source must be 'auto', 'sample'"),
        (["--json", "/no/such/folder/report.json"], "pullback: --json: the folder /no/such/folder does not exist"),
        (["--json", "/"], "pullback: --json: / is a folder"),
    ],
)
def test_usage_is_2(run, args, message):
    result = run(*SMALL, *args)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr and result.stdout == ""


def test_json(run, tmp_path):
    path = tmp_path / "report.json"
    path.write_text("old")
    assert run(*SMALL, "--json", str(path)).exit_code == 0
    data = json.loads(path.read_text())
    assert data["ok"] is True and len(data["rows"]) == 18
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_a_report_that_cannot_be_written_leaves_the_old_one(run, tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    path.write_text("old")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    result = run(*SMALL, "--json", str(path))
    assert result.exit_code == 2
    assert "pullback: --json: cannot write" in result.stderr and "No space left on device" in result.stderr
    assert path.read_text() == "old" and [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_no_network_is_a_note(run, empty_cache, monkeypatch):
    monkeypatch.setattr(fetch, "MIRRORS", ())
    result = run("parity", "--batch-size", "8", "--hidden", "4")
    assert result.exit_code == 0
    (note,) = result.stderr.strip().splitlines()
    assert note.startswith("note: no mirror of MNIST can be reached") and "pullback data --source download" in note


def test_the_note_is_there_when_the_sample_is_too_small(run, empty_cache, monkeypatch):
    monkeypatch.setattr(fetch, "MIRRORS", ())
    result = run("parity", "--batch-size", "50000")
    assert result.exit_code == 2
    assert "batch_size must be at most 4,000" in result.stderr and "note: no mirror" in result.stderr


def test_a_right_rule(run, rules):
    result = run(*RULE, "--rule", "my_rules:right", "--reference", "my_rules:plain", "--args", "my_rules:PAIR")
    assert result.exit_code == 0, result.output
    assert re.search(r"rule +right\n", result.stdout) and re.search(r"against +reference\n", result.stdout)
    assert result.stdout.splitlines()[-1].startswith("PASS: all ") and result.stderr == ""
    assert [file.name for file in rules.iterdir() if file.is_file()] == ["my_rules.py"], "nothing to re-run"


def test_options_of_a_rule_arrive(run, rules, monkeypatch):
    report, given = parity.check(jnp.square, np.ones(2, np.float32), checks=["values"]), {}
    monkeypatch.setattr(parity, "check", lambda *args, **options: given.update(options, args=args) or report)
    run(
        *("parity", "--rule", "my_rules:right", "--reference", "my_rules:plain", "--torch", "my_rules:wrong"),
        *("--args", "my_rules:PAIR", "--checks", "rule-ran, kinks", "--seed", "7", "--dtypes", "float64, bfloat16"),
        *("--trusted", "torch", "--arithmetic", "bfloat16", "--allow-unjudged", "--static-argnums", "1, -1"),
        *("--nondiff", "mask,params[0]['w']", "--device", "cpu", "--precision", "high"),
    )
    import my_rules  # pyright: ignore[reportMissingImports]

    assert given["args"] == (my_rules.right, my_rules.X) and given["kwargs"] == {"scale": 3}
    assert given["reference"] is my_rules.plain and given["torch"] is my_rules.wrong
    assert given["checks"] == ["rule ran", "kinks"] and given["seed"] == 7
    assert given["dtypes"] == ["float64", "bfloat16"] and given["trusted"] == "torch"
    assert given["arithmetic"] == "bfloat16" and given["allow_unjudged"] is True
    assert given["static_argnums"] == [1, -1] and given["nondiff"] == ["mask", "params[0]['w']"]
    assert given["device"] == "cpu" and given["precision"] == "high"


def test_what_could_not_be_judged_is_3(run, rules):
    with (rules / "my_rules.py").open("a") as file:
        file.write("\n\ndef lost(x):\n    return ((x + 30000) - 30000) ** 2\n\n\nTINY = (X * 1e-3,)\n")
    asked = *RULE, "--rule", "my_rules:lost", "--args", "my_rules:TINY", "--json", "report.json"
    result = run(*asked)
    assert result.exit_code == 3, result.output
    assert result.stdout.splitlines()[-1].startswith("NOT JUDGED: ")
    assert json.loads((rules / "report.json").read_text())["unjudged"][0]["leaf"].startswith("float32 ")
    assert run(*asked, "--allow-unjudged").exit_code == 0


def test_a_wrong_rule_is_1_and_can_be_run_again(run, rules):
    result = run(*RULE, "--rule", "my_rules:wrong", "--reference", "my_rules:plain", "--seed", "3")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].endswith("Wrong: rule.")
    command = ["parity", "--replay", "parity-capsule.npz", "--allow", "my_rules"]
    assert result.stderr == f"pullback: this run is saved; to re-run it: pullback {' '.join(command)}\n"
    again = run(*command, "--json", "again.json")
    assert again.exit_code == 1 and again.stderr == ""
    assert again.stdout.splitlines()[-1] == result.stdout.splitlines()[-1]
    assert "seed 3" in again.stdout and re.search(r"failed then +float32 x_bar: rule", again.stdout)
    assert json.loads((rules / "again.json").read_text())["culprits"] == ["rule"]


def test_replay_of_a_rule_that_was_put_right_is_0(run, rules):
    assert run(*RULE, "--rule", "my_rules:wrong", "--capsule", "a b.npz").stderr.endswith(
        "--replay 'a b.npz' --allow my_rules\n"
    )
    import my_rules  # pyright: ignore[reportMissingImports]

    my_rules.wrong = my_rules.plain
    assert run("parity", "--replay", "a b.npz", "--allow", "my_rules").exit_code == 0


def test_a_capsule_that_cannot_be_saved_is_a_note(run, rules):
    (rules / "parity-capsule.npz").mkdir()
    result = run(*RULE, "--rule", "my_rules:wrong")
    assert result.exit_code == 1 and result.stderr.startswith("note: this run is not saved: ")
    assert result.stdout.splitlines()[-1].endswith("Wrong: rule.")


def test_html(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Report, "to_html", lambda report: f"<p>{report.ok}")
    assert run(*SMALL, "--html", str(tmp_path / "page.html")).exit_code == 0
    assert (tmp_path / "page.html").read_text() == "<p>True"


def test_a_page_is_made_without_matplotlib(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(*SMALL, "--html", str(tmp_path / "page.html")).exit_code == 0
    assert "There is no plot here: " in (tmp_path / "page.html").read_text(encoding="utf-8")


AT = ["--args", "my_rules:example"]
RIGHT = ["--rule", "my_rules:right"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--reference", "my_rules:plain"], "--reference needs --rule"),
        (["--torch", "my_rules:plain"], "--torch needs --rule"),
        (AT, "--args needs --rule"),
        (["--checks", "values"], "--checks needs --rule"),
        (["--capsule", "file"], "--capsule needs --rule"),
        (RIGHT, "--rule needs --args, which names the arguments to check it at"),
        ([*RIGHT, *AT, "--batch-size", "64"], "--batch-size does not go with --rule"),
        ([*RIGHT, *AT, "--hidden", "50"], "--hidden does not go with --rule"),
        ([*RIGHT, *AT, "--dtype", "float32"], "--dtype does not go with --rule"),
        (["--nondiff", "x"], "--nondiff needs --rule"),
        ([*RIGHT, *AT, "--static-argnums", "0,b"], "--static-argnums: expected positions such as 0,2, got '0,b'"),
        ([*RIGHT, *AT, "--static-argnums", "3"], "static_argnums must be positions among the 1 arguments; got 3"),
        ([*RIGHT, *AT, "--nondiff", "y"], "nondiff must name floating-point arguments or leaves (x); got 'y'"),
        ([*RIGHT, *AT, "--device", "tpu"], "device must be one that jax finds here: cpu; got 'tpu'"),
        (["--replay", "file", "--device", "cpu"], "--device does not go with --replay"),
        ([*RIGHT, *AT, "--source", "auto"], "--source does not go with --rule"),
        (["--replay", "file", *RIGHT, *AT], "--rule does not go with --replay"),
        (["--replay", "file", "--seed", "0"], "--seed does not go with --replay"),
        (["--replay", "file", "--capsule", "other"], "--capsule does not go with --replay"),
        ([*RIGHT, *AT, "--capsule", "/no/such/file"], "--capsule: the folder /no/such does not exist"),
        ([*RIGHT, *AT, "--html", "/no/such/file"], "--html: the folder /no/such does not exist"),
        (["--rule", "my_rules:nothing", *AT], "--rule: there is no nothing in my_rules"),
        ([*RIGHT, "--args", "my_rules:NUMBER"], "--args: expected a tuple or list of arguments, or (a tuple of"),
        ([*RIGHT, *AT, "--torch", "no_rules:f"], "--torch: cannot import no_rules: ModuleNotFoundError"),
        ([*RIGHT, *AT, "--reference", "my_rules:X"], "--reference: expected a function, but my_rules:X is of type"),
        ([*RIGHT, *AT, "--checks", "values,kink"], "checks must be among 'values', "),
        ([*RIGHT, "--args", "my_rules:TEXT"], "no argument is a floating-point array"),
        (["--replay", "nothing.npz"], "cannot read the capsule nothing.npz: No such file or directory"),
        (["--replay", "my_rules.py"], "my_rules.py is no capsule, or a damaged one"),
    ],
)
def test_usage_of_a_rule_is_2(run, rules, args, message):
    with (rules / "my_rules.py").open("a") as file:
        file.write('TEXT = ("a", )')
    result = run("parity", *args)
    assert result.exit_code == 2 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"pullback: {message}")


def test_full_tries_sharding_on_two_devices_of_one_cpu():

    command = [
        sys.executable,
        "-m",
        "pullback.parity",
        "--full",
        "--batch-size",
        "4",
        "--hidden",
        "2",
        "--source",
        "sample",
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "transformations" in result.stdout and "skipped" not in result.stdout


EXITS = """
import sys
import jax
import numpy as np
import typer

class Stop(BaseException):
    pass

HOW = None

def leave(*_):
    HOW()

def exits():
    sys.exit(0)

def exits_with_text():
    sys.exit("all is well")

def stops():
    raise Stop("no more")

def generator_exits():
    raise GeneratorExit

def typer_exits():
    raise typer.Exit(0)

def interrupts():
    raise KeyboardInterrupt

def plain(x):
    return x * x

@jax.custom_vjp
def in_forward(x):
    return x * x

in_forward.defvjp(leave, lambda x, y_bar: (2 * x * y_bar,))

@jax.custom_vjp
def in_backward(x):
    return x * x

in_backward.defvjp(lambda x: (x * x, x), leave)
X = np.ones(3, np.float32)
ARGS = (X,)
"""
WHERE = {
    "the rule": ["--rule", "exits:leave", "--args", "exits:ARGS"],
    "its forward rule": ["--rule", "exits:in_forward", "--args", "exits:ARGS"],
    "its backward": ["--rule", "exits:in_backward", "--args", "exits:ARGS"],
    "the reference": ["--rule", "exits:plain", "--reference", "exits:leave", "--args", "exits:ARGS"],
    "the torch function": ["--rule", "exits:plain", "--torch", "exits:leave", "--args", "exits:ARGS"],
    "the arguments": ["--rule", "exits:plain", "--args", "exits:leave"],
    "a module at its import": ["--rule", "exits_too:plain", "--args", "exits:ARGS"],
    "a replay": ["--replay", "run.npz", "--allow", "exits"],
}
HOW = {
    "exits": {2},
    "exits_with_text": {2},
    "stops": {2},
    "generator_exits": {2},
    "interrupts": {130},
    "typer_exits": {1, 2},  # an Exception like any other, which in a backward is a mismatch
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("where", WHERE)
def test_code_that_leaves_is_no_verdict(run, rules, where, how):
    (rules / "exits.py").write_text(EXITS)
    (rules / "exits_too.py").write_text("import exits\n\nexits.leave()\n")
    sys.path.insert(0, str(rules))
    try:
        import exits  # pyright: ignore[reportMissingImports]

        if where == "a replay":
            exits.HOW = lambda: None
            report = parity.check(exits.in_backward, exits.X, reference=exits.plain, checks=["values"])
            parity.save_capsule("run.npz", report, exits.in_backward, (exits.X,), checks=["values"])
        exits.HOW = getattr(exits, how)
        result = run("parity", *WHERE[where], *([] if where == "a replay" else ["--checks", "values"]))
    finally:
        sys.modules.pop("exits", None)
        sys.modules.pop("exits_too", None)
    assert result.exit_code in HOW[how], result.output
    if result.exit_code == 2:
        (line,) = result.stderr.splitlines()
        assert line.startswith("pullback: ") and result.stdout == ""
    elif result.exit_code == 130:
        assert (result.stdout, result.stderr) == ("", "")
    else:
        assert result.stdout.splitlines()[-1].startswith("FAIL: ")


@pytest.mark.parametrize(("rule", "code", "said"), [("os_exits", 2, "os._exit"), ("hangs", 2, "--timeout")])
def test_the_command_is_watched(tmp_path, rules_text, rule, code, said):
    more = "\n\nimport ctypes, os\n\n\ndef os_exits(x):\n    os._exit(0)\n"
    more += "\n\ndef hangs(x):\n    ctypes.PyDLL(None).sleep(100)\n"
    (tmp_path / "my_rules.py").write_text(rules_text + more)
    command = [sys.executable, "-c", "from pullback.cli import main; main()", "parity", "--rule", f"my_rules:{rule}"]
    command += ["--args", "my_rules:ARGS", "--timeout", "10"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=100)
    assert (done.returncode, done.stdout) == (code, "")
    (line,) = done.stderr.splitlines()
    assert said in line and line.endswith(f"it was at: {rule}: its first call. Nothing is judged")


def test_a_time_limit_that_is_kept_changes_nothing(run, rules):
    result = run(*RULE, "--rule", "my_rules:right", "--timeout", "100")
    assert result.exit_code == 0 and result.stderr == ""
    assert run(*SMALL, "--timeout", "100").exit_code == 0
    assert run(*SMALL, "--timeout", "0").exit_code == 2
