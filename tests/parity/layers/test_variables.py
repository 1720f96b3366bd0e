import flax.linen as nn
import jax
import numpy as np
import pytest

from pullback.parity.layers.variables import plain, variables_of


def test_new_ones_and_given_ones(nets):
    new = variables_of(nn, nets.Dense(), None, (nets.ROWS,), {})
    assert new["params"]["first"]["kernel"].shape == (6, 8)
    given = variables_of(nn, nets.Dense(), {"params": {"first": {"kernel": nets.ROWS}}}, (), {})
    assert given["params"]["first"]["kernel"] is nets.ROWS


def test_where_a_layer_raises_those_before_it_are_there(nets):
    def raises(x):
        raise RuntimeError("no")

    made = variables_of(nn, nets.Dense(between=raises), None, (nets.ROWS,), {})
    assert set(made["params"]) == {"first"}


def test_parameters_without_their_kind_are_refused(nets):
    params = nets.Dense().init(jax.random.key(0), nets.ROWS)["params"]
    with pytest.raises(ValueError, match=r'no "params", but first, second: give \{"params": params\}'):
        variables_of(nn, nets.Dense(), params, (nets.ROWS,), {})


def test_what_flax_wrapped_is_unwrapped():
    boxed = nn.Partitioned(np.ones(2), names=(None,))
    assert plain({"a": {"b": boxed}})["a"]["b"] is boxed.value
