import jax
import jax.numpy as jnp
import numpy as np

from pullback.parity.roundoff.bounds import rounding_bounds
from pullback.parity.verdict.comparison import Comparison

X = np.linspace(-3, 3, 50, dtype=np.float32)


def square(x):
    return x**2


def named(y):
    return {"y": np.asarray(y)}


def comparison(**changes):
    parts = {
        "name": "square",
        "args": (X,),
        "implementations": {"ours": jax.jit(square), "theirs": square},
        "twin": square,
        "oracle": lambda x: x.astype(np.float64) ** 2,
        "dtype": np.dtype(np.float32),
        "naming": named,
    }
    return Comparison(**(parts | changes))


def outcome(**changes):
    return comparison(**changes).outcome


def test_who_agrees():
    found = outcome()
    (row,) = found.rows
    assert row.ok and list(row.deviations) == ["ours", "theirs"]
    assert found.oracle_budget is not None and found.oracle_budget <= 1
    assert found.errors == {}


def test_who_does_not():
    (row,) = outcome(implementations={"ours": jax.jit(lambda x: x**2 * 1.00001), "theirs": square}).rows
    assert [row.deviations[who].problem for who in ("ours", "theirs")] == ["outside the bound", None]


def broken(x):
    raise RuntimeError("out of luck\nand more")


def test_whoever_raises_is_reported_beside_the_others():
    it = comparison(implementations={"ours": broken, "other": jax.jit(square), "theirs": square})
    (row,) = it.outcome.rows
    assert row.deviations["ours"].problem == "raised RuntimeError: out of luck"
    assert row.deviations["other"].problem is None and row.deviations["theirs"].problem is None
    assert list(it.got) == ["other", "theirs"] and list(it.raised) == ["ours"]


def test_the_whole_traceback_of_whoever_raises_is_kept():
    ((who, text),) = outcome(implementations={"ours": broken, "theirs": square}).errors.items()
    assert who == "square ours"
    assert text.startswith("Traceback (most recent call last):") and 'raise RuntimeError("out of luck' in text
    assert text.rstrip().endswith("RuntimeError: out of luck\nand more")


def test_a_result_that_cannot_be_named_is_its_implementations_fault():
    def naming(y):
        return {"y": np.asarray(y["y"])}

    (row,) = outcome(
        implementations={"ours": lambda x: [x * x], "theirs": lambda x: {"y": x * x}},
        twin=lambda x: {"y": x * x},
        oracle=lambda x: {"y": x.astype(np.float64) ** 2},
        naming=naming,
    ).rows
    problem = row.deviations["ours"].problem
    assert problem is not None and problem.startswith("raised TypeError: ") and row.deviations["theirs"].problem is None


def test_an_oracle_of_something_else_is_found_out():
    budget = outcome(oracle=lambda x: x.astype(np.float64) ** 2 + 1e-9).oracle_budget
    assert budget is not None and budget > 1


def test_no_second_opinion_where_none_is_asked():
    assert outcome(oracle=lambda x: x.astype(np.float64) ** 2 + 1e-9, second_opinion=False).oracle_budget is None


def test_the_oracles_own_rounding_is_allowed_for():
    # In float64 the oracle is no better than what it judges: an ulp each.
    with jax.enable_x64(True):
        x = X.astype(np.float64) / 3
        wrong_by_an_ulp = jax.jit(lambda x: jnp.nextafter(x**2, jnp.inf))
        found = outcome(args=(x,), implementations={"ours": wrong_by_an_ulp}, oracle=square, dtype=np.dtype(np.float64))
    assert found.rows[0].ok


def test_what_jaxs_device_rounds_off_products_is_no_excuse_for_the_oracle():
    dot = lambda x: jnp.dot(x, x)  # noqa: E731
    for off, agrees in ((0, True), (1e-12, False)):
        found = outcome(
            name="dot",
            implementations={"ours": jax.jit(lambda x: dot(x) * 1.0005)},
            twin=dot,
            oracle=lambda x, off=off: np.dot(x.astype(np.float64), x.astype(np.float64)) * (1 + off),
            product_u=2.0**-10,
        )
        assert found.rows[0].ok and found.oracle_budget is not None and (found.oracle_budget <= 1) is agrees


def test_each_part_is_computed_once(monkeypatch):
    walks, calls = [], []

    def counted(*args, **options):
        walks.append(1)
        return rounding_bounds(*args, **options)

    monkeypatch.setattr("pullback.parity.verdict.comparison.rounding_bounds", counted)
    it = comparison(
        implementations={"ours": lambda x: calls.append("ours") or square(x)},
        oracle=lambda x: calls.append("oracle") or x.astype(np.float64) ** 2,
    )
    assert not walks and not calls, "nothing before it is asked for"
    for _ in range(2):
        _ = it.outcome, it.allowed, it.bounds, it.got, it.want, it.raised
    assert calls == ["ours", "oracle"] and len(walks) == 1


def test_bounds_from_elsewhere():
    given = comparison().bounds
    it = comparison(bounds_from=lambda: given, twin=broken)
    assert it.bounds is given and it.outcome.rows[0].ok


