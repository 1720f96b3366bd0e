"""The notebooks: their scripts equal the library, their kept outputs are of their text, and stale ones would be found.

They are executed by `make notebooks`, not here.
"""

import copy
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import nbformat
import numpy as np
import pytest
import torch

from pullback import parity
from pullback.data import load_mnist
from pullback.functional import init_mlp, weight_grad_matmul
from pullback.parity.lesson.in_jax import net_twin, twin_mlp
from pullback.parity.lesson.in_torch import in_double, net_autograd
from pullback.parity.lesson.mnist import batch
from pullback.parity.lesson.result import Result, result_leaves
from pullback.parity.verdict.comparison import Comparison

NAMES = ["01_forward", "02_backward", "03_layers", "04_parity", "05_accelerators"]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def execute(root):
    return load(root / "notebooks" / "execute.py")


@pytest.fixture
def export(root):
    return load(root / "notebooks" / "export.py")


# The exported scripts, on a real batch.


@pytest.fixture
def scripts(export, tmp_path):
    """The exported modules by name, each imported by itself, as a user would who was sent the file."""
    paths = export.export_all(tmp_path / "exported")
    assert [path.name for path in paths] == ["forward.py", "backward.py", "layers.py"]
    # jax's own settings, not those of these tests: the notebooks broadcast their biases.
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield {path.stem: load(path) for path in paths}


@pytest.fixture(scope="module")
def mnist_batch():
    x, targ = batch(load_mnist("sample").train, np.arange(64), np.dtype(np.float32))
    rng = np.random.default_rng(0)
    params = [
        (np.asarray(w), (0.1 * rng.standard_normal(w.shape[1])).astype(np.float32))
        for w, _ in init_mlp(jax.random.key(0), (784, 50, 1))
    ]
    return params, x, targ


def agree(run, args):
    """Whether it lies within the derived bound of float64, leaf by leaf."""
    oracle = in_double(net_autograd)
    rows = Comparison("exported", args, {"exported": jax.jit(run)}, net_twin, oracle, np.float32, result_leaves).rows
    assert len(rows) == 7
    return {row.leaf: row.ok for row in rows}


def test_forward_equals_the_library(scripts, mnist_batch):
    params, x, _ = mnist_batch
    forward = scripts["forward"]
    rows = Comparison(
        "forward",
        (params, x),
        {"exported": jax.jit(forward.model)},
        twin_mlp,
        lambda params, x: in_double(net_autograd)(params, x, np.zeros(len(x))).output,
        np.float32,
        lambda output: {"output": np.asarray(output)},
    ).rows
    assert rows[0].ok
    np.testing.assert_array_equal(forward.shifted_relu(x), np.maximum(x, 0) - np.float32(0.5))
    np.testing.assert_array_equal(forward.normalize(x, 0.5, 2.0), (x - np.float32(0.5)) / np.float32(2))
    for a in (0.0, 2.0):
        w = forward.kaiming(jax.random.key(0), 784, 500, a)
        assert abs(w.std() / np.sqrt(2 / ((1 + a**2) * 784)) - 1) < 0.01


def test_backward_equals_the_library(scripts, mnist_batch):
    backward = scripts["backward"]

    def run(params, x, targ):
        loss, grads, x_bar = backward.forward_and_backward(params, x, targ)
        (w1, b1), (w2, b2) = params
        output = backward.lin(backward.relu(backward.lin(x, w1, b1)), w2, b2)
        return Result(output, loss, grads, x_bar)

    assert all(agree(run, mnist_batch).values())


def layers_run(layers):
    net = [layers.Lin(784, 50), layers.Relu(), layers.Lin(50, 1)]

    def run(params, x, targ):
        with_none = [params[0], None, params[1]]
        loss, grads, x_bar = layers.forward_and_backward_through(net, layers.Mse(), with_none, x, targ)
        output = x
        for layer, layer_params in zip(net, with_none, strict=True):
            output, _ = layer.forward(layer_params, output)
        return Result(output, loss, [grads[0], grads[2]], x_bar)

    return run


