"""Labels as pictures can show them: legible, short, never two alike, and how wide they are."""

from collections.abc import Collection, Sequence
from functools import lru_cache
from unicodedata import normalize

from tunescope.errors import printable
from tunescope.picture.fonts import font_of, has_sign

# Texts are measured at a size at which rounding to pixels does not count.
_FINE = 8
_POINTS_PER_INCH = 72.0
# Signs on both sides of a difference that a cut label keeps.
_CONTEXT = 2
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
    """Labels cut to `limit`, never to the same text: those that would be keep what tells them apart.

    >>> names(["llama-70b-chat-dpo-seed-0-lr-1e-4", "llama-70b-chat-sft-seed-0-lr-1e-4"], 16)
    ['lla…t-dpo-s…1e-4', 'lla…t-sft-s…1e-4']

    Where that is too long as well, all are numbered.
    """
    shown = _told_apart(labels)
    short = [title_text(text, limit) for text in shown]
    alike: dict[str, set[str]] = {}
    for text, cut in zip(shown, short, strict=True):
        alike.setdefault(cut, set()).add(text)
    apart = [
        cut if len(alike[cut]) == 1 else _differing(text, alike[cut], limit)
        for text, cut in zip(shown, short, strict=True)
    ]
    return apart if len(set(apart)) == len(set(labels)) else _numbered(shown, limit)


def _differing(text: str, alike: Collection[str], limit: int) -> str:
    """The text cut to `limit` around the part in which it differs from those that begin and end like it."""
    begin = _common(alike)
    least = min(map(len, alike)) - begin
    end = min(_common([other[::-1] for other in alike]), least)
    # With some signs of what is common on both sides, as far as there is room.
    spare = limit - 6 - (len(text) - begin - end)
    begin, end = (max(length - max(min(_CONTEXT, spare // 2), 1), 0) for length in (begin, end))
    stop = len(text) - end
    middle = title_text(text[begin:stop], limit - 4)
    left = limit - len(middle) - 2
    tail = min(-(-left // 2), end)
    head = min(left - tail, begin)
    lead = text[:begin] if begin <= head + 1 else f"{text[:head]}…"
    rest = text[stop:] if end <= tail + 1 else f"…{text[len(text) - tail :]}"
    return f"{lead}{middle}{rest}"


def _common(texts: Collection[str]) -> int:
    """How many signs all texts begin with."""
    first, last = min(texts), max(texts)
    return next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))


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
