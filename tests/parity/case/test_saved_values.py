import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.case.leaves import same_bits
from pullback.parity.case.saved_values import CapsuleError, decode, encode, import_by_name, name_of, parts_of


def there_and_back(value):
    arrays: dict[str, np.ndarray] = {}
    node = json.loads(json.dumps(encode(value, "args[0]", arrays)))
    parts = list(parts_of(node))
    assert [name for kind, name in parts if kind == "array"] == list(arrays)
    return decode(node, arrays, {name: import_by_name(name) for kind, name in parts if kind == "function"})


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float64, jnp.bfloat16, jnp.float8_e4m3fn, np.int8, bool, np.complex64]
)
def test_arrays_bit_for_bit(dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    back = there_and_back({"a": [array, (array[0], 2)]})
    assert same_bits(back["a"][0], array) and same_bits(back["a"][1][0], array[0]) and back["a"][1][1] == 2


def test_a_scalar_stays_one():
    back = there_and_back(np.float32(2))
    assert back.shape == () and back.dtype == np.float32


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_random_keys(impl):
    keys = jax.random.split(jax.random.key(7, impl=impl), 3)
    back = there_and_back(keys)
    assert back.dtype == keys.dtype and back.shape == (3,)
    np.testing.assert_array_equal(jax.random.normal(back[1]), jax.random.normal(keys[1]))


@pytest.mark.parametrize("value", [None, True, 3, 0.1, "text", [], (), {}])
def test_plain_values(value):
    back = there_and_back(value)
    assert back == value and type(back) is type(value)


def test_functions_by_their_name():
    assert there_and_back(jnp.sin) is jnp.sin
    assert name_of("rule", "already:named") == "already:named"
    assert import_by_name("jax.numpy:linalg.norm") is jnp.linalg.norm
    with pytest.raises(CapsuleError, match="has no name to import it by: define it at the top of a module"):
        encode(lambda: 0, "args[0]", {})


def test_a_module_that_says_nothing_when_it_fails(tmp_path, monkeypatch):
    (tmp_path / "silent_failure.py").write_text("raise RuntimeError")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="^cannot import silent_failure: RuntimeError$"):
        import_by_name("silent_failure:f")