def test_layers_equal_the_library(scripts, mnist_batch):
    layers = scripts["layers"]
    assert all(agree(layers_run(layers), mnist_batch).values())
    _, x, _ = mnist_batch
    forms = [layers.weight_grad_outer, layers.weight_grad_einsum, layers.weight_grad_matmul]
    y_bar = np.asarray(np.random.default_rng(1).standard_normal((64, 5))).astype(np.float32)
    for form in forms:
        parity.check(form, x, y_bar, reference=weight_grad_matmul, checks=["values"]).raise_if_failed()
    # Its first weights: Kaiming's std, for a rectifier of slope a, and zeros.
    (w, b), nothing = layers.init([layers.Lin(784, 500, a=2.0), layers.Relu()], jax.random.key(0))
    assert abs(w.std() / np.sqrt(2 / (5 * 784)) - 1) < 0.01 and not b.any() and nothing is None


def test_a_wrong_script_would_be_seen(scripts, mnist_batch, monkeypatch):
    backward, right = scripts["backward"], scripts["backward"].lin_grad
    monkeypatch.setattr(backward, "lin_grad", lambda x, w, y_bar: (*right(x, w, y_bar)[:2], 1.001 * y_bar.sum(0)))

    def run(params, x, targ):
        loss, grads, x_bar = backward.forward_and_backward(params, x, targ)
        return Result(net_twin(params, x, targ).output, loss, grads, x_bar)

    wrong = [leaf for leaf, ok in agree(run, mnist_batch).items() if not ok]
    assert wrong == ["b1", "b2"]


def test_scripts_hold_nothing_but_what_they_export(export, root, tmp_path):
    for path in export.export_all(tmp_path):
        text = path.read_text()
        assert text.startswith("# Made by `make export` from notebooks/")
        assert "#|" not in text and "%%" not in text and "print(" not in text and "import matplotlib" not in text


def notebook_text(folder, *cells):
    path = folder / "01_mine.py"
    path.write_text("\n\n".join(f"# %%\n{cell}" for cell in cells) + "\n")
    return path


def test_export_by_nbdevs_convention(export, tmp_path):
    path = notebook_text(
        tmp_path, "#| default_exp mine", "#| export\na = 1", "b = a", "#| hide\nc = 1", "#|export\nd = 2"
    )
    name, source = export.exported(path)
    assert name == "mine"
    scope = {}
    exec(source, scope)
    assert (scope["a"], scope["d"]) == (1, 2) and "b" not in scope and "c" not in scope


@pytest.mark.parametrize(
    ("cells", "got"),
    [(["#| export\na = 1"], r"\[\]"), (["#| default_exp x\n#| export\na = 1", "#| default_exp y"], r"\['x', 'y'\]")],
)
def test_export_needs_one_name(export, tmp_path, cells, got):
    with pytest.raises(ValueError, match=f"01_mine.py exports cells, so .* must say '#| default_exp NAME'; got {got}"):
        export.exported(notebook_text(tmp_path, *cells))


def test_nothing_to_export(export, tmp_path):
    assert export.exported(notebook_text(tmp_path, "a = 1")) is None


# What is kept.


