import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity import Probe, check
from pullback.parity import capsule as capsule_module
from pullback.parity._check import CHECKS
from pullback.parity.capsule import replay, save_capsule
from pullback.parity.case.saved_values import CapsuleError, import_by_name, name_of

MODULE = """
import jax
import jax.numpy as jnp

def plain(x):
    return x * x

def _square(x):
    return x * x

wrong = jax.custom_vjp(_square)
wrong.defvjp(lambda x: (x * x, x), lambda x, y_bar: (x * y_bar,))

def times(x, w):
    return x @ w

wrong_times = jax.custom_vjp(times)
wrong_times.defvjp(lambda x, w: (x @ w, (x, w)), lambda xw, y_bar: (y_bar @ xw[1].T, 2 * xw[0].T @ y_bar))

wrong_times_x = jax.custom_vjp(times)
wrong_times_x.defvjp(
    lambda x, w: (x @ w, (x, w)),
    lambda xw, g: (jnp.where(jnp.abs(g) > 100, -g, g) @ xw[1].T, xw[0].T @ g),
)

@jax.custom_vjp
def wrong_in_the_last(x):
    return x * x

wrong_in_the_last.defvjp(lambda x: (x * x, x), lambda x, y_bar: ((2 * x * y_bar).at[7].multiply(x.shape[0] - 6),))

def outer():
    def inner(x):
        return x
    return inner

nested = {"function": outer(), "lambda": lambda x: x}

class Rule:
    def __call__(self, x):
        return x

    @staticmethod
    def static(x):
        return x
"""
X = np.arange(1, 9, dtype=np.float32)


