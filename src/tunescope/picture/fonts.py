"""Fonts for signs that the house font lacks: one that is on the machine, or none."""

from functools import cache
from pathlib import Path

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, FontProperties, findfont, get_font
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

HOUSE = "DejaVu Sans"
# Families that are asked first, as they are made to stand beside others; then every other, by its name.
_FIRST = (
    "Noto Sans CJK", "Noto Sans", "Source Han Sans", "WenQuanYi", "IPAGothic", "Noto Emoji", "Symbola",
    "FreeSans", "Unifont",
)  # fmt: skip
# Fonts with a sign for everything, which shows nothing.
_BLANK = ("last resort", ".lastresort", "adobe blank", "adobe notdef")


def has_sign(sign: str) -> bool:
    """Whether the house font, or else one on the machine, has a sign for the character."""
    return _in(house(), sign) or fallback(sign) is not None


def families(text: str) -> list[str]:
    """The families that a text needs: the house font, then those of the signs that it lacks."""
    lacking = [entry for sign in dict.fromkeys(text) if not _in(house(), sign) and (entry := fallback(sign))]
    return list(dict.fromkeys([HOUSE, *(entry.name for entry in lacking)]))


def font_of(text: str) -> FT2Font:
    """The font to measure a text with, which goes to others where the house font lacks a sign."""
    others = families(text)[1:]
    if not others:
        return get_font(house())
    return get_font((house(), *(findfont(FontProperties(family=[name])) for name in others)))


def letter(figure: Figure) -> None:
    """Let every text of a figure take from other fonts the signs that the house font lacks."""
    for text in figure.findobj(Text):
        written = text.get_text()
        if not written.isascii() and len(needed := families(written)) > 1:
            text.set_fontfamily(needed)


@cache
def house() -> str:
    """The file of the house font, which matplotlib brings."""
    return findfont(FontProperties(family=[HOUSE]))


@cache
def fallback(sign: str) -> FontEntry | None:
    """The first font on the machine that has a sign for the character; `None` where none has."""
    return next((entry for entry in _others() if _in(entry.fname, sign)), None)


@cache
def _others() -> tuple[FontEntry, ...]:
    """Upright fonts of ordinary weight, one of each family, in the order in which they are asked."""
    found: dict[str, FontEntry] = {}
    for entry in sorted(font_manager.fontManager.ttflist, key=_rank):
        if not entry.name.lower().startswith(_BLANK):
            found.setdefault(entry.name, entry)
    return tuple(found.values())


def _rank(entry: FontEntry) -> tuple[int, bool, int, str, str]:
    place = next((i for i, name in enumerate(_FIRST) if entry.name.startswith(name)), len(_FIRST))
    weight = entry.weight if isinstance(entry.weight, int) else 400
    return place, entry.style != "normal", abs(weight - 400), entry.name, Path(entry.fname).name


def _in(file: str, sign: str) -> bool:
    return ord(sign) in _signs(file)


@cache
def _signs(file: str) -> frozenset[int]:
    """The characters that a font has; none where its signs are pictures or it cannot be read."""
    try:
        font = get_font(file)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError):
        return frozenset()


def forget() -> None:
    """Look for fonts again, as after one was added."""
    fallback.cache_clear()
    _others.cache_clear()
    _signs.cache_clear()
