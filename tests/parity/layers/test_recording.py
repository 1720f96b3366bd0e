import numpy as np
import torch

from pullback.parity.layers.marks import Place
from pullback.parity.layers.original import Original
from pullback.parity.layers.recording import Recording

X = torch.arange(6.0, dtype=torch.float64).reshape(2, 3)
BAR, OUT = np.full((2, 3), 2.0), Place("a", "out", 0)
FIRST, SECOND = Place("a", "out", 0), Place("b", "in", 0)


def test_the_same_numbers_are_kept_once():
    recording = Recording()
    recording.keep(FIRST, X)
    recording.keep(SECOND, X.clone())
    assert recording.values[FIRST] is recording.values[SECOND]


def test_what_is_kept_stays_when_torch_writes_over_it():
    recording, x = Recording(), X.clone()
    recording.keep(FIRST, x)
    x += 1
    recording.keep(SECOND, x)
    np.testing.assert_array_equal(recording.values[FIRST], X.numpy())
    np.testing.assert_array_equal(recording.values[SECOND], X.numpy() + 1)


def test_a_layers_output_and_the_next_ones_input_share_their_memory(nets):
    recording = Original(nets.linear_layers()).run([nets.ROWS], {}, lambda ys: [np.ones(y.shape) for y in ys])
    for backward in (False, True):
        end, beginning = Place("0", "out", 0, 0, backward), Place("1", "in", 0, 0, backward)
        assert recording.values[end] is recording.values[beginning]


def test_the_places_of_a_call_are_in_order():
    places = [OUT, Place("a", "out", 1), Place("a", "out", 0, 1)]
    recording = Recording(dict.fromkeys(reversed(places), X.numpy()))
    assert recording.leaves("a", "out", 0) == places[:2] and recording.leaves("a", "in", 0) == []


def test_a_cotangent_that_did_not_come_is_0_where_torch_differentiates():
    back = OUT._replace(backward=True)
    assert Recording({OUT: X.numpy()}).cotangent(back) is None
    np.testing.assert_array_equal(Recording({OUT: X.numpy()}, {OUT}).cotangent(back), np.zeros((2, 3)))
    np.testing.assert_array_equal(Recording({OUT: X.numpy(), back: BAR}, {OUT}).cotangent(back), BAR)
