from pullback.parity.layers.marks import Place
from pullback.parity.weights.stops import in_words, parameter_of, stops_of

ORDER = [Place(path, role, 0) for path in ("a", "b", "c") for role in ("in", "out")]
BACK = [place._replace(backward=True) for place in reversed(ORDER)]
OF_A, OF_B = Place("a", "kernel", 0, 0, True), Place("b", "kernel", 0, 0, True)
A, B, C = (tuple(BACK[i : i + 2]) for i in (4, 2, 0))  # out, then in


def test_a_stop_after_a_layer_ends_at_the_next_one():
    zeros = [C[1], *B, *A, OF_A, OF_B]
    found = stops_of(zeros, [*BACK, OF_A, OF_B], ORDER, {"b": ["b", "b.kernel"]})
    assert found.intended == [*B, OF_B, C[1]] and found.beyond == [*A, OF_A] and not found.idle


def test_a_second_stop_that_nobody_named_is_not_excused():
    zeros = [C[1], *B, *A, OF_A, OF_B]
    found = stops_of(zeros, [*BACK, OF_A, OF_B], ORDER, {"a": ["a", "a.kernel"]})
    assert found.intended == [*A, OF_A, B[1]] and found.beyond == []


def test_a_stopped_parameter_excuses_nothing_else():
    found = stops_of([OF_B, *A], [*BACK, OF_A, OF_B], ORDER, {"b.kernel": ["b.kernel"]})
    assert found.intended == [OF_B] and found.beyond == []


def test_a_stop_that_stops_nothing_is_idle():
    assert stops_of([], [*BACK, OF_B], ORDER, {"b": ["b", "b.kernel"]}).idle == {"b": B[0]}


def test_the_layers_that_hold_a_stopped_one_hand_it_on():
    order = [Place("n", "in", 0), Place("n.b", "in", 0), Place("n.b", "out", 0), Place("n", "out", 0), *ORDER[4:]]
    back = [place._replace(backward=True) for place in order]
    assert stops_of(back, back, order, {"n.b": ["n.b"]}).intended == back[1:5]


def test_names():
    assert parameter_of(OF_A) == "a.kernel" and parameter_of(Place("", "0.1", 0, 0, True)) == "0.1"
    assert parameter_of(Place("a", "change of bias in step 2", 0, 1)) == "a.bias" and parameter_of(ORDER[0]) == ""
    assert (
        in_words([OF_A, *A, Place("", "out", 0)])
        == "a.kernel, the output of a, the input of a, the output of the model"
    )