def test_what_rows_call_an_implementation():
    (row,) = outcome(columns={"ours": "x * x"}).rows
    assert list(row.deviations) == ["x * x", "theirs"] and "x * x" in row.values
    (row,) = outcome(implementations={"ours": lambda x: -(x**2)}, columns={"ours": "minus"}).rows
    assert row.diagnosis == {"minus": "the sign is wrong"}
    it = comparison(implementations={"ours": broken, "theirs": square}, columns={"ours": "x * x"})
    assert it.outcome.rows[0].deviations["x * x"].problem == "raised RuntimeError: out of luck"


def test_dtypes_of_leaves_that_have_their_own():
    def both(x):
        return x**2, jnp.argmax(x)

    def naming(y):
        return {"y": np.asarray(y[0]), "at": np.asarray(y[1])}

    found = outcome(
        implementations={"ours": jax.jit(both)},
        twin=both,
        oracle=lambda x: (x.astype(np.float64) ** 2, np.argmax(x)),
        naming=naming,
        dtypes={"at": np.dtype(np.int32)},
    )
    assert [(row.leaf, row.dtype, row.ok) for row in found.rows] == [("y", "float32", True), ("at", "int32", True)]


def test_the_cotangents_axis_is_that_of_a_bar_leaf_only():
    # The first of a stack of cotangents is no row that was dropped.
    def rows(cotangent_axis):
        def wrong(x):
            return {"x_bar": np.stack([x, x])}

        def right(x):
            return {"x_bar": jnp.stack([x, 2 * x])}

        (row,) = outcome(
            implementations={"ours": wrong},
            twin=right,
            oracle=lambda x: {"x_bar": np.stack([x, 2 * x]).astype(np.float64)},
            naming=lambda leaves: {name: np.asarray(leaf) for name, leaf in leaves.items()},
            cotangent_axis=cotangent_axis,
        ).rows
        return row.diagnosis

    assert rows(True) == {"ours": "the same for every cotangent: the rule ignores its incoming cotangent"}
    assert rows(False) != rows(True)


F16 = {"args": (np.array([300, 1], np.float16),), "dtype": np.dtype(np.float16)}


def test_beyond_the_dtypes_range_infinity_is_right_too():
    for got, ok in (([np.inf, 1], True), ([-np.inf, 1], False), ([np.inf, np.inf], False)):
        it = comparison(**F16, implementations={"ours": lambda x, got=got: np.array(got, np.float16)})
        assert it.outcome.rows[0].ok is ok


def test_what_rounding_may_turn_into_nan_is_excused_where_that_is_asked():
    unsafe = comparison(**F16).bounds._replace(unsafe=np.array([True, False]))
    for lenient, verdict in ((True, "not judged"), (False, "FAIL")):
        ours = {"ours": lambda x: np.array([np.nan, 1], np.float16)}
        it = comparison(**F16, implementations=ours, bounds_from=lambda: unsafe, lenient=lenient)
        assert it.rows[0].verdict == verdict


def off_by(factor):
    return jax.jit(lambda x: x**2 * factor)


def test_one_can_be_left_out():
    it = comparison(implementations={"ours": square, "other": off_by(2.0), "theirs": broken})
    assert list(it.rows[0].deviations) == ["ours", "other", "theirs"]
    it.leave_out("other")
    assert list(it.rows[0].deviations) == ["ours", "theirs"] and list(it.got) == ["ours"]
    it.leave_out("theirs")
    assert it.rows[0].ok and not it.raised


def test_one_can_be_given_wider_bounds_and_they_can_be_taken_back():
    it = comparison(implementations={"ours": off_by(1.00001), "theirs": off_by(1.00001)})
    assert it.fails("ours") and it.fails("theirs")
    it.widen("ours", {"y": 1e-4 * it.want["y"]})
    assert not it.fails("ours") and it.fails("theirs")
    it.widen("ours", {"y": 0 * it.want["y"]})
    assert it.fails("ours"), "no bound gets narrower by it, and the last one counts"
    np.testing.assert_array_equal(it.allowed_to("ours")["y"], it.allowed["y"])
    it.widen("ours", {"y": 1e-4 * it.want["y"]})
    it.widen("ours", None)
    assert it.fails("ours") and it.rows[0].deviations["ours"].problem == "outside the bound"


def test_by_how_much_the_maths_differ_is_allowed_to_all():
    it = comparison(implementations={"ours": off_by(1.00001)}, beside={"y": 1e-4 * X.astype(np.float64) ** 2})
    assert it.rows[0].ok
    np.testing.assert_array_equal(it.allowed_to("ours")["y"], it.allowed["y"] + it.beside["y"])


def test_an_implementation_that_raises_fails():
    it = comparison(implementations={"ours": broken, "theirs": square}, columns={"ours": "x * x"})
    assert it.fails("ours") and not it.fails("theirs")


def test_kinks_and_fallbacks_go_along():
    x = np.array([0.1 + 0.2 - 0.3, 1, 2], np.float32)
    relu = lambda x: jnp.maximum(x / 3 - x / 3, x)  # noqa: E731
    it = comparison(args=(x,), implementations={"ours": jax.jit(relu)}, twin=relu, oracle=lambda x: np.maximum(x, 0.0))
    found = it.outcome
    assert (found.gates, found.kinks, found.kink_at, found.fallbacks) == (
        it.bounds.gates,
        it.bounds.kinks,
        it.bounds.kink_at,
        it.bounds.fallbacks,
    )
