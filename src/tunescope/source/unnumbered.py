"""Weights that lie beside numbered checkpoints and number no step: they are no part of the run, and named."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from tunescope.errors import Notice, TunescopeError
from tunescope.source.steps import numbered
from tunescope.source.training_run import Run, has_capture
from tunescope.source.weight_folders import holds_folder_weights, weights_of
from tunescope.words import counted

_NAMED = 4
_FIX = "name the checkpoints one by one, in order, to have"


def beside(run: Run, folder: Path, counted_in: Collection[Path]) -> Run:
    """The run of a folder's numbered checkpoints, with a notice of what else in the folder has weights.

    Steps that its series lacks are not said to be missing where such a name may be one of them.
    """
    if any(not checkpoint.path.is_dir() for checkpoint in run.checkpoints):
        return run
    found = [path.name for path in sorted(folder.iterdir()) if path not in counted_in and _is_left_out(path)]
    names = found + (["the folder itself"] if holds_folder_weights(folder) else [])
    if not names:
        return run
    maybe_steps = any(character.isdigit() for name in found for character in name)
    kept = [n for n in run.notices if not (maybe_steps and n.slug == "steps-missing")]
    return replace(run, notices=(*kept, Notice("last-left-out", _said(names))))


def _is_left_out(path: Path) -> bool:
    if not path.is_dir() or path.name.startswith(".") or numbered(path) is not None or has_capture(path):
        return False
    try:
        return weights_of(path) is not None
    except (OSError, TunescopeError):
        # It is not opened, so that what stands in its way stands in nobody's.
        return True


def _said(names: Collection[str]) -> str:
    shown = ", ".join([*names][:_NAMED])
    more = f" and {counted(len(names) - _NAMED, 'other')}" if len(names) > _NAMED else ""
    if len(names) == 1:
        return f"{shown} has weights and states no step in its name: left out; {_FIX} it"
    return f"{shown}{more} have weights and state no step in their names: left out; {_FIX} them"