@pytest.fixture
def rules(tmp_path, monkeypatch):
    """A module of rules, as a user has one."""
    (tmp_path / "capsule_rules.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield import_by_name("capsule_rules:__dict__") and sys.modules["capsule_rules"]
    sys.modules.pop("capsule_rules", None)


def failing(rule, *args, **options):
    report = check(rule, *args, checks=["values"], **options)
    assert not report.ok
    return report


@pytest.fixture
def calls(monkeypatch):
    """What replays call `check` with."""
    seen = []
    real = check

    def spy(*args, **options):
        precision = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
        seen.append((args, options | {"precision": precision, "x64": jnp.result_type(float) == np.float64}))
        return real(*args, **{name: value for name, value in options.items() if name not in ("x64", "precision")})

    monkeypatch.setattr(capsule_module, "check", spy)
    return seen


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_a_replay_is_the_same_run(rules, tmp_path, calls, dtype):
    x = (X / 3).astype(jnp.dtype(dtype))
    report = failing(rules.wrong, x, reference=rules.plain, seed=5)
    path = tmp_path / "capsule.npz"
    save_capsule(path, report, rules.wrong, [x], reference=rules.plain, checks=["values"], seed=5)
    again = replay(path, "capsule_rules")
    ((rule, replayed), options) = calls[0]
    assert rule is rules.wrong and options["reference"] is rules.plain
    assert replayed.dtype == x.dtype and replayed.tobytes() == x.tobytes()
    assert (options["seed"], options["checks"], options["dtypes"]) == (5, ["values"], None)
    assert again.rows == report.rows and not again.ok
    assert f"{dtype} x_bar: rule" in again.about["failed then"] and again.about["changed"] == "nothing"


def test_all_checks_are_made_unless_said(rules, tmp_path):
    path = tmp_path / "capsule.npz"
    save_capsule(path, failing(rules.wrong, X), "capsule_rules:wrong", (X,))
    with np.load(path, allow_pickle=False) as file:
        contents = json.loads(str(file["capsule"]))
    assert contents["options"] == {
        "static_argnums": [],
        "nondiff": [],
        "checks": list(CHECKS),
        "dtypes": None,
        "trusted": None,
        "arithmetic": None,
        "allow_unjudged": False,
        "precision": None,
        "seed": 0,
    }
    assert contents["functions"] == {"rule": "capsule_rules:wrong"}
    assert {"python", "jax", "jaxlib", "numpy", "torch", "matmul precision", "x64"} <= set(contents["here"])


def test_trees_of_arguments(rules, tmp_path, monkeypatch):
    report = failing(rules.wrong, X)
    half = jnp.asarray([1.5, -0.0], jnp.bfloat16)
    args = ({"a": [X, (half, None)], "b": np.float32(2)}, "mean", 3, rules.plain, 0.1, True, np.arange(3), jnp.float32)
    given = {}
    monkeypatch.setattr(capsule_module, "check", lambda *args, **options: given.update(options, args=args) or report)
    path = tmp_path / "capsule.npz"
    save_capsule(
        path, report, rules.wrong, args, static_argnums=(1, -1), kwargs={"axis": 0}, torch_kwargs={"dim": X, "n": None}
    )
    replay(path, "capsule_rules")
    _rule, tree, *rest, whole, dtype = given["args"]
    assert rest == ["mean", 3, rules.plain, 0.1, True] and type(rest[-1]) is bool and dtype is jnp.float32
    assert whole.tolist() == [0, 1, 2] and whole.dtype == np.arange(3).dtype
    x, (bits, none) = tree["a"]
    assert isinstance(tree["a"], list) and none is None and np.array_equal(x, X)
    assert bits.dtype == jnp.bfloat16 and bits.tobytes() == np.asarray(half).tobytes()
    assert tree["b"] == 2 and type(tree["b"]) is np.float32
    assert given["static_argnums"] == [1, -1] and given["kwargs"] == {"axis": 0}
    assert np.array_equal(given["torch_kwargs"]["dim"], X) and given["torch_kwargs"]["n"] is None


@pytest.mark.parametrize("nondiff", [["w"], "w", ("w",)])
def test_what_is_not_differentiated_and_your_own_cotangents(rules, tmp_path, calls, nondiff):
    x, w, own = np.ones((4, 2), np.float32), np.ones((2, 3), np.float32), np.full((4, 3), 300, np.float32)
    options = {"nondiff": nondiff, "cotangents": own, "reference": rules.times}
    path = tmp_path / "capsule.npz"
    report = failing(rules.wrong_times_x, x, w, **options)
    save_capsule(path, report, rules.wrong_times_x, (x, w), checks=["values"], **options)
    again = replay(path, "capsule_rules")
    ((_, replayed_x, _), given) = calls[0]
    assert given["nondiff"] == ["w"] and np.array_equal(given["cotangents"], own)
    assert given["cotangents"].dtype == np.float32 and np.array_equal(replayed_x, x)
    assert again.rows == report.rows and {row.leaf for row in again.rows if not row.ok} == {"x_bar"}
    assert again.about["cotangents"] == report.about["cotangents"] and "5 yours" in again.about["cotangents"]


def test_your_own_cotangents_are_cut_with_the_rows_that_they_are_for(rules, tmp_path, monkeypatch):
    x, w, own = np.ones((8, 2), np.float32), np.ones((2, 3), np.float32), np.full((8, 3), 300, np.float32)
    monkeypatch.setattr(capsule_module, "SLICE", 84)
    path = tmp_path / "capsule.npz"
    options = {"cotangents": own, "checks": ["values"]}
    report = failing(rules.wrong_times_x, x, w, cotangents=own)
    save_capsule(path, report, rules.wrong_times_x, (x, w), **options)
    assert [a.shape for a in saved(path)] == [(3, 2), (2, 3), (3, 3)], "24 bytes of w leave room for 3 rows of 20"
    assert replay(path, "capsule_rules").culprits == ["rule"]


def test_a_capsule_from_before_there_were_cotangents(path):
    def older(contents):
        del contents["options"]["nondiff"], contents["inputs"]["cotangents"]

    rewrite(path, older)
    assert replay(path, "capsule_rules").culprits == ["rule"]


def test_a_probe_of_your_own_is_refused(rules, tmp_path):
    probe = Probe("mine", lambda evaluation: [])
    with pytest.raises(CapsuleError, match=r"^checks: a probe of your own \(mine\) cannot be saved: give names only$"):
        save_capsule(tmp_path / "capsule.npz", failing(rules.wrong, X), rules.wrong, (X,), checks=["values", probe])
    assert not (tmp_path / "capsule.npz").exists()


def test_flags_hold_again_and_changes_are_said(rules, tmp_path, calls, monkeypatch):
    path = tmp_path / "capsule.npz"
    report = failing(rules.wrong, X)
    monkeypatch.setenv("XLA_FLAGS", "--xla_one=1")
    with jax.default_matmul_precision("highest"), jax.enable_x64(True):
        save_capsule(path, report, rules.wrong, (X,), checks=["values"])
    monkeypatch.setenv("XLA_FLAGS", "--xla_two=2")
    again = replay(path, "capsule_rules")
    assert calls[0][1]["precision"] == "highest" and calls[0][1]["x64"]
    assert again.about["changed"] == "XLA_FLAGS was --xla_one=1, is --xla_two=2"


@pytest.mark.parametrize(
    ("find", "message"),
    [
        (lambda rules: rules.nested["lambda"], "rule capsule_rules.<lambda> has no name to import it by"),
        (lambda rules: rules.nested["function"], "rule capsule_rules.outer.<locals>.inner has no name to import it by"),
        (lambda rules: rules.Rule(), "rule capsule_rules.Rule has no name to import it by"),
    ],
)
def test_a_function_without_a_name_is_refused(rules, tmp_path, find, message):
    report = failing(rules.wrong, X)
    with pytest.raises(CapsuleError, match=message):
        save_capsule(tmp_path / "capsule.npz", report, find(rules), (X,))
    assert not (tmp_path / "capsule.npz").exists()


def test_main_is_refused(rules, monkeypatch):
    monkeypatch.setattr(rules.plain, "__module__", "__main__")
    with pytest.raises(CapsuleError, match="reference plain is defined in __main__: move it to a module"):
        name_of("reference", rules.plain)


def test_names(rules):
    assert name_of("rule", rules.plain) == "capsule_rules:plain"
    assert name_of("rule", rules.wrong) == "capsule_rules:wrong", "and not _square, whose name it carries"
    assert name_of("rule", rules.Rule.static) == "capsule_rules:Rule.static"
    assert import_by_name("capsule_rules:Rule.static") is rules.Rule.static


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("module", "expected package.module:function, got 'module'"),
        (":f", "expected package.module:function, got ':f'"),
        ("no_such_module:f", "cannot import no_such_module: ModuleNotFoundError: No module named 'no_such_module'"),
        ("capsule_rules:g.h", "there is no g.h in capsule_rules"),
        ("capsule_broken:f", "cannot import capsule_broken: ZeroDivisionError: division by zero"),
    ],
)
def test_names_that_lead_nowhere(rules, tmp_path, name, message):
    (tmp_path / "capsule_broken.py").write_text("1 / 0")
    with pytest.raises(ImportError) as raised:
        import_by_name(name)
    assert str(raised.value) == message


