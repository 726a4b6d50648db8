"""Labels as pictures can show them: legible, short, never two alike, and how wide they are."""

from collections.abc import Sequence
from functools import lru_cache
from unicodedata import normalize

from tunescope.errors import printable
from tunescope.picture.fonts import font_of, has_sign

# Texts are measured at a size at which rounding to pixels does not count.
_FINE = 8
_POINTS_PER_INCH = 72.0
# Longer than this no label grows only to differ from another.
_LONGEST = 80
_JOINING = "·…"


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
    """Labels cut to `limit`, never to the same text: where two would be, all stay longer or are numbered.

    >>> names(["a" * 9 + "x" + "a" * 9, "a" * 9 + "y" + "a" * 9], 8)[0] == "a" * 9 + "x" + "a" * 9
    True
    >>> names(["a" * 99 + "x" + "a" * 99, "a" * 99 + "y" + "a" * 99], 8)
    ['aaaa…aaa (1)', 'aaaa…aaa (2)']
    """
    shown = _told_apart(labels)
    longer = limit
    while longer < max(map(len, shown), default=0):
        short = [title_text(text, longer) for text in shown]
        if len(set(short)) == len(set(labels)):
            return short
        if longer > _LONGEST:
            return _numbered(shown, limit)
        longer *= 2
    return [title_text(text, 10_000) for text in shown]


def _numbered(labels: Sequence[str], limit: int) -> list[str]:
    """Labels cut to `limit`, each with its place among the different ones."""
    places = {label: place for place, label in enumerate(dict.fromkeys(labels), 1)}
    return [f"{title_text(label, limit)} ({places[label]})" for label in labels]


def _told_apart(labels: Sequence[str]) -> list[str]:
    """Each label legible and on one line; those that look alike (`é` of one sign or two) are spelled."""
    shown = [legible(label).replace("\n", "\\n") for label in labels]
    meant: dict[str, set[str]] = {}
    for label, text in zip(labels, shown, strict=True):
        meant.setdefault(normalize("NFC", text), set()).add(label)
    alike = {label for same in meant.values() if len(same) > 1 for label in same}
    apart = [_spelled(label) if label in alike else text for label, text in zip(labels, shown, strict=True)]
    return apart if len(set(apart)) == len(set(labels)) else [_spelled(label) for label in labels]


def _spelled(label: str) -> str:
    """Every sign by its number, but for those that our own titles are joined by."""
    signs = ("\\\\" if c == "\\" else c.encode("unicode_escape").decode() for c in label)
    return "".join(c if c in _JOINING else sign for c, sign in zip(label, signs, strict=True))


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
