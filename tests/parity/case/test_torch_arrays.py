import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback.parity.case.torch_arrays import to_numpy, to_torch


@pytest.mark.parametrize(
    ("dtype", "tensor_dtype"),
    [
        (np.float32, torch.float32),
        (np.float64, torch.float64),
        (np.float16, torch.float16),
        (jnp.bfloat16, torch.bfloat16),
    ],
)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 3)])
def test_round_trip_keeps_dtype_and_bits(shape, dtype, tensor_dtype):
    array = np.asarray(np.random.default_rng(0).standard_normal(shape)).astype(dtype)
    tensor = to_torch(array)
    assert tensor.dtype == tensor_dtype and tuple(tensor.shape) == shape
    back = to_numpy(tensor)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array, strict=True)
    np.testing.assert_array_equal(tensor.double().numpy(), array.astype(np.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_that_are_not_contiguous(dtype):
    tensor = torch.arange(24, dtype=torch.float32).reshape(4, 6).to(dtype)
    for view in (tensor.T, tensor[::2, 1::3], tensor[:, 2], tensor.expand(2, 4, 6)):
        np.testing.assert_array_equal(to_numpy(view).astype(np.float64), np.array(view.tolist()))
    np.testing.assert_array_equal(to_numpy(tensor.requires_grad_()).astype(np.float64), np.arange(24.0).reshape(4, 6))


def test_arrays_that_are_not_contiguous_and_memory_of_its_own():
    array = jnp.arange(6.0).reshape(2, 3)
    tensor = to_torch(np.asarray(array).T)
    np.testing.assert_array_equal(to_numpy(tensor), np.asarray(array).T)
    tensor.zero_()
    assert array.sum() == 15, "torch cannot write into what jax holds"


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.bool_])
def test_integers_and_booleans(dtype):
    array = np.array([[0, 1], [1, 0]], dtype)
    back = to_numpy(to_torch(array))
    np.testing.assert_array_equal(back, array, strict=True)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, jnp.bfloat16])
def test_special_values_keep_their_bits(dtype):
    array = np.array([np.nan, np.inf, -np.inf, -0.0, float(jnp.finfo(dtype).smallest_subnormal)], dtype)
    back = to_numpy(to_torch(array))
    assert back.tobytes() == array.tobytes()
