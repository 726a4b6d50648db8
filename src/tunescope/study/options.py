"""Options that several commands share, from text to values."""

import math
from collections.abc import Sequence

from tunescope.errors import UsageError, printable
from tunescope.study.finding import NOTICED
from tunescope.words import nearest, word_tuple


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


# Where colour scales begin and end.
LIMITS = ("zero", "largest", "data")


def check_limits(limits: str) -> None:
    """Refuse a word that no colour scale begins at."""
    if limits not in LIMITS:
        raise UsageError(
            "bad-limits", "there are no such limits", expected=" or ".join(LIMITS), found=printable(limits)
        )


def parse_formats(text: str) -> tuple[str, ...]:
    """`png,svg` as formats of pictures; `all` asks for every picture, `none` for no picture at all."""
    if text.strip() == "none":
        return ()
    known = ("png", "svg", "pdf", "all")
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words or not set(words) <= set(known):
        raise UsageError(
            "bad-figures",
            "--figures cannot be read",
            expected="png, svg, pdf, all, several with commas, or none",
            found=printable(text),
            fix="write for example --figures png,svg, or --figures none",
        )
    return words


def parse_kinds(text: str, raised: Sequence[str]) -> tuple[str, ...]:
    """`seam,diverged` as kinds of findings: those that a command raises itself, and those of notices.

    A notice is a finding whose kind has `_` where its slug has `-`; both spellings are taken.
    """
    known = {*raised, *NOTICED}
    words = tuple(word.replace("-", "_") for word in word_tuple(text, "unknown-kind", "kind of finding"))
    for word in words:
        if word not in known:
            near = nearest(word, known)
            raise UsageError(
                "unknown-kind",
                f"this command has no finding of the kind {printable(word)!r}",
                expected=", ".join(sorted(raised)),
                found=printable(word),
                fix=None if near is None else f"did you mean {near}?",
            )
    return words
