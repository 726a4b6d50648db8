"""The regular expressions of a config, matched in time that hostile ones cannot stretch beyond bounds."""

import math
import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tunescope.errors import BadInput

# Python's matcher tries every way to share a name among repetitions, and every alternative of every group
# with every one of all others: no more ways than these are soon tried.
_WAYS = 1_000_000
_REPEATED = re.compile(r"(?<!\\)(?:[*+]|\{\d*,\d*\})")
_AROUND_GROUP = re.compile(r"(?<!\\)\)(?:[*+]|\{\d*,?\d*\})")
_OPTIONAL = re.compile(r"(?<![\\(*+?}])\?")


@lru_cache(maxsize=4096)
def fits(pattern: str, module: str, key: str = "rank_pattern") -> bool:
    """Whether an entry of `rank_pattern` (or `key`) means this module, by PEFT's rule: whole or after a dot.

    Raises `BadInput` for a pattern that cannot be matched within bounds: one that has look-around or
    back-references, and repetitions beyond the ordinary.

    >>> fits("q_proj", "model.layers.0.q_proj"), fits("q_proj", "model.layers.0.eq_proj")
    (True, False)
    """
    return _matches(rf"(.*\.)?({pattern})$", pattern, module, key)


@lru_cache(maxsize=4096)
def fits_whole(pattern: str, module: str) -> bool:
    r"""Whether a `target_modules` pattern means this module, by PEFT's rule: its whole name.

    >>> fits_whole("q_proj", "layers.0.q_proj"), fits_whole(r".*\.(q|k)_proj", "layers.0.q_proj")
    (False, True)
    """
    return _matches(rf"(?:{pattern})$", pattern, module, "target_modules")


def _matches(expression: str, pattern: str, module: str, key: str) -> bool:
    if not is_soon_done(pattern, module):
        return _matches_without_backtracking(f"^{expression}", pattern, module, key)
    with warnings.catch_warnings():
        # Patterns of other people may be spelled in ways that Python means to forbid one day.
        warnings.simplefilter("ignore", FutureWarning)
        return re.match(expression, module) is not None


def _matches_without_backtracking(expression: str, pattern: str, module: str, key: str) -> bool:
    # Deferred: slow to import, and ordinary patterns do without.
    import polars as pl

    try:
        return bool(pl.Series([module]).str.contains(expression).item())
    except pl.exceptions.ComputeError as error:
        raise _unbounded(pattern, key) from error


def _unbounded(pattern: str, key: str) -> BadInput:
    return BadInput(
        "unbounded-pattern",
        f"a pattern of {key} in the adapter's config may take for ever to match",
        file="adapter_config.json",
        expected="a regular expression without look-around and back-references",
        found=pattern,
        fix="write the pattern without them, such as names joined by |",
    )


def bound_patterns(config: Any, names: Sequence[str]) -> bool:
    """Put names of modules in the place of patterns that PEFT, which has no bounds, would match on them.

    Whether anything of the `PeftConfig` was changed; it means the same modules as before. Raises `BadInput`
    for a pattern that nothing matches within bounds.
    """
    longest = max(names, key=len, default="")
    changed = False
    for key in ("target_modules", "exclude_modules"):
        pattern = getattr(config, key, None)
        if isinstance(pattern, str) and not is_soon_done(pattern, longest):
            setattr(config, key, [name for name in names if fits_whole(pattern, name)])
            changed = True
    for key in ("rank_pattern", "alpha_pattern"):
        patterns = getattr(config, key, None) or {}
        if not all(is_soon_done(pattern, longest) for pattern in patterns):
            first = {name: next((p for p in patterns if fits(p, name, key)), None) for name in names}
            meant = {re.escape(name): patterns[p] for name, p in first.items() if p is not None}
            setattr(config, key, meant)
            changed = True
    for key in ("layers_pattern", "modules_to_save"):
        for pattern in _several(getattr(config, key, None)):
            if not is_soon_done(pattern, longest):
                raise _unbounded(pattern, key)
    return changed


def _several(value: Any) -> Sequence[str]:
    return [value] if isinstance(value, str) else list(value or ())


def is_soon_done(pattern: str, module: str) -> bool:
    """Whether Python's matcher comes to an end soon, whatever it has to try."""
    if _AROUND_GROUP.search(pattern):
        return False
    repetitions, optional = len(_REPEATED.findall(pattern)), len(_OPTIONAL.findall(pattern))
    # Alternatives that are shared out evenly give the most ways.
    groups = pattern.count("(") + 1
    logarithm = (
        repetitions * math.log(len(module) + 1)
        + optional * math.log(2)
        + groups * math.log(pattern.count("|") / groups + 1)
    )
    return logarithm < math.log(_WAYS)
