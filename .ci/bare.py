"""Run where pullback is installed with no extra: jax, numpy and scipy are all there is, and a check works."""

import importlib.util
import sys

import jax
import jax.numpy as jnp

import pullback

for name in ("torch", "rich", "typer", "matplotlib", "requests"):
    assert importlib.util.find_spec(name) is None, f"{name} came along"
assert pullback.__version__ and pullback.functional.lin and pullback.data.get_data


@jax.custom_vjp
def square(x):
    return x * x


square.defvjp(lambda x: (x * x, x), lambda x, y_bar: (y_bar * x,))  # the 2 is missing

report = pullback.parity.check(square, jnp.arange(4.0), reference=lambda x: x * x)
said = " ".join(str(report).split())  # at any width
assert report.exit_code == 1 and "half of what it should be" in said, report
assert "<pre" in report._repr_html_() and report.to_dict()["mistakes"]
ok = pullback.parity.check(pullback.functional.relu, jnp.arange(4.0) - 1.5, reference=lambda x: jnp.where(x > 0, x, 0))
assert ok.exit_code == 0, ok
print(f"pullback {pullback.__version__}, bare: {str(report).splitlines()[-1]}")
try:
    pullback.parity.check_mnist(source="sample")
except ImportError as error:
    assert "pip install 'pullback[parity]'" in str(error), error
else:
    sys.exit("check_mnist needs torch, and did not say so")
