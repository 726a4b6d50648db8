"""HTML in which every text is escaped: elements made of names, attributes and children."""

import re
from html import escape
from typing import Any

from tunescope.errors import printable

# Longer names are shown with their middle left out, and whole in a tooltip.
LONGEST = 48
_VOID = frozenset({"input", "br", "meta"})


class Markup(str):
    """Text that is HTML already; every other text is escaped when it becomes part of an element."""


def element(name: str, *children: Any, **attributes: Any) -> Markup:
    """`<name attributes>children</name>`; `class_` is class, `data_x` data-x, `None` leaves one out.

    >>> element("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    pairs = [(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items()]
    said = "".join(
        f" {key}" if value is True else f' {key}="{escape(safe(str(value)))}"'
        for key, value in pairs
        if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{said}>")
    inside = "".join(child if isinstance(child, Markup) else escape(safe(str(child))) for child in children)
    return Markup(f"<{name}{said}>{inside}</{name}>")


def joined(*parts: str) -> Markup:
    """Several pieces of markup as one."""
    return Markup("".join(parts))


def safe(text: str) -> str:
    """The text with control and direction signs spelled out, so that it shows as what it is.

    >>> safe("a\\u202eb")
    'a\\\\u202eb'
    """
    return printable(text, 20_000)


def minus(text: str) -> str:
    """A sentence whose negative numbers have a minus, as those of the figures do.

    >>> minus("from -0.09 to 2e-4 in seed-1")
    'from −0.09 to 2e-4 in seed-1'
    """
    return re.sub(r"(?<![\w.)\]-])-(?=\d)", "−", text)


def shortened(text: str, longest: int = LONGEST) -> str:
    """The text, its middle left out where it is longer; both ends tell names apart.

    >>> shortened("abcdefghij", 7)
    'abc…hij'
    """
    text = re.sub(r"\s+", " ", safe(text))
    if len(text) <= longest:
        return text
    half = (longest - 1) // 2
    return f"{text[: longest - 1 - half]}…{text[-half:]}"


def name(label: str, longest: int = LONGEST) -> Markup:
    """A name that may be of any script or length, kept apart from the text around it."""
    short = shortened(label, longest)
    return element("bdi", short, title=None if short == label else shortened(label, 1000))