def test_all_five_are_there(root):
    assert sorted(path.stem for path in (root / "notebooks").glob("[0-9]*.ipynb")) == NAMES
    assert sorted(path.stem for path in (root / "notebooks").glob("[0-9]*.py")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_is_of_this_text(root, execute, name):
    path = root / "notebooks" / f"{name}.py"
    kept, fresh = nbformat.read(path.with_suffix(".ipynb"), as_version=4), execute.from_text(path)
    assert [(c.cell_type, c.source) for c in kept.cells] == [(c.cell_type, c.source) for c in fresh.cells]
    assert kept.metadata["data"] == "full MNIST"
    assert path.with_suffix(".ipynb").stat().st_size < 300_000
    outputs = [output for cell in kept.cells for output in cell.get("outputs", [])]
    assert outputs and all(output.output_type in ("stream", "display_data", "execute_result") for output in outputs)
    assert not [output for output in outputs if output.get("name") == "stderr"], "a warning is not for the page"
    text = path.with_suffix(".ipynb").read_text()
    assert "/root" not in text and "/home" not in text and "/tmp/" not in text, "a path of some machine"


WIDTH = 95
"""Characters that a line of a rendered page has room for; what is longer breaks in mid-word."""


@pytest.mark.parametrize("name", NAMES)
def test_no_line_is_wider_than_the_page(root, name):
    lines = (root / "notebooks" / f"{name}.py").read_text().splitlines()
    for cell in nbformat.read(root / "notebooks" / f"{name}.ipynb", as_version=4).cells:
        lines += cell.source.splitlines()
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            # A page shows the HTML of an output, where there is any, and not its text.
            lines += output.get("text", "" if "text/html" in data else data.get("text/plain", "")).splitlines()
    assert [line for line in lines if len(line) > WIDTH] == []


INSTALL = "%pip install -q '..[parity]'"


@pytest.mark.parametrize("name", NAMES)
def test_each_begins_with_how_to_install_and_the_same_few_lines(root, execute, name):
    head, first, *_ = execute.from_text(root / "notebooks" / f"{name}.py").cells
    _, theirs, *_ = execute.from_text(root / "notebooks" / "01_forward.py").cells
    assert head.cell_type == "markdown" and head.source.endswith(f"```\n{INSTALL}\n```")
    assert first.cell_type == "code" and first.source == theirs.source and "varies" in first.metadata["tags"]
    assert len(first.source.splitlines()) <= 5 and "jax.__version__" in first.source


def test_what_it_says_to_install_is_this_package(root, tmp_path):
    """`..`, from the folder of the notebooks, is a clone that pip can install, with that extra."""
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "exported", "__pycache__")
    shutil.copytree(root, tmp_path / "clone", ignore=ignored)
    (requirement,) = re.findall(r"'(.+)'", INSTALL)
    options = ["--dry-run", "--no-deps", "--no-build-isolation", "--force-reinstall", "--report", "-", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *options, requirement]
    done = subprocess.run(command, cwd=tmp_path / "clone" / "notebooks", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["install"]
    assert found["metadata"]["name"] == "pullback" and found["requested_extras"] == ["parity"]


def test_the_first_notebook_and_the_page_of_the_lesson_give_the_same_figures(root):
    notebook = nbformat.read(root / "notebooks" / "01_forward.ipynb", as_version=4)
    said = "\n".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    figure = r" +(-?\d\.\d+) +(-?\d\.\d+ ± \d\.\d+) +(-?\d\.\d+ ± \d\.\d+) +-?\d\.\d sd$"
    printed = re.findall(rf"^mean{figure}\nstd{figure}", said, re.MULTILINE)
    rows = [
        tuple(cell.strip() for cell in line.split("|")[2:-1])
        for line in (root / "docs" / "lesson.md").read_text().splitlines()
        if "±" in line and line.startswith("|")
    ]
    assert len(printed) == 9 and len(rows) == 11
    assert set(printed) <= set(rows)


# The lesson's classes, in the third.


def cells_of(execute, path, *begins):
    """What the cells define that begin so."""
    sources = [cell.source for cell in execute.from_text(path).cells]
    scope = {"torch": torch, "Any": Any, "Callable": Callable}
    for begin in begins:
        (source,) = [source for source in sources if source.startswith(begin)]
        exec(source, scope)
    return scope


def in_torch_double(mnist_batch):
    params, x, targ = mnist_batch
    double = lambda a: torch.tensor(np.asarray(a, np.float64), requires_grad=True)  # noqa: E731
    return [(double(w), double(b)) for w, b in params], double(x), double(targ).detach()


@pytest.mark.parametrize("name", ["StatefulNet", "NetModule"])
def test_the_lessons_classes_give_autograds_gradients(root, execute, mnist_batch, name):
    classes = cells_of(execute, root / "notebooks" / "03_layers.py", "class StatefulLin:", "class Module:")
    params, x, targ = in_torch_double(mnist_batch)
    (w1, b1), (w2, b2) = params
    wanted_loss = (((torch.relu(x @ w1 + b1) - 0.5) @ w2 + b2).squeeze(-1) - targ).pow(2).mean()
    wanted = torch.autograd.grad(wanted_loss, [w1, b1, w2, b2, x])

    with torch.no_grad():
        net = classes[name](params)
        loss = net(x, targ)
        loss.g = torch.full_like(loss, 3)  # a cotangent that shows whether it is used
        net.backward()
    assert loss.item() == wanted_loss.item()
    leaves: list[Any] = [w1, b1, w2, b2, x]
    for leaf, bar in zip(leaves, wanted, strict=True):
        np.testing.assert_allclose(leaf.g, 3 * bar, rtol=1e-12, atol=1e-12 * float(bar.abs().max()))


def test_the_lessons_nn_module_gives_autograds_gradients(root, execute, mnist_batch):
    model = cells_of(execute, root / "notebooks" / "03_layers.py", "class Model(torch.nn.Module)")["Model"]
    net = model(784, 50, 1)
    params, x, targ = mnist_batch
    net.layers.load_state_dict(parity.to_state_dict(params))
    loss = net(torch.tensor(x), torch.tensor(targ))
    loss.backward()
    want = net_autograd(params, x, targ)
    np.testing.assert_allclose(loss.item(), want.loss, rtol=1e-6)
    for name, value in parity.to_state_dict(want.grads).items():
        np.testing.assert_allclose(net.layers.get_parameter(name).grad, value, rtol=1e-4, atol=1e-5)


def test_the_fifth_shows_one_step_on_eight_devices(root):
    """Its cells vary with the devices that are there; what is kept is of eight."""
    notebook = nbformat.read(root / "notebooks" / "05_accelerators.ipynb", as_version=4)
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    for line in (
        "8 devices: ",
        "mesh: 8 along data × 1 along model",
        "3,001 rows are 3,008 places, 3,001 of them real",
        "one tile a device   all-reduce of 39,303 numbers\n",
        "tiles of 100 rows   all-reduce of 39,303 numbers\n",
        "all-reduce of 751 numbers\nall-reduce of 402,435 numbers\nby hand: 751 outputs",
    ):
        assert line in said
    assert re.search(r"^ok: True; the implementations of the net are\n.*, sharded$", said, re.MULTILINE)


# What would find a stale one.


@pytest.fixture
def kept(root, execute):
    notebook = nbformat.read(root / "notebooks" / "02_backward.ipynb", as_version=4)
    assert execute.stale(notebook, copy.deepcopy(notebook)) == []
    return notebook


def printed(notebook, starts):
    """The output of the cell that prints this, and the cell."""
    return next((o, c) for c in notebook.cells for o in c.get("outputs", []) if o.get("text", "").startswith(starts))


def test_another_figure_is_stale(execute, kept):
    fresh = copy.deepcopy(kept)
    output, _ = printed(fresh, "right 5")
    output.text = output.text.replace("right 5", "right 4")
    (problem,) = execute.stale(kept, fresh)
    assert "now 4" in problem and ", kept 5" in problem


def test_rounding_of_another_machine_is_not(execute, kept):
    fresh = copy.deepcopy(kept)
    output, _ = printed(fresh, "measured")
    output.text = output.text.replace("-0.0065", "-0.00652")
    assert execute.stale(kept, fresh) == []


def test_other_words_are_stale_and_a_cell_that_varies_is_not(execute, kept):
    fresh = copy.deepcopy(kept)
    output, cell = printed(fresh, "torch agrees")
    output.text = "torch disagrees\n"
    assert len(execute.stale(kept, fresh)) == 1
    cell.metadata["tags"] = ["varies"]
    assert execute.stale(kept, fresh) == []


def test_a_picture_that_is_missing_is_stale(execute, kept):
    fresh = copy.deepcopy(kept)
    cell = next(c for c in fresh.cells if any("image/png" in o.get("data", {}) for o in c.get("outputs", [])))
    cell.outputs = [o for o in cell.outputs if "image/png" not in o.get("data", {})]
    assert len(execute.stale(kept, fresh)) == 1


def test_another_text_is_stale_and_other_data_is_not_compared(execute, kept):
    fresh = copy.deepcopy(kept)
    output, _ = printed(fresh, "torch agrees")
    output.text = "other"
    fresh.metadata["data"] = "embedded sample of MNIST"
    assert execute.stale(kept, fresh) == []
    fresh.cells[2].source += " "
    assert execute.stale(kept, fresh) == ["its cells are not those of its text"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("mean 0.1304", "mean 0.1305", ""),
        ("mean 0.1304", "mean 0.14", "now 0.14, kept 0.1304"),
        ("50,000 rows", "50,400 rows", ""),
        ("50,000 rows", "60,000 rows", "now 60000, kept 50000"),
        ("std 6.3e+14", "std 6.31e14", ""),
        ("std 6.3e+14", "std 6.3e+13", "now 6.3e+13, kept 6.3e+14"),
        ("std 1.7e-08", "std 9e-05", "now 9e-05, kept 1.7e-08"),
        ("std 2.4e-20", "std 0", "now 0, kept 2.4e-20"),
        ("off 1.2 sd", "off 1.3 sd", ""),
        ("mean 0.000", "mean 0.001", ""),
        ("4 not", "5 not", "now 5, kept 4"),
        ("a  b", "a b", ""),
        ("True", "False", "now 'False', kept 'True'"),
    ],
)
def test_figures_may_differ_by_1_percent(execute, old, new, expected):
    assert execute.other_text(old, new) == expected


