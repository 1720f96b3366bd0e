import numpy as np

from pullback.parity.lesson import in_torch


def whole(seed, *shape):
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float32)


PARAMS = [(whole(0, 5, 4), whole(1, 4)), (whole(2, 4, 3), whole(3, 3)), (whole(4, 3, 1), whole(5, 1))]
X, TARG = whole(6, 8, 5), whole(7, 8)


def test_three_ways_in_torch_are_one():
    results = [net(PARAMS, X, TARG) for net in (in_torch.net_autograd, in_torch.net_by_hand, in_torch.net_module)]
    for result in results:
        assert [(w.shape, b.shape) for w, b in result.grads] == [(w.shape, b.shape) for w, b in PARAMS]
        for got, want in zip(flat(result), flat(results[0]), strict=True):
            np.testing.assert_array_equal(got, want, strict=True)  # whole numbers, 8 rows: exact
    assert np.any(results[0].x_bar)


def flat(result):
    return [result.output, result.loss, result.x_bar, *(leaf for layer in result.grads for leaf in layer)]


def test_a_batch_of_one():
    assert in_torch.net_module(PARAMS, X[:1], TARG[:1]).output.shape == (1, 1)


def test_ops():
    bar = whole(8, 8, 4)
    for run in (in_torch.op_autograd(in_torch.lin), in_torch.lin_by_hand, in_torch.lin_module):
        y, x_bar, w_bar, b_bar = run((X, *PARAMS[0]), bar)
        np.testing.assert_array_equal(y, X @ PARAMS[0][0] + PARAMS[0][1])
        np.testing.assert_array_equal(x_bar, bar @ PARAMS[0][0].T)
        np.testing.assert_array_equal(w_bar, X.T @ bar)
        np.testing.assert_array_equal(b_bar, bar.sum(0))


def test_the_lessons_gradients_take_a_cotangent():
    once, thrice = (in_torch.mse_by_hand((X, X[::-1]), np.float32(c)) for c in (1, 3))
    assert np.any(once[1])
    for bar, bar3 in zip(once[1:], thrice[1:], strict=True):
        np.testing.assert_allclose(bar3, 3 * bar, rtol=1e-6)


def test_the_oracle_is_float64():
    result = in_torch.in_double(in_torch.net_autograd)(PARAMS, X, TARG)
    assert all(leaf.dtype == np.float64 for leaf in flat(result))
