"""benchmarks/rivals.py: every checker is asked, of rules that are right and wrong as they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("chex")
pytest.importorskip("equinox")
pytest.importorskip("optax")

from pullback.benchmarks import catalog, planted, rivals  # noqa: E402

BY_NAME = {one.name: one for one in catalog.entries()}


@pytest.fixture(autouse=True)
def as_its_users_have_it():
    """Other people's functions promote dtypes and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="module")
def tallies() -> dict[str, rivals.Tally]:
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return rivals.measured([BY_NAME["jnp.sin"], BY_NAME["jnp.multiply"]])


def test_every_checker_judges_every_rule(tallies):
    for name, tally in tallies.items():
        functions = 1 if name in rivals.EVERY else 2
        assert tally.right == {rivals.RIGHT: functions}, (name, tally.notes)
        assert tally.caught[1] == functions * len(planted.ERRORS) and len(tally.seconds) == functions
        assert not tally.of_all(rivals.RAISED)


def test_what_they_catch(tallies):
    for name in ("parity.check", 'parity.check, checks=["values"]'):
        caught, of = tallies[name].caught
        assert caught == of
    for name in ("jax.test_util.check_grads", "torch.autograd.gradcheck"):
        assert tallies[name].wrong["cotangent ignored"] == {rivals.WRONG: 2}
        assert tallies[name].wrong["× 1.00001"] == {rivals.RIGHT: 2}


def test_the_page_gets_the_tables_between_its_markers(tallies, root):
    made = rivals.markdown(rivals.rows(tallies))
    page = rivals.written(f"before\n{rivals.BEGIN}\nold\n{rivals.END}\nafter\n", made)
    assert page.startswith("before\n") and page.endswith("\nafter\n") and "old" not in page
    assert "| parity.check | 7 of 7 (100%) | 0 of 1 | 0 / 0 |" in page
    with pytest.raises(ValueError, match="has no markers"):
        rivals.written("a page without", made)
    kept = (root / rivals.PAGE).read_text()
    assert kept.count(rivals.BEGIN) == kept.count(rivals.END) == 1


@pytest.mark.parametrize("error", planted.ERRORS)
def test_an_error_is_the_same_in_jax_and_torch(error):
    one = BY_NAME["jnp.multiply"]
    rule, right = planted.planted(one, error), planted.planted(one, None)
    y_bar = np.linspace(1, 2, 35, dtype=np.float32).reshape(5, 7)

    def in_jax(which: planted.Rule) -> list[np.ndarray]:
        _, pullback = jax.vjp(which.fun, *map(jnp.asarray, which.args))
        return [np.asarray(a) for a in pullback(jnp.asarray(y_bar))]

    def in_torch(which: planted.Rule) -> list[np.ndarray]:
        args = [torch.tensor(a, requires_grad=True) for a in which.args]
        which.in_torch(*args).backward(torch.tensor(y_bar))
        return [a.grad.numpy() for a in args]

    ours, theirs = in_jax(rule), in_torch(rule)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert (ours[0] != in_jax(right)[0]).any() and (theirs[0] != in_torch(right)[0]).any()


def test_functions_are_chosen_from_all_areas():
    few = [one.name for one in planted.chosen(60)]
    assert len(set(few)) == len(few) and 55 <= len(few) <= 65
    for prefix in ("jax.nn.", "jnp.linalg.", "jsp.", "stats.", "optax.losses.", "equinox.nn."):
        assert any(name.startswith(prefix) for name in few), prefix
