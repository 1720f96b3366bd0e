"""Capsules, good ones and bad ones, written without `save_capsule`."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def good_contents() -> dict:
    return {
        "schema": 1,
        "functions": {"rule": "jax.numpy:square", "reference": "pullback.functional:relu"},
        "inputs": {
            "args": {"tuple": [{"array": "array0", "dtype": None}, {"list": [{"value": 2.5}, {"value": None}]}]},
            "kwargs": {"dict": {"how": {"function": "jax.nn:relu"}}},
            "torch_kwargs": {"value": None},
            "cotangents": {"random key": {"array": "array1", "dtype": None}, "impl": "threefry2x32"},
        },
        "options": {"static_argnums": [1], "checks": ["values"], "dtypes": None, "seed": 3, "allow_unjudged": False},
        "here": {"jax": "0.10.2", "matmul precision": None, "x64": False},
        "failed": ["float32 x_bar: rule is wrong"],
    }


GOOD_ARRAYS = {"array0": np.arange(6, dtype=np.float32).reshape(2, 3), "array1": np.zeros(2, np.uint32)}


@pytest.fixture
def write_capsule(tmp_path) -> Callable[..., Path]:
    """`write_capsule(contents, members, compression)`: a file; what is not given is that of a good capsule.

    contents: the JSON, or its text. members: more .npy files by their names in the zip, or others in their place.
    """

    def write(contents=None, members=None, compression=zipfile.ZIP_DEFLATED) -> Path:
        path = tmp_path / "capsule.npz"
        contents = good_contents() if contents is None else contents
        text = contents if isinstance(contents, str) else json.dumps(contents)
        files = {f"{name}.npy": npy(array) for name, array in (GOOD_ARRAYS | {"capsule": np.array(text)}).items()}
        files |= members or {}
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, data in files.items():
                if data is not None:
                    archive.writestr(name, data)
        return path

    return write


@pytest.fixture
def contents() -> dict:
    """The JSON of a good capsule, to be made a bad one."""
    return good_contents()
