"""The regular expressions of a config, matched in time that hostile ones cannot stretch beyond bounds."""

import re
import warnings
from functools import lru_cache

from tunescope.errors import BadInput

# Python's matcher tries every way to share a name among its repetitions: with this few of them, none
# around a group, on names of this length, that is soon done.
_LONGEST = 200
_REPETITIONS = 2
_REPEATED = re.compile(r"(?<!\\)(?:[*+]|\{\d*,\d*\})")
_AROUND_GROUP = re.compile(r"(?<!\\)\)(?:[*+]|\{\d*,?\d*\})")


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
    if not _is_soon_done(pattern, module):
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
        raise BadInput(
            "unbounded-pattern",
            f"a pattern of {key} in the adapter's config may take for ever to match",
            file="adapter_config.json",
            expected="a regular expression without look-around and back-references",
            found=pattern,
            fix="write the pattern without them, such as names joined by |",
        ) from error


def _is_soon_done(pattern: str, module: str) -> bool:
    few = len(_REPEATED.findall(pattern)) <= _REPETITIONS and not _AROUND_GROUP.search(pattern)
    return few and len(module) <= _LONGEST
