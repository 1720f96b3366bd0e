import pytest

from pullback.parity.layers.selection import chosen, fits, listed

NAMES = ["embed.embedding", "b0.attn.query.kernel", "b0.attn.query.bias", "b1.norm.scale", "b10.norm.scale"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("embed.embedding", [0]),
        ("embed", [0]),
        ("emb", []),
        ("**.query", [1, 2]),
        ("**.kernel", [1]),
        ("*.kernel", []),
        ("b?.norm", [3]),
        ("b*.norm", [3, 4]),
        ("b0.**.bias", [2]),
        ("**", [0, 1, 2, 3, 4]),
        ("b0.attn.query.bias.**", [2]),
        ("b[01].*", [1, 2, 3]),
        ("query", []),
        ("", []),
    ],
)
def test_a_pattern_fits_a_name_and_what_lies_under_it(pattern, found):
    assert [i for i, name in enumerate(NAMES) if fits(pattern, name)] == found


def test_one_pattern_or_several():
    assert chosen("frozen", "embed", NAMES) == {"embed": NAMES[:1]}
    assert chosen("frozen", ("embed", "b1"), NAMES) == {"embed": NAMES[:1], "b1": NAMES[3:4]}
    assert chosen("frozen", (), NAMES) == {}


def test_what_fits_nothing_is_an_error_that_lists_what_there_is():
    with pytest.raises(
        ValueError, match=r"frozen has 'emb', which fits nothing in the port; there are embed\.embedding"
    ):
        chosen("frozen", ["embed", "emb"], NAMES)
    with pytest.raises(ValueError, match=r"n11 and 3 more$"):
        chosen("frozen", ["x"], [f"n{i}" for i in range(15)])


def test_a_long_list_is_cut():
    assert listed(["x", "x", "y", "z"], 2) == "x, y and 1 more" and listed([]) == ""
