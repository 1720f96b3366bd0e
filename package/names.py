"""Names are text: whatever somebody calls a rule, a leaf or a file, it is shown and obeys nobody."""


def printable(text: str, *, keep: str = "") -> str:
    r"""The text with what cannot be printed shown escaped, as Python writes it: `\x1b`, `\n`, `\u202e`.

    Control characters and lone surrogates, but also what turns the direction of writing and what cannot be seen. So a
    name moves no cursor, sets no colour, begins no line and hides nothing. keep: characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)
