"""Labels as pictures can show them: legible, short, never two alike, and how wide they are."""

from collections.abc import Sequence
from functools import lru_cache
from unicodedata import normalize

from tunescope.errors import printable
from tunescope.picture.fonts import font_of, has_sign

# Texts are measured at a size at which rounding to pixels does not count.
_FINE = 8
_POINTS_PER_INCH = 72.0


def legible(text: str) -> str:
    """The text with every character spelled that is unprintable or that no font at hand has a sign for.

    >>> legible("β→Δ ok"), legible("a\\ue000")
    ('β→Δ ok', 'a\\\\ue000')
    """
    safe = printable(text, 10_000)
    if safe.isascii():
        return safe
    return "".join(c if c.isascii() or has_sign(c) else c.encode("unicode_escape").decode() for c in safe)


def title_text(text: str, limit: int = 60) -> str:
    """A title that cannot break the picture: legible, and cut in the middle to `limit`.

    >>> title_text("a-long-name-lr-2e-4", 12)
    'a-long…-2e-4'
    """
    safe = legible(text)
    if len(safe) <= limit:
        return safe
    head = limit // 2
    return f"{safe[:head]}…{safe[len(safe) - (limit - head - 1) :]}"


def names(labels: Sequence[str], limit: int) -> list[str]:
    """Labels cut to `limit`, but never to the same text: where two would be, both stay longer.

    >>> names(["a" * 9 + "x" + "a" * 9, "a" * 9 + "y" + "a" * 9], 8)[0] == "a" * 9 + "x" + "a" * 9
    True
    """
    shown = _told_apart(labels)
    while limit < max(map(len, shown), default=0):
        short = [title_text(text, limit) for text in shown]
        if len(set(short)) == len(set(labels)):
            return short
        limit *= 2
    return [title_text(text, 10_000) for text in shown]


def _told_apart(labels: Sequence[str]) -> list[str]:
    """Each label legible and on one line; where two look alike (`é` of one sign or two), all are spelled."""
    shown = [legible(label).replace("\n", "\\n") for label in labels]
    if len({normalize("NFC", text) for text in shown}) == len(set(labels)):
        return shown
    return [label.encode("unicode_escape").decode() for label in labels]


@lru_cache(4096)
def width_of(text: str, size: float) -> float:
    """Inches that the widest line of a text takes at `size` points."""
    font = font_of(text)
    font.set_size(size, _POINTS_PER_INCH * _FINE)
    widest = 0.0
    for line in text.split("\n"):
        font.set_text(line)
        widest = max(widest, font.get_width_height()[0] / 64)
    return widest / _POINTS_PER_INCH / _FINE


def widest(texts: Sequence[str], size: float) -> float:
    """Inches of the widest of several texts."""
    return max((width_of(text, size) for text in texts), default=0.0)
