import jax.numpy as jnp
import numpy as np

from pullback.parity.verdict.evaluation import Check, run_check

X = np.linspace(-3, 3, 50, dtype=np.float32)


def square(x):
    return x**2


def check(**changes):
    parts = {
        "name": "square",
        "args": (X,),
        "jax": {"ours": square},
        "torch": {"theirs": square},
        "twin": square,
        "oracle": lambda x: x.astype(np.float64) ** 2,
        "leaves": lambda y: {"y": np.asarray(y)},
    }
    return run_check(Check(**(parts | changes)), np.dtype(np.float32))


def test_who_agrees():
    outcome = check()
    (row,) = outcome.rows
    assert row.ok and list(row.deviations) == ["ours", "theirs"]
    assert outcome.oracle_budget is not None and outcome.oracle_budget <= 1


def test_who_does_not():
    (row,) = check(jax={"ours": lambda x: x**2 * 1.00001}).rows
    assert [row.deviations[who].problem for who in ("ours", "theirs")] == ["outside the bound", None]


def test_whoever_raises_is_reported_beside_the_others():
    def broken(x):
        raise RuntimeError("out of luck\nand more")

    (row,) = check(jax={"ours": broken, "other": square}).rows
    assert row.deviations["ours"].problem == "raised RuntimeError: out of luck"
    assert row.deviations["other"].problem is None and row.deviations["theirs"].problem is None


def test_an_oracle_of_something_else_is_found_out():
    budget = check(oracle=lambda x: x.astype(np.float64) ** 2 + 1e-9).oracle_budget
    assert budget is not None and budget > 1


def test_the_oracles_own_rounding_is_allowed_for():
    # In float64 the oracle is no better than what it judges: an ulp each.
    import jax

    with jax.enable_x64(True):
        x = X.astype(np.float64) / 3
        wrong_by_an_ulp = lambda x: jnp.nextafter(x**2, jnp.inf)  # noqa: E731
        leaves = lambda y: {"y": np.asarray(y)}  # noqa: E731
        check = Check("square", (x,), {"ours": wrong_by_an_ulp}, {}, square, square, leaves)
        outcome = run_check(check, np.dtype(np.float64))
    assert outcome.rows[0].ok


def test_what_jaxs_device_rounds_off_products_is_no_excuse_for_the_oracle():
    parts = {"name": "dot", "args": (X,), "torch": {}, "leaves": lambda y: {"y": np.asarray(y)}}
    dot = lambda x: jnp.dot(x, x)  # noqa: E731
    for off, agrees in ((0, True), (1e-12, False)):
        oracle = lambda x, off=off: np.dot(x.astype(np.float64), x.astype(np.float64)) * (1 + off)  # noqa: E731
        check = Check(jax={"ours": lambda x: dot(x) * 1.0005}, twin=dot, oracle=oracle, **parts)
        outcome = run_check(check, np.dtype(np.float32), 2.0**-10)
        assert outcome.rows[0].ok and outcome.oracle_budget is not None and (outcome.oracle_budget <= 1) is agrees
