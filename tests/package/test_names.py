import pytest

from pullback.names import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x_bar", "x_bar"),
        ("", ""),
        ("größe → 重み × 2", "größe → 重み × 2"),
        ("[/red]<b>$x^$&'\"\\", "[/red]<b>$x^$&'\"\\"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\nb\rc\td\x00e\x7f", r"a\nb\rc\td\x00e\x7f"),
        ("\x9b2J", r"\x9b2J"),
        ("\u202eevil\u2066", r"\u202eevil\u2066"),
        ("no\u200bthing\ufeff\xa0\xad", r"no\u200bthing\ufeff\xa0\xad"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_cannot_be_printed_is_shown_as_python_writes_it(text, shown):
    assert printable(text) == shown and shown.isprintable()


def test_what_is_to_be_kept_is_kept():
    assert printable("one\n\ttwo\x1b\n", keep="\n\t") == "one\n\ttwo\\x1b\n"
