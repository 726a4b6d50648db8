"""Alpha and r that litgpt writes beside its weights, in `hyperparameters.yaml` [litgpt: utils.py]."""

import re
from dataclasses import dataclass
from pathlib import Path

from tunescope.errors import BadInput
from tunescope.paths import exists
from tunescope.source.files.disk import take_snapshot
from tunescope.source.weights import Weights

NAME = "hyperparameters.yaml"
# What it states stands on lines of its own, outside every mapping; the rest of the file is not looked at.
_LINE = re.compile(rb"^lora_(?P<key>r|alpha):[ \t]*(?P<value>[^\s#]+)[ \t]*(?:#.*)?\r?$", re.MULTILINE)
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Stated:
    """Alpha and r that a run of litgpt was given."""

    alpha: float
    rank: int


def settings_beside(weights: Weights, name: str) -> tuple[Path, bytes] | None:
    """The file of that name beside the weights and how it begins; `None` where there is none."""
    path = weights.files[0].path.parent / name if weights.files else None
    if path is None or not exists(path):
        return None
    snapshot = take_snapshot(path)
    return path, snapshot.read(0, min(snapshot.size, _LARGEST)).tobytes()


def stated(weights: Weights) -> Stated | None:
    """The settings beside the weights; `None` where no such file, or none of both, is there.

    Raises `BadInput` where one of them is no number that can be used.
    """
    beside = settings_beside(weights, NAME)
    if beside is None:
        return None
    path, text = beside
    found = {line["key"].decode(): line["value"].decode("utf-8", "replace") for line in _LINE.finditer(text)}
    if set(found) != {"r", "alpha"}:
        return None
    try:
        settings = Stated(float(found["alpha"]), int(found["r"]))
    except ValueError:
        settings = Stated(float("nan"), 0)
    if settings.rank < 1 or settings.alpha - settings.alpha != 0:
        raise BadInput(
            "config-value",
            "lora_alpha or lora_r has a value that cannot be used",
            file=path,
            expected="a finite alpha and a whole r above 0",
            found=f"lora_alpha {found['alpha']}, lora_r {found['r']}",
            fix="write both as numbers in the file",
        )
    return settings
