import numpy as np
import pytest
import torch

from pullback.parity.layers.marks import Place
from pullback.parity.layers.original import Original

X = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


def ones(ys):
    return [np.ones(y.shape, np.float32) for y in ys]


def test_values_and_cotangents_of_each_layer_are_kept(nets):
    net = nets.linear_layers()
    recording = Original(net).run([nets.ROWS], {}, ones)
    double = net.double()
    x = torch.from_numpy(nets.ROWS.astype(np.float64)).requires_grad_()
    h = double[0](x)
    h.retain_grad()
    double[2](torch.relu(h)).sum().backward()
    np.testing.assert_array_equal(recording.values[Place("0", "out", 0)], h.detach().numpy())
    np.testing.assert_array_equal(recording.values[Place("0", "out", 0, backward=True)], h.grad.numpy())
    np.testing.assert_array_equal(recording.grads["2.weight"], double[2].weight.grad.numpy())
    assert recording.order == [("0", 0), ("1", 0), ("2", 0), ("", 0)]


def test_the_users_module_is_let_be(nets):
    net = nets.linear_layers()
    Original(net).run([nets.ROWS], {}, ones)
    assert net[0].weight.dtype == torch.float32 and net[0].weight.grad is None


def test_dropout_is_off_and_nothing_is_written_in_place():
    net = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.ReLU(inplace=True)).train()
    recording = Original(net).run([X], {}, None)
    np.testing.assert_array_equal(recording.values[Place("", "out", 0)], np.maximum(X.astype(np.float64), 0))
    np.testing.assert_array_equal(recording.values[Place("1", "in", 0)], X.astype(np.float64))


def test_statistics_before_and_after_a_run_in_train_mode():
    net = torch.nn.BatchNorm1d(3)
    original = Original(net)
    for _ in range(2):  # a run leaves no trace
        recording = original.run([X], {}, ones)
        np.testing.assert_array_equal(original.state["running_mean"], 0)
        np.testing.assert_allclose(recording.values[Place("", "updated running mean", 0)], 0.1 * X.mean(0), rtol=1e-6)
        variance = 0.9 + 0.1 * X.var(0, ddof=1)
        np.testing.assert_allclose(recording.values[Place("", "updated running variance", 0)], variance, rtol=1e-6)
    recording = Original(net.eval()).run([X], {}, ones)
    assert Place("", "updated running mean", 0) not in recording.values


def test_an_eps_that_depends_on_the_dtype_is_that_of_the_modules_own():
    small = X * np.float32(1e-4)
    recording = Original(torch.nn.RMSNorm(3)).run([small], {}, None)
    square = (small.astype(np.float64) ** 2).mean(1, keepdims=True)
    np.testing.assert_allclose(
        recording.values[Place("", "out", 0)], small / np.sqrt(square + np.finfo(np.float32).eps), rtol=1e-12
    )


def test_a_shared_parameter_has_both_names():
    net = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 3), "b": torch.nn.Linear(3, 3)})
    net["b"].weight = net["a"].weight
    assert Original(net).shared_with({"a.weight"}) == {"a.weight", "b.weight"}
    assert Original(net).shared_with({"a.bias"}) == {"a.bias"}


class Dicts(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = torch.nn.Linear(3, 2)

    def forward(self, x):
        return {"b": (self.lin(x), None), "a": x.argmax(1)}


def test_outputs_in_dicts_come_in_the_order_of_their_names_as_in_jax():
    recording = Original(Dicts()).run([X], {}, ones)
    assert [recording.values[Place("", "out", i)].dtype.kind for i in (0, 1)] == ["i", "f"]
    assert set(recording.grads) == {"lin.weight", "lin.bias"}


def test_what_is_no_module_is_an_error():
    with pytest.raises(TypeError, match=r"original must be a torch\.nn\.Module; got function"):
        Original(ones)
