"""Text stays text, whatever it says."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ancestral.report.html import Html, element, joined, pairs, table

LETTERS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf"]))


class Seen(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(LETTERS, LETTERS)
def test_any_text_reads_back_as_text_and_any_attribute_as_that_attribute(text: str, value: str) -> None:
    seen = Seen(element("p", text, attributes={"alt": value}))
    assert (seen.tags, seen.text, seen.attributes) == (["p"], text, [{"alt": value}])


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</p><b>", "&lt;b&gt;"]
)
def test_hostile_names_make_no_element_anywhere(hostile: str) -> None:
    page = joined([table([hostile], [[hostile, hostile]], hostile), pairs([(hostile, hostile)], hostile), hostile])
    known = {"figure", "figcaption", "div", "table", "thead", "tbody", "tr", "th", "td", "dl", "dt", "dd"}
    seen = Seen(page)
    assert set(seen.tags) == known
    assert all("onerror" not in attributes for attributes in seen.attributes)
    assert seen.text.count(hostile) == 7


def test_markup_joined_by_hand_is_escaped_rather_than_trusted() -> None:
    assert Seen(element("p", Html("<b>") + "name")).tags == ["p"]
    assert Seen(element("p", element("b", "name"))).tags == ["p", "b"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("bad\udcff", r"bad\xff"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\x00\x9b", r"a\x00\x9b"),
        ("\u202egnp", r"\u202egnp"),
    ],
)
def test_what_no_page_can_show_is_escaped(name: str, shown: str) -> None:
    """Bytes that are no UTF-8, what moves a terminal's cursor, what turns the text around it about."""
    assert element("p", name, attributes={"alt": name}).encode() == f'<p alt="{shown}">{shown}</p>'.encode()


def test_lines_stay_lines() -> None:
    assert element("pre", "a\n\tb") == "<pre>a\n\tb</pre>"
