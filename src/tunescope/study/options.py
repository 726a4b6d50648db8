"""Options that several commands share, from text to values."""

import math
from typing import Any

from tunescope.errors import UsageError, printable


def parse_words(text: str | None) -> tuple[str, ...] | None:
    """`q_proj,mlp` as words."""
    if text is None:
        return None
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise UsageError("bad-modules", "no module is named", expected="such as q_proj,mlp", found=repr(text))
    return words


def word_tuple(words: Any, what: str) -> tuple[str, ...]:
    """`"a,b"` or words as a tuple of words, each once; at least one.

    >>> word_tuple("taylor, curvature", "method")
    ('taylor', 'curvature')
    """
    given = words.split(",") if isinstance(words, str) else [str(word) for word in words]
    found = tuple(dict.fromkeys(word.strip() for word in given if word.strip()))
    if not found:
        raise UsageError(f"unknown-{what}", f"no {what} is named", expected=f"at least one {what}")
    return found


def parse_scales(texts: tuple[str, ...], option: str = "--scale") -> dict[str, float]:
    """`LABEL=X` options as a mapping; X must be a finite number."""
    scales = {}
    for text in texts:
        label, sign, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not sign or not label or not math.isfinite(value):
            raise UsageError(
                "bad-scale", f"{option} cannot be read", expected="LABEL=number", found=printable(text)
            )
        scales[label] = value
    return scales


def parse_formats(text: str) -> tuple[str, ...]:
    """`png,svg` as formats of pictures; `none` is no picture at all."""
    if text.strip() == "none":
        return ()
    known = ("png", "svg", "pdf")
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words or not set(words) <= set(known):
        raise UsageError(
            "bad-figures",
            "--figures cannot be read",
            expected="png, svg, pdf, several with commas, or none",
            found=printable(text),
        )
    return words
