"""The adapters that a training run, or a whole sweep of runs, ended with."""

from collections.abc import Iterator
from pathlib import Path

from tunescope.paths import is_folder
from tunescope.source.locate import CONFIG, adapter_names
from tunescope.source.spec import distinct_labels
from tunescope.source.training_run import has_capture

# Where a run of `finetune` keeps what it ended with.
_ADAPTER = "adapter"
# A sweep's runs lie at domain/learning rate/seed; no more folders than these are looked into.
_DEPTH, _MOST = 3, 4096


def run_adapters(folder: Path) -> list[Path]:
    """The `adapter/` folders of the run, or of the sweep, that a folder is; empty for any other folder."""
    return list(_below(folder, _DEPTH, [_MOST]))


def _below(folder: Path, depth: int, left: list[int]) -> Iterator[Path]:
    left[0] -= 1
    try:
        children = sorted(folder.iterdir()) if folder.is_dir() and left[0] > 0 else []
    except OSError:
        # Whoever opens the folder says what stands in the way.
        return
    files = adapter_names(child.name for child in children if not is_folder(child))
    if any(name != CONFIG for name in files):
        return
    if _is_run(folder):
        if (folder / _ADAPTER).is_dir():
            yield folder / _ADAPTER
    elif depth:
        for child in children:
            if not child.name.startswith(".") and is_folder(child):
                yield from _below(child, depth - 1, left)


def _is_run(folder: Path) -> bool:
    return (folder / "run.json").is_file() or has_capture(folder)


def run_labels(adapters: list[Path], name: str, label: str | None) -> list[str]:
    """Labels of the adapters that runs ended with; those of a sweep bear what differs of their paths."""
    if len(adapters) == 1:
        return [label or name]
    parts = distinct_labels([path.parts for path in adapters])
    return [f"{label}/{part}" if label else part for part in parts]
