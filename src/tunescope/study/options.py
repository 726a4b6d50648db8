"""Options that several commands share, from text to values."""

import math
import re

from tunescope.errors import UsageError, printable


def parse_layers(text: str | None) -> frozenset[int] | None:
    """`0,20-25` as a set of layer indices."""
    if text is None:
        return None
    layers: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,5})(?:-(\d{1,5}))?\s*", part)
        if not found or int(found.group(2) or found.group(1)) < int(found.group(1)):
            raise UsageError(
                "bad-layers", "the layers cannot be read", expected="such as 0,20-25", found=text
            )
        layers |= set(range(int(found.group(1)), int(found.group(2) or found.group(1)) + 1))
    return frozenset(layers)


def parse_words(text: str | None) -> tuple[str, ...] | None:
    """`q_proj,mlp` as words."""
    if text is None:
        return None
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise UsageError("bad-modules", "no module is named", expected="such as q_proj,mlp", found=repr(text))
    return words


def parse_scales(texts: tuple[str, ...]) -> dict[str, float]:
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
                "bad-scale", "--scale cannot be read", expected="LABEL=number", found=printable(text)
            )
        scales[label] = value
    return scales
