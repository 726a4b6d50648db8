"""What an attribution is asked about: data sets by name, and a refusal of what is not there."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunescope.corpus.reading import SUFFIXES, check_local
from tunescope.errors import Missing, UsageError
from tunescope.lm.place import check_named
from tunescope.paths import local_path
from tunescope.source.spec import default_label, parse_hub_id, parse_spec


def data_sets(data: Any) -> dict[str, Any]:
    """The data of a call by name: a mapping as it is, else `[NAME=]FILE` texts or one set of batches."""
    if isinstance(data, Mapping):
        return {str(name): value for name, value in data.items()}
    if isinstance(data, str | Path):
        return dict(labelled_data([str(data)]))
    listed = list(data)
    if listed and all(isinstance(value, str | Path) for value in listed):
        return dict(labelled_data([str(value) for value in listed]))
    return {"data": listed}


def labelled_data(specs: Sequence[str]) -> dict[str, str]:
    """`[NAME=]FILE` arguments by name; `UsageError` for a name given twice.

    >>> labelled_data(["maths=sums.jsonl", "runs/code.jsonl"])
    {'maths': 'sums.jsonl', 'code': 'runs/code.jsonl'}
    """
    found: dict[str, str] = {}
    for spec in specs:
        said, place = parse_spec(spec)
        label = said or _data_label(place)
        if label in found:
            text = f"two data sets are called {label!r}"
            raise UsageError("duplicate-label", text, fix="name them: --data NAME=FILE")
        found[label] = place
    if not found:
        raise UsageError("no-data", "no data set is named", expected="--data FILE")
    return found


def _data_label(place: str) -> str:
    """A file's name without what says its format; the last part of a hub id."""
    name = default_label(place)
    while (stem := name.removesuffix(".gz")) != name or stem.lower().endswith(SUFFIXES):
        name = stem.rpartition(".")[0] if stem == name else stem
    return name


def check_there(tuned: str, base: Any, data: Iterable[str]) -> None:
    """Refuse what is missing or unreadable before a large base is loaded; ids on the hub wait."""
    if isinstance(base, str | Path):
        check_named(base, "attribution")
    if not os.path.lexists(local_path(tuned)) and parse_hub_id(tuned) is None:
        raise Missing(
            "not-found",
            "there is no such file or folder",
            file=tuned,
            found="nothing at this path; it looks local, so this was not a hub lookup",
            fix="check the path; a hub model or adapter is written org/name[@revision][:folder]",
        )
    for place in data:
        check_local(place)
