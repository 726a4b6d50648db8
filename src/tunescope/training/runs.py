"""What a sweep gives back: its runs in order, and the folder that `trajectory` takes as a source."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import overload

from tunescope.training.run import Run
from tunescope.words import counted


class Runs(Sequence[Run]):
    """The runs of one sweep; `folder` holds them all.

    `tunescope.trajectory(runs)` follows every one of them, `runs[0].folder` names a single one.
    """

    def __init__(self, folder: Path, runs: Sequence[Run]) -> None:
        self.folder, self._runs = folder, tuple(runs)

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Run]: ...
    def __getitem__(self, index: int | slice) -> Run | Sequence[Run]:
        return self._runs[index]

    def __len__(self) -> int:
        return len(self._runs)

    def __repr__(self) -> str:
        return f"Runs(folder={str(self.folder)!r}, runs={[run.name for run in self]})"

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{escape(run.name)}</li>" for run in self)
        return f"<div><p>{counted(len(self), 'run')} in {escape(str(self.folder))}</p><ul>{items}</ul></div>"
