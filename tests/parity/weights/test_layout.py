import numpy as np
import pytest

from pullback.parity.weights.layout import Layout, as_the_original_has_it, fitting, permutations

X = np.arange(24.0).reshape(2, 3, 4)


def test_the_values_decide_between_layouts_of_one_shape():
    square = np.arange(27.0).reshape(3, 3, 3)
    for axes in permutations(3):
        assert fitting(square, square.transpose(axes)) == Layout(axes)
    # Where they do not tell, the layout that was found elsewhere counts, and else none is moved.
    assert fitting(square, square + 5) == Layout((0, 1, 2))
    assert fitting(square, square + 5, [Layout((0, 2, 1))]) == Layout((0, 2, 1))


def test_channels_last_and_a_sequence_first():
    assert fitting(X, np.zeros((2, 4, 3))) == Layout((0, 2, 1))
    assert fitting(X, np.zeros((3, 2, 4))) == Layout((1, 0, 2))
    assert fitting(X, np.zeros((4, 3, 2))) is None


def test_axes_may_be_split_or_joined():
    layout = fitting(X, X.reshape(2, 12))
    assert layout is not None
    np.testing.assert_array_equal(layout.of(X), X.reshape(2, 12))
    moved = X.transpose(0, 2, 1).reshape(2, 2, 6)[:, None]
    layout = fitting(X, moved)
    assert layout is not None
    np.testing.assert_array_equal(layout.of(X), moved)
    assert fitting(X, np.zeros((2, 13))) is None


@pytest.mark.parametrize(("shape", "moved"), [((2, 5, 5, 3), True), ((2, 3, 5, 5), False), ((2, 3, 5, 3), False)])
def test_an_input_gets_its_channels_second(shape, moved):
    x = np.zeros(shape)
    want = (2, 3, 5, 5) if moved else shape
    assert as_the_original_has_it(x, 3).shape == want
    assert as_the_original_has_it(x, None) is x
