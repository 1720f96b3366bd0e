import numpy as np
import pytest

from pullback.parity.hints.attentions import attention_between

Q, K, V = np.random.default_rng(0).standard_normal((3, 2, 4, 6))


def attended(heads=2, scale=3**-0.5, causal=False, width_first=False):
    def split(x):
        if width_first:
            return x.reshape(2, 4, -1, heads).transpose(0, 3, 1, 2)
        return x.reshape(2, 4, heads, -1).transpose(0, 2, 1, 3)

    scores = split(Q) @ split(K).swapaxes(-1, -2) * scale
    scores = np.where(np.tri(4, dtype=bool) | (not causal), scores, -np.inf)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    y = shares / shares.sum(-1, keepdims=True) @ split(V)
    return (y.transpose(0, 2, 3, 1) if width_first else y.transpose(0, 2, 1, 3)).reshape(2, 4, 6)


@pytest.mark.parametrize(("settings", "said"), [
    ({"scale": 1.0}, "scores that are not scaled, where the original has them divided by the root of the width"),
    ({"scale": 6**-0.5}, "scores divided by the root of the whole width"),
    ({"heads": 3, "scale": 2**-0.5}, "3 heads, where the original has 2"),
    ({"causal": True}, "tokens that see no later ones"),
    ({"width_first": True}, "heads that are split along the other axis"),
])  # fmt: skip
def test_what_is_otherwise_is_named(settings, said):
    port, original = attended(**settings), attended()
    for layers in ([Q, K, V], [Q[:, :1], Q, K, V], [np.concatenate([Q, K, V], -1)]):
        assert attention_between(layers, port, original).startswith(f"attention with {said}")


def test_what_is_no_attention_is_not_named():
    assert attention_between([Q, K, V], attended() + 1, attended()) == ""
    assert attention_between([Q, K, V], attended(), attended()) == ""
    assert attention_between([Q, K], attended(causal=True), attended()) == ""
    assert attention_between([Q[0], K[0], V[0]], Q[0], V[0]) == ""
