"""The README is run, as it stands."""

import os
import re
import subprocess
import sys


def test_its_code_runs(root, tmp_path):
    text = (root / "README.md").read_text()
    call, fast, check, in_a_test, learn = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    closer = "np.testing.assert_allclose(w1_bar, grads[0][0], rtol=1e-5, atol=1e-6)"
    script = tmp_path / "readme.py"
    script.write_text("\n".join(["import numpy as np", call, learn, closer, fast, check, in_a_test]))
    # On the sample, as on a machine with no network.
    env = os.environ | {"PULLBACK_DATA_DIR": str(tmp_path), "HTTPS_PROXY": "http://127.0.0.1:9"}
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, env=env, timeout=600)
    assert result.returncode == 0, result.stderr
    # What the README shows of the failure is what is printed (the figures at one element depend on the machine).
    shown = re.findall(r"^FAIL: .*$|^  1\. .*?\. (?=At )", text, re.MULTILINE)
    assert len(shown) == 2
    for line in shown:
        assert line in result.stdout