@pytest.mark.parametrize("value", [{1, 2}, {1: X}, np.array([None]), object()])
def test_an_argument_that_does_not_fit_is_named(rules, tmp_path, value):
    with pytest.raises(CapsuleError, match=r"args\[1\]\['a'\] is a \w+: a capsule takes arrays, random keys, numbers"):
        save_capsule(tmp_path / "capsule.npz", failing(rules.wrong, X), rules.wrong, (X, {"a": value}))


def saved(path):
    with np.load(path, allow_pickle=False) as file:
        return [file[name] for name in file.files if name != "capsule"]


def test_large_arguments_are_cut_to_rows_that_fail_alike(rules, tmp_path, monkeypatch):
    x, w = np.ones((8, 2), np.float32), np.ones((2, 3), np.float32)
    monkeypatch.setattr(capsule_module, "SLICE", 48)
    path = tmp_path / "capsule.npz"
    report = failing(rules.wrong_times, x, w)
    save_capsule(path, report, rules.wrong_times, (x, w), checks=["values"])
    assert [a.shape for a in saved(path)] == [(3, 2), (2, 3)], "24 bytes of w leave room for 3 rows of x"
    assert replay(path, "capsule_rules").culprits == ["rule"]


@pytest.mark.parametrize(
    ("rule", "args"),
    [
        ("wrong_in_the_last", (X,)),
        # The rows of w are no rows of a batch.
        ("wrong_times", (np.ones((4, 4), np.float32), np.ones((4, 4), np.float32))),
    ],
)
def test_everything_is_kept_where_the_first_rows_do_not_fail(rules, tmp_path, monkeypatch, rule, args):
    monkeypatch.setattr(capsule_module, "SLICE", 16)
    path = tmp_path / "capsule.npz"
    rule = getattr(rules, rule)
    save_capsule(path, failing(rule, *args), rule, args, checks=["values"])
    assert [a.shape for a in saved(path)] == [a.shape for a in args]


