"""The tensor files that make up one source, seen as one mapping, with the config beside them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunescope.delta import Delta, Pending
from tunescope.errors import Notice
from tunescope.source.base_shapes import NamedBase
from tunescope.source.files.container import TensorFile
from tunescope.source.files.ranged import RangedFile
from tunescope.source.files.tensors import LazyTensor, Ledger


@dataclass(frozen=True, eq=False)
class Weights:
    """All tensors of one source; `place` is the file or folder that messages name.

    `config_file` is the `adapter_config.json` beside them where there is one, `config` a config given
    as an object. `listed` is true for tensors that came as a bare list, without names of their own.
    `shapes` holds (d_out, d_in) of the adapted layers where a live model tells them, `base` the
    headers of a base that was named beside the source.
    """

    place: str
    tensors: Mapping[str, LazyTensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    files: tuple[TensorFile, ...] = ()
    notices: tuple[Notice, ...] = ()
    config_file: Path | None = None
    config: Mapping[str, Any] | None = None
    listed: bool = False
    shapes: Mapping[str, tuple[int, int]] | None = None
    base: NamedBase | None = None

    @property
    def ranged(self) -> tuple[RangedFile, ...]:
        """The files of which only ranges are fetched."""
        return tuple(file.snapshot for file in self.files if isinstance(file.snapshot, RangedFile))

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files on this disk."""
        here = (file for file in self.files if not isinstance(file.snapshot, RangedFile))
        return tuple(path for file in here for path in file.paths)


@dataclass(frozen=True)
class Reading:
    """What a format made of the weights: updates, those that need the base, the config that it went by."""

    deltas: list[Delta]
    config: Mapping[str, Any] = field(default_factory=dict)
    pending: list[Pending] = field(default_factory=list)


@dataclass(frozen=True)
class Format:
    """One adapter format: its name, how its tensors are told from others, and how they are read.

    `read` takes the weights, the ledger and the scale that the user gives (`None`: as the file says).
    """

    name: str
    recognises: Callable[[Weights], bool]
    read: Callable[[Weights, Ledger, float | None], Reading]
