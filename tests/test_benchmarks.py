"""benchmarks/: it runs, times nothing that is wrong, and `bench-compare` sees what got slower."""

import copy
import json
import os
import stat
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest

from pullback import functional

pytest.importorskip("torch")
pytest.importorskip("optax")

from pullback.benchmarks import (
    clock,
    compare,
    epoch,
    floor,
    held,
    inputs,
    last_layer,
    lin_rule,
    peers,
    plot,
    row,
    scaling_here,
    show,
    targets,
)  # noqa: E402
from pullback.cli.terminal import console  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::pullback.data.SampleDataWarning")


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> dict:
    """What `pullback bench --quick` writes."""
    folder = tmp_path_factory.mktemp("bench")
    names = ["lesson", "step", "epoch", "rows", "lin", "report"]
    command = [sys.executable, "-c", "from pullback.cli import main; main()", "bench", "--quick", "--rounds", "1"]
    command += [part for name in names for part in ("--workload", name)]
    command += ["--json", str(folder / "b.json"), "--plot", str(folder / "b.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (folder / "b.png").read_bytes().startswith(b"\x89PNG")
    return {"stdout": done.stdout, **json.loads((folder / "b.json").read_text())}


def test_the_json_has_everybody_and_the_ratios(quick):
    for title in ("lesson", "lesson, x_bar"):
        rows = {each["name"]: each for each in quick["workloads"][title]}
        wanted = {row.BASE, peers.HAND, peers.FUSED, peers.GRAD, peers.EAGER, peers.TORCH_HAND, peers.NUMPY}
        assert wanted < set(rows)
        assert rows[row.BASE]["ratio_to_vg"] == 1
        for name in wanted:
            each = rows[name]
            assert each["min_ms"] <= each["median_ms"] <= each["max_ms"]
            assert each["ratio_to_vg"] == pytest.approx(rows[row.BASE]["median_ms"] / each["median_ms"])
            assert each["memory_mb"] > 0 and each["share_of_floor"] > 0
        assert rows[peers.COMPILED]["note"].startswith("not run: ") and "median_ms" not in rows[peers.COMPILED]
    assert peers.RAW in {each["name"] for each in quick["workloads"]["lesson"]}


def test_the_json_says_what_it_was_measured_on(quick):
    assert quick["machine"]["threads"] <= 2 and quick["machine"]["torch_threads"] == 2
    assert quick["machine"]["cpu"] and quick["versions"]["jax"] == jax.__version__
    assert set(quick) >= {"version", "machine", "versions", "flags", "floor", "workloads", "targets", "data"}
    assert quick["floor"]["gflops"] > 0 and quick["floor"]["read_gb_s"] > 0
    assert "2 threads in torch" in quick["stdout"]


def test_tiny_sizes_say_nothing_of_the_targets(quick):
    assert {line["verdict"] for line in quick["targets"]} == {"not measured"}
    assert {line["device"] for line in quick["targets"]} == {"cpu", "gpu", "tpu"}


def test_calling_and_computing_are_told_apart(quick):
    rows = {each["name"]: each for each in quick["workloads"]["step, batch 64"]}
    fused = rows[peers.FUSED]
    assert fused["overhead_ms"] == pytest.approx(max(fused["median_ms"] - fused["compute_ms"], 0))
    assert fused["of_empty"] == pytest.approx(fused["overhead_ms"] / rows["an empty jitted call"]["median_ms"])


def test_the_rules_of_lin_are_timed_beside_each_other(quick):
    rows = {each["name"]: each for each in quick["workloads"]["lin, 1,000 rows"]}
    for who in ("value_and_grad(mlp_loss)", "forward_and_backward"):
        assert all(rows[f"{who}, {form}"]["ratio_to_vg"] > 0 for form in (lin_rule.PLAIN, lin_rule.TRANSPOSED))
    eager = [each["name"] for each in quick["workloads"]["lin, eager, batch 64"]]
    assert eager == [lin_rule.PLAIN, "matmul", lin_rule.TRANSPOSED, lin_rule.BY_PLATFORM]


def test_a_wrong_rule_of_lin_is_not_timed(monkeypatch):
    monkeypatch.setattr(lin_rule, "weight_grad_transposed", lambda x, y_bar: -functional.weight_grad_matmul(x, y_bar))
    with pytest.raises(held.NotTheSame, match=r"value_and_grad\(mlp_loss\), transposed, w1: "):
        next(lin_rule.lin(row.Plan(1, True, 100.0)))


def test_an_epoch_ends_where_float64_does(quick):
    rows = {each["name"]: each for each in quick["workloads"]["epoch, batch 64"]}
    for name in ("torch loop", "torch DataLoader", "jit per step", "optax, jit per step"):
        assert "from float64" in rows[name]["note"] and rows[name]["ms_per_step"] > 0


def test_our_epoch_is_held_and_timed(monkeypatch):
    some, plan = inputs.mnist_rows(128, (784, 5, 1)), row.Plan(1, True, 100.0)
    rows = {each["name"]: each for each in row.to_dicts(epoch._at(plan, some, 64))}
    assert rows[epoch.OURS]["ratio_to_vg"] > 0 and rows[row.JIT]["ratio_to_vg"] == 1
    monkeypatch.setattr(functional, "sgd_epoch", lambda p, *args, **kw: (p, None))
    with pytest.raises(held.NotTheSame, match="sgd_epoch ends at other weights"):
        epoch._at(plan, some, 64)


@pytest.mark.parametrize("x_bar", [False, True])
@pytest.mark.parametrize("sizes", [(784, 5, 1), (784, 6, 4, 10)])
def test_everybody_is_right(sizes, x_bar):
    some = inputs.mnist_rows(20, sizes)
    others = {name: peers.on_arrays(net) for name, net in peers.in_torch_(x_bar).items()} | peers.in_numpy(x_bar)
    held.hold(some, peers.in_jax_(x_bar), others, x_bar)
    if not x_bar:
        held.hold_raw(some)


@pytest.mark.parametrize("who", ["jax", "torch", "numpy"])
def test_nobody_who_is_wrong_is_timed(who):
    some = inputs.mnist_rows(20, (784, 5, 1))

    def wrong(net):
        def run(*args):
            loss, grads = net(*args)
            return loss, [(w_bar * np.float32(1.001), b_bar) for w_bar, b_bar in grads]

        return run

    jax_nets, others = {}, {}
    if who == "jax":
        jax_nets = {peers.FUSED: wrong(peers.in_jax_(False)[peers.FUSED])}
    elif who == "torch":
        others = {peers.EAGER: peers.on_arrays(wrong(peers.in_torch_(False)[peers.EAGER]))}
    else:
        others = {peers.NUMPY: wrong(peers.in_numpy(False)[peers.NUMPY])}
    with pytest.raises(held.NotTheSame, match=f"not the same gradient: {next(iter(jax_nets | others))}, w1: "):
        held.hold(some, jax_nets, others, x_bar=False)


def test_a_wrong_rule_ends_the_run():
    """The whole program, with a factor planted in torch's by-hand row."""
    code = (
        "import sys; from pullback.benchmarks import __main__ as program, peers; right = peers._by_hand\n"
        "def wrong(*args):\n    loss, grads, *x_bar = right(*args)\n    return 2 * loss, grads, *x_bar\n"
        "peers._by_hand = wrong; sys.argv = ['bench', '--quick', '--workload', 'lesson']; sys.exit(program.main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 1, done.stderr
    assert "pullback: lesson: not timed, for it is not the same gradient: torch by hand, loss:" in done.stderr
    assert "median" not in done.stdout


def test_weights_that_drift_are_seen():
    want = [(np.ones((2, 2)), np.ones(2))]
    assert held.hold_params("x", want, want) == 0
    for bad in (1.001, np.nan):
        with pytest.raises(held.NotTheSame, match="x ends at other weights"):
            held.hold_params("x", jax.tree.map(lambda a, bad=bad: bad * a, want), want)


def test_calls_take_turns_and_the_short_ones_are_repeated(monkeypatch):
    now, order = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: None)

    def takes(name, seconds):
        def run(*_args):
            order.append(name)
            now[0] += seconds

        return run

    def costly():
        now[0] += 100
        return ()

    calls = [clock.Call(takes("a", 1.0), costly), clock.Call(takes("b", 2.0)), clock.Call(takes("c", 2.0**-10))]
    a, b, c = clock.in_turn(calls, 2)
    assert (a.median, b.median, c.median) == (1000, 2000, pytest.approx(1000 / 1024))
    assert a.spread == 0, "what prepares is not on the clock"
    assert order[:6] == ["a", "a", "b", "b", "c", "c"]
    rest = "".join(order[6:])
    assert rest.count("a") == rest.count("b") == 2 and rest.startswith("abc") and rest.endswith("ca")
    assert rest.count("c") == 2 * (20 + 1)


def test_one_slow_round_is_no_spread():
    assert clock.Times.of([10.0, 11.0, 9.0, 10.0, 90.0]) == (10, 9, 90, pytest.approx(0.05))
    assert clock.Times.of([7.0]) == (7, 7, 7, 0)


def test_operations_of_the_lesson():
    # Forward and w_bar of 784 -> 50; forward, w_bar and h_bar of 50 -> 1.
    assert floor.operations((784, 50, 1), 50_000, x_bar=False) == pytest.approx(7.84 + 0.015)
    assert floor.operations((784, 50, 1), 50_000, x_bar=True) == pytest.approx(1.5 * 7.84 + 0.015)


def test_targets_are_met_missed_or_not_measured():
    def ms(name, median):
        return {"name": name, "median_ms": median}

    rows = [ms(row.BASE, 14.0), ms(peers.FUSED, 10.0), ms(peers.EAGER, 21.0)]
    lines = targets.verdicts({"lesson": rows}, "cpu")
    by_name = {line["what"]: line for line in lines if line["device"] == "cpu"}
    assert by_name[f"lesson: {row.BASE}"]["verdict"] == "met"
    assert by_name["lesson: torch eager"]["verdict"] == "missed"
    assert by_name["lesson: torch.compile"]["verdict"] == "not measured"
    on_gpu = targets.verdicts({"lesson": rows}, "gpu")
    assert {line["verdict"] for line in on_gpu if line["device"] == "cpu"} == {"not measured"}
    assert "met" in {line["verdict"] for line in on_gpu if line["device"] == "gpu"}


def test_names_are_the_same_everywhere():
    """compare and targets read files and import neither jax nor torch, so they spell the names themselves."""
    assert compare.OURS == (*peers.OURS, epoch.OURS)
    assert (targets.VG, targets.FUSED, targets.EAGER, targets.COMPILE) == (
        row.BASE,
        peers.FUSED,
        peers.EAGER,
        peers.COMPILED,
    )


def test_a_plot_without_rows_says_so(tmp_path):
    plot.save(tmp_path / "p.png", {"lesson": [{"name": row.BASE, "ratio_to_vg": 1.0}]})
    assert (tmp_path / "p.png").stat().st_size > 1000


@pytest.mark.parametrize("kind", ["a link", "a FIFO"])
def test_a_plot_follows_links_and_writes_through(tmp_path, kind):
    path, read = tmp_path / "p.png", []
    if kind == "a link":
        path.symlink_to("kept.png")
    else:
        os.mkfifo(path)
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    if kind == "a FIFO":
        reader.start()
    plot.save(path, {"lesson": [{"name": row.BASE, "ratio_to_vg": 1.0}]})
    if kind == "a link":
        assert path.is_symlink()
        reader.start()
    reader.join(10)
    assert read[0].startswith(b"\x89PNG")


@pytest.mark.parametrize(("file", "code"), [("/dev/stdout", 0), ("/dev/null", 0), ("/dev/full", 2)])
def test_results_go_through_what_is_no_regular_file_once_at_the_end(file, code, tmp_path):
    if not os.path.exists(file):
        pytest.skip(f"there is no {file}")
    text = "import sys, pullback.benchmarks.__main__ as m; from pullback.cli.ending import ended; m.WORKLOADS.clear(); "
    text += f"sys.argv[1:] = ['--quick', '--rounds', '2', '--json', {file!r}]; sys.exit(ended(m.main))"
    environment = os.environ | {"PULLBACK_DATA_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env=environment)
    assert done.returncode == code, done.stderr
    assert ("cannot write: No space left on device" in done.stderr) == (code == 2) and "Traceback" not in done.stderr
    if file == "/dev/stdout":
        heading, _, written = done.stdout.partition("\n{\n")
        assert heading.startswith("pullback bench") and json.loads("{" + written.partition("\n}\n")[0] + "}")["quick"]
    else:
        assert stat.S_ISCHR(os.stat(file).st_mode)


def test_names_and_notes_in_a_table_are_text(capsys):
    line = {"name": "[/red]x", "note": "raised [bold]:smile:\x1b[31m", "median_ms": 1.0}
    console().print(show.of_rows("[/red]title", [line]))
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("[/red]title", "[/red]x", r"raised [bold]:smile:\x1b[31m"))


# bench-compare


@pytest.fixture
def result() -> dict:
    def one(name, ratio):
        return {"name": name, "ratio_to_vg": ratio, "spread": 0.1}

    return {"workloads": {"lesson": [one(row.BASE, 1.0), one(peers.FUSED, 1.6), one(peers.NUMPY, 0.5)]}}


@pytest.fixture
def compared(tmp_path, capsys):
    def run(old, new):
        files = [tmp_path / "new.json", tmp_path / "old.json"]
        for file, content in zip(files, (new, old), strict=True):
            file.write_text(json.dumps(content))
        return compare.main([str(file) for file in files]), capsys.readouterr()

    return run


def scaled(result: dict, factor: float, name: str = peers.FUSED) -> dict:
    new = copy.deepcopy(result)
    for each in new["workloads"]["lesson"]:
        each["ratio_to_vg"] *= factor if each["name"] == name else 1
    return new


def test_equal_results_are_no_regression(compared, result):
    code, said = compared(result, result)
    assert code == 0 and f"lesson: {peers.FUSED}" in said.out and "WORSE" not in said.out


@pytest.mark.parametrize(("factor", "code"), [(0.75, 1), (0.82, 0), (2.0, 0)])
def test_beyond_both_spreads_is_a_regression(compared, result, factor, code):
    # Each spread is 10 %, so 20 % is allowed.
    got, said = compared(result, scaled(result, factor))
    assert got == code and ("WORSE" in said.out) == bool(code)


def test_others_may_get_slower(compared, result):
    assert compared(result, scaled(result, 0.1, peers.NUMPY))[0] == 0


def test_nothing_in_common_is_2(compared, result):
    code, said = compared({"workloads": {}}, result)
    assert code == 2 and "have no row in common" in said.err


def test_a_missing_file_is_2(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert compare.main([]) == 2
    assert capsys.readouterr().err == (
        "pullback: benchmarks/results/latest.json does not exist: run `make bench` first\n"
    )
    (tmp_path / "new.json").write_text('{"workloads": {}}')
    assert compare.main(["new.json"]) == 2
    assert capsys.readouterr().err == "pullback: there is no benchmarks/results/VERSION.json to compare with\n"
    (tmp_path / "old.json").write_text("[]")
    assert compare.main(["new.json", "old.json"]) == 2
    assert "old.json is not what `pullback bench --json` writes" in capsys.readouterr().err


def test_the_newest_version_is_compared_with(tmp_path):
    for name in ("0.9.0", "0.10.0", "latest"):
        (tmp_path / f"{name}.json").touch()
    assert compare._newest(tmp_path).name == "0.10.0.json"


@pytest.mark.parametrize("num_processes, devices", [(1, 2), (2, 1)])
def test_a_step_is_timed_on_fake_devices_and_in_processes(num_processes, devices):
    row = scaling_here.measure(num_processes, devices, rows=256)
    assert 0 < row["min"] <= row["ms"]


def test_the_page_of_scaling_has_each_case_that_is_measured_here(root):
    page = (root / "docs" / "scaling.md").read_text()
    for num_processes, devices in scaling_here.CASES:
        assert f"| {num_processes} × {devices} | " in page


def test_the_last_layer_in_tiles_is_right_and_needs_less_memory():
    size = last_layer.Size(3000, 1500, 8)
    plain, tiled = (
        last_layer.temporary_megabytes(form, last_layer.GRADIENTS, size, np.float32) for form in last_layer.LOSSES
    )
    assert plain > 4 * 3000 * 1500 / 1e6 > tiled
    assert set(last_layer.errors(last_layer.arguments(last_layer.Size(20, 30, 4)))) == set(last_layer.LOSSES)
    assert max(last_layer.errors(last_layer.arguments(last_layer.Size(20, 30, 4))).values()) < 1e-5
    table = last_layer.time_table(last_layer.Size(20, 30, 4), rounds=1)
    assert table.row_count == 4
