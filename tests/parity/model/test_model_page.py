from html.parser import HTMLParser

from pullback import parity


def test_the_page_stands_alone_and_is_well_formed(nets):
    report = parity.check_model(nets.Dense(between=lambda x: 2.5 * x), nets.linear_layers(), (nets.ROWS,))
    page = report.to_html()
    opened = []

    class Balanced(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta",):
                opened.append(tag)

        def handle_endtag(self, tag):
            assert opened.pop() == tag

    Balanced().feed(page)
    assert not opened and "http" not in page
    assert (
        "First divergence" in page and page.count('class="fail"') >= 2 and page.count("<tr>") == 1 + len(report.order)
    )
    assert page == report.to_html()


def test_names_are_text(nets):
    import flax.linen as nn

    class Odd(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3, name="<b>")(nn.relu(nn.Dense(8, name="[red]\x1b")(x)))

    report = parity.check_model(Odd(), nets.linear_layers(), (nets.ROWS,), grads=False)
    assert "&lt;b&gt;" in report.to_html() and "<b>" not in report.to_html()
    assert "&lt;b&gt;" in report._repr_html_() and "[red]" in str(report)
    assert "\x1b" not in str(report) and "\\x1b" in str(report)
    assert "\x1b" not in report.to_html()