def test_an_error_and_an_unknown_name_fail(execute, tmp_path, monkeypatch, capsys):
    (tmp_path / "06_wrong.py").write_text("# %%\n1 / 0\n")
    monkeypatch.setattr(execute, "HERE", tmp_path)
    monkeypatch.setattr(execute, "data_name", lambda: "none")
    monkeypatch.setattr(sys, "argv", ["execute.py"])
    with pytest.raises(SystemExit) as stop:
        execute.main()
    assert stop.value.code and "06_wrong: FAILED" in (said := capsys.readouterr().out)
    assert said.startswith("06_wrong: running, 1 cells\n"), "no terminal: a line says what runs"
    assert "raised ZeroDivisionError: division by zero" in said
    assert not (tmp_path / "06_wrong.ipynb").exists(), "nothing is kept of a run that failed"
    monkeypatch.setattr(sys, "argv", ["execute.py", "07_none"])
    with pytest.raises(SystemExit, match="there is no notebook 07_none; there are 06_wrong"):
        execute.main()


def test_outputs_of_the_sample_are_not_kept(execute, monkeypatch):
    monkeypatch.setattr(execute, "data_name", lambda: "embedded sample of MNIST")
    monkeypatch.setattr(sys, "argv", ["execute.py", "--update"])
    with pytest.raises(
        SystemExit, match="outputs are kept of the full MNIST; here is the embedded sample of MNIST: pull"
    ):
        execute.main()


def test_on_a_terminal_a_bar_says_which_cell_it_is_at(execute, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(execute, "data_name", lambda: "none")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    execute.executed(notebook_text(tmp_path, "a = 1", "b = 2"))
    said = capsys.readouterr()
    assert "01_mine:   0%" in said.err and "| 0/2 [" in said.err and "| 1/2 [" in said.err and said.out == ""
