from pullback.parity.report.grid import Column, Grid, Line

NAMES = Column("name", ["a", "a longer one"])
FIGURES = Column("of\nbound", ["1", "100"], right=True)
WORDS = Column("found", ["short", "six words that need some room"], least=10)


def shown(grid, width):
    return [line.text for line in grid.lines(width)]


def test_all_in_one_line_where_there_is_room():
    grid = Grid([NAMES, FIGURES, WORDS], ["", "bold red"])
    assert grid.width == 12 + 1 + 5 + 1 + 29
    assert list(grid.lines(grid.width)) == [
        Line("                of", "bold"),
        Line("name         bound found", "bold"),
        Line("a                1 short", ""),
        Line("a longer one   100 six words that need some room", "bold red"),
    ]
    assert shown(grid, 1000) == shown(grid, grid.width)


def test_a_cell_is_broken_where_there_is_none():
    grid = Grid([NAMES, WORDS], ["", ""], gap=2)
    assert shown(grid, 30) == [
        "name          found",
        "a             short",
        "a longer one  six words that",
        "              need some room",
    ]


def test_the_left_column_gives_way_first_and_none_beyond_its_least():
    grid = Grid([Column("of", ["one two three four"], least=8), WORDS.__class__("found", ["x" * 25], least=10)], [""])
    assert shown(grid, 8 + 1 + 25) == ["of       found", "one two  " + "x" * 25, "three", "four"]
    lines = shown(grid, 5)
    assert lines[0] == "of       found" and lines[1] == "one two  " + "x" * 10


def test_a_word_that_is_longer_than_its_column_is_broken_and_a_hyphen_is_no_place_to_break():
    grid = Grid([Column("t", ["JAX_NUM=2 grad-of-grad abcdefghijklm"], least=12)], [""])
    assert shown(grid, 12) == ["t", "JAX_NUM=2", "grad-of-grad", "abcdefghijkl", "m"]


def test_columns_that_are_left_out():
    grid = Grid([NAMES, FIGURES, Column("custom\n_vjp", ["3", "4"], name="custom_vjp")], ["", ""])
    assert [column.plain_title for column in grid.columns] == ["name", "of bound", "custom_vjp"]
    assert shown(grid.without(["of bound", "custom_vjp"]), 80) == ["name", "a", "a longer one"]


def test_no_rows():
    assert shown(Grid([Column("a"), Column("b")], []), 80) == ["a b"]
