from pullback.parity.layers.trees import flattened, nested


def test_names_and_trees():
    tree = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    assert flattened(tree) == {"a.b": 1, "a.c.d": 2, "e": 3}
    assert nested(flattened(tree)) == tree