@pytest.fixture
def path(rules, tmp_path):
    """A good capsule."""
    path = tmp_path / "capsule.npz"
    save_capsule(path, failing(rules.wrong, X), rules.wrong, (X,), checks=["values"])
    return path


def rewrite(path, change):
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    contents = json.loads(str(arrays["capsule"]))
    change(contents)
    np.savez(path, **(arrays | {"capsule": np.array(json.dumps(contents))}))  # pyright: ignore[reportArgumentType]


def test_what_is_no_capsule(path, tmp_path):
    whole = path.read_bytes()
    other = tmp_path / "other.npz"
    with pytest.raises(CapsuleError, match="cannot read the capsule .*other.npz: No such file or directory"):
        replay(other, "capsule_rules")
    np.save(tmp_path / "array.npy", X)
    np.savez(tmp_path / "arrays.npz", X)
    contents = [b"", b"text", whole[: len(whole) // 2], (tmp_path / "array.npy").read_bytes()]
    contents += [(tmp_path / "arrays.npz").read_bytes(), whole.replace(b"array0.npy", b"array9.npy", 1)]
    for content in contents:
        other.write_bytes(content)
        with pytest.raises(CapsuleError, match="other.npz is no capsule, or a damaged one"):
            replay(other, "capsule_rules")


def test_a_newer_schema(path):
    rewrite(path, lambda contents: contents.update(schema=2))
    with pytest.raises(CapsuleError, match="capsule.npz has schema 2, newer than 1: update pullback to read it"):
        replay(path, "capsule_rules")


@pytest.mark.parametrize(
    "change",
    [
        lambda contents: contents.pop("options"),
        lambda contents: contents["functions"].pop("rule"),
        lambda contents: contents["inputs"].update(args={"array": "array7", "dtype": None}),
        lambda contents: contents["inputs"].update(args={"set": []}),
        lambda contents: contents.update(inputs=3),
    ],
)
def test_a_damaged_text(path, change):
    rewrite(path, change)
    with pytest.raises(CapsuleError, match="capsule.npz is a damaged capsule"):
        replay(path, "capsule_rules")


def test_a_function_that_is_gone(path, tmp_path):
    (tmp_path / "capsule_rules.py").unlink()
    del sys.modules["capsule_rules"]
    with pytest.raises(CapsuleError, match="needs what is not here: cannot import capsule_rules: ModuleNotFoundError"):
        replay(path, "capsule_rules")


def test_a_capsule_that_cannot_be_written_leaves_the_old_one(path, rules, monkeypatch):
    old, names = path.read_bytes(), sorted(path.parent.iterdir())

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_capsule(path, failing(rules.wrong, 2 * X), rules.wrong, (2 * X,), checks=["values"])
    assert path.read_bytes() == old and sorted(path.parent.iterdir()) == names
