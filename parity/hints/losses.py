"""What a wrong loss looks like: another mean, or labels that are smoothed otherwise."""

import numpy as np

CLOSE = 1e-6


def loss_like(logits: np.ndarray, gradient: np.ndarray | None, port: float, original: float) -> str:
    """What the port's cross-entropy does otherwise; "" where that is not known.

    logits: what both losses were given, torch's axes. gradient: that of the original's loss by them, which tells the
    labels: softmax(logits) less the labels, over the number of rows. Rows whose gradient is 0 are ignored.
    """
    if gradient is None or logits.ndim < 2 or not original:
        return ""
    rows, slopes = (np.moveaxis(x, 1, -1).reshape(-1, x.shape[1]) for x in (logits, gradient))
    if not slopes.any() or np.max(np.abs(slopes.sum(-1))) > 1e-9 * np.max(np.abs(slopes)):
        return ""
    counted = slopes.any(-1)
    log_p = rows - rows.max(-1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(-1, keepdims=True))
    if hint := _of_a_mean(port / original, len(rows), int(counted.sum()), rows.shape[1]):
        return hint
    hardest = slopes.argmin(-1)[counted]
    sharp, even = -log_p[counted][np.arange(len(hardest)), hardest], -log_p[counted].mean(-1)
    theirs, ours = (_smoothing(loss, sharp, even) for loss in (original, port))
    if theirs is None or ours is None or ours == theirs:
        return ""
    return f"label_smoothing={ours:g}, where the original has {theirs:g}"


def _of_a_mean(factor: float, rows: int, counted: int, classes: int) -> str:
    """Over what the port takes the mean, where that is all that differs."""
    means = {
        counted / rows: f"the mean over all {rows} rows, where the original leaves out those of ignore_index",
        float(counted): "the sum, where the original takes the mean",
        1 / counted: "the mean, where the original takes the sum",
        1 / classes: "the mean over the classes too",
    }
    near = (said for known, said in means.items() if known != 1 and abs(factor / known - 1) < CLOSE)
    return next(near, "")


def _smoothing(loss: float, sharp: np.ndarray, even: np.ndarray) -> float | None:
    """The share of the even distribution that gives this mean, if it has three digits or fewer."""
    share = float((loss - sharp.mean()) / (even.mean() - sharp.mean()))
    return round(share, 3) + 0.0 if abs(share - round(share, 3)) < CLOSE and -CLOSE < share < 1 else None
