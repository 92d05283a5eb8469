"""A page as nested function calls, in which a name can never become markup.

Text is escaped unless it is `Html`, which only markup of the package's own is. Joining pieces by + gives an ordinary
string, which is escaped again: a mistake shows on the page and harms nobody.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from ancestral.text import printable

# what no page can show, or what turns the text around it about
UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
VOID = {"meta", "link", "img", "source", "br"}  # elements without content


class Html(str):
    __slots__ = ()


def element(name: str, *children: str, attributes: Mapping[str, str] | None = None) -> Html:
    """<name attributes>children</name>; children that are not Html, and all attributes, are escaped."""
    opening = "".join(f' {key}="{_escaped(value)}"' for key, value in (attributes or {}).items())
    if name in VOID:
        return Html(f"<{name}{opening}>")
    return Html(f"<{name}{opening}>{joined(children)}</{name}>")


def joined(children: Iterable[str]) -> Html:
    """Children one after another; those that are not Html are escaped."""
    return Html("".join(child if isinstance(child, Html) else _escaped(child) for child in children))


def _escaped(text: str) -> str:
    r"""`text` as it reads; control characters, and bytes of a name that is no UTF-8, as \x1b and \xff."""
    return escape(UNSHOWN.sub(lambda found: printable(found[0]), text))


def styled(name: str, style: str, *children: str) -> Html:
    """<name class=style>children</name>."""
    return element(name, *children, attributes={"class": style})


def data_uri(content: bytes, kind: str) -> str:
    """A file within an attribute; `kind` is its media type."""
    return f"data:{kind};base64,{b64encode(content).decode()}"


def picture(content: bytes, alt: str, size: tuple[int, int], style: str = "", kind: str = "image/png") -> Html:
    """<img> whose place is reserved by its `size`, (width, height) in pixels."""
    width, height = map(str, size)
    attributes = {"src": data_uri(content, kind), "alt": alt, "width": width, "height": height}
    return element("img", attributes={**attributes, **({"class": style} if style else {})})


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> Html:
    """A table that scrolls inside its own box, its caption above; the first cell of a row names it."""
    top = element("tr", *(element("th", cell, attributes={"scope": "col"}) for cell in head))
    body = [
        element("tr", element("th", first, attributes={"scope": "row"}), *(element("td", cell) for cell in rest))
        for first, *rest in rows
    ]
    whole = element("table", element("thead", top), element("tbody", *body))
    box = {"class": "wide", "tabindex": "0", "role": "region", "aria-label": caption}
    return element("figure", element("figcaption", caption), element("div", whole, attributes=box))


def pairs(items: Iterable[tuple[str, str]], style: str) -> Html:
    """A list of names and what they are."""
    return styled("dl", style, *(element("div", element("dt", name), element("dd", what)) for name, what in items))


def section(anchor: str, title: str, *children: str) -> Html:
    """A part of the page that the table of contents can name."""
    return element("section", element("h2", title), *children, attributes={"id": anchor})
