from types import SimpleNamespace

import numpy as np

from pullback.parity.layers.marks import Place
from pullback.parity.layers.recording import Recording
from pullback.parity.weights.alignment import Alignment

X = np.arange(24.0).reshape(2, 3, 4)


def alignment(values, ours=1, kind="linear", framework="flax linen"):
    leaves = [place for place in values if not place.backward]
    recording = Recording(values)
    recording.leaves = lambda path, role, call: [p for p in leaves if p.role == role]  # pyright: ignore
    called = SimpleNamespace(kind=kind, inputs=[None] * ours, outputs=[None] * ours)
    return Alignment(framework, SimpleNamespace(pairs={"a": "b"}, layers={"a": called}, kinds={"a": kind}), recording)  # pyright: ignore


def test_the_layout_is_found_forward_and_kept_for_the_way_back():
    align = alignment({Place("b", "out", 0): X, Place("b", "out", 0, 0, True): 2 * X})
    assert align.known(Place("a", "out", 0)) is None
    np.testing.assert_array_equal(align.found(Place("a", "out", 0), np.moveaxis(X, 1, -1)), np.moveaxis(X, 1, -1))
    np.testing.assert_array_equal(align.known(Place("a", "out", 0, 0, True)), 2 * np.moveaxis(X, 1, -1))


def test_what_has_no_pair_or_another_shape_is_none():
    align = alignment({Place("b", "out", 0): X})
    assert align.found(Place("c", "out", 0), X) is None
    assert align.found(Place("a", "out", 0), X[:1]) is None
    assert align.found(Place("a", "in", 0), X) is None


def test_one_array_against_several_is_compared_forward_only():
    values = {Place("b", "in", 0): X, Place("b", "in", 0, 0, True): X}
    align = alignment(values, ours=2)
    assert align.found(Place("a", "in", 1), X) is not None
    assert align.found(Place("a", "in", 1, 0, True), X) is None


def test_ids_of_an_embedding_are_aligned_and_other_whole_numbers_are_not():
    ids = np.array([[1, 2], [0, 3]])
    ours = ids.astype(np.int32)
    for kind in ("embedding", ""):
        align = alignment({Place("b", "in", 0): ids}, kind=kind)
        found = align.found(Place("a", "in", 0), ours + 1)
        if kind:
            assert found is not None and found.dtype == np.int32
            np.testing.assert_array_equal(found, ids)
            known = align.known(Place("a", "in", 0))
            assert known is not None and known.dtype == np.int32
        else:
            assert found is None


def test_the_state_of_a_cell_comes_first_in_flax():
    values = {Place("b", "in", 0): X, Place("b", "in", 1): -X}
    for framework, want in (("flax nnx", -X), ("equinox", X)):
        align = alignment(values, ours=2, kind="gru cell", framework=framework)
        np.testing.assert_array_equal(align.found(Place("a", "in", 0), want), want)
