import equinox
import jax
import numpy as np

from pullback.parity.layers.equinox_parts import batch_norms, parts, statistics


def test_modules_in_fields_lists_and_dicts_have_their_paths():
    key = jax.random.key(0)

    class Net(equinox.Module):
        first: equinox.nn.Linear
        rest: list
        named: dict

    net = Net(equinox.nn.Linear(2, 3, key=key), [equinox.nn.Linear(3, 3, key=key)], {"a": equinox.nn.LayerNorm(3)})
    kinds = {path: type(part).__name__ for path, part in parts(equinox, net, "")}
    assert kinds == {"": "Net", "first": "Linear", "rest.0": "Linear", "named.a": "LayerNorm"}


def test_a_batch_norms_statistics_go_by_torchs_names():
    net, state = equinox.nn.make_with_state(equinox.nn.BatchNorm)(4, "batch", mode="ema")
    assert [path for path, _ in batch_norms(equinox, net)] == [""]
    found = statistics(equinox, net, state)
    assert list(found) == ["running_mean", "running_var"] and np.shape(found["running_mean"]) == (4,)
