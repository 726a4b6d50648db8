"""An opened source: its updates, its coverage ledger, and where it came from."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunescope.delta import Delta, Pending
from tunescope.errors import Notice
from tunescope.source.files.ranged import RangedFile
from tunescope.source.files.tensors import Entry, LazyTensor

if TYPE_CHECKING:
    # Tables pull in polars, which opening an adapter does not need.
    from tunescope.table import Table


@dataclass(frozen=True, eq=False)
class Source:
    """What one SOURCE argument turned into.

    `published` is a table of norms that were computed elsewhere (a `weight_norms*.csv`), in which case
    there are no deltas; it is drawn and compared but never recomputed. `incomparable` are weights of which
    there is no ΔW, each with a status that says why; `base` is the model that deltas are measured against.
    `pending` are updates that exist only beside the base, empty once it is there.
    `tensors` are all that the source holds, used or not; `files` are those on this disk, `ranged` those of
    which only ranges were fetched.
    `verify_unchanged()` refuses files that changed since they were opened; call it once everything has been
    read.
    """

    label: str
    location: str
    format: str
    deltas: tuple[Delta, ...]
    coverage: tuple[Entry, ...]
    notices: tuple[Notice, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    ranged: tuple[RangedFile, ...] = ()
    published: "Table | None" = None
    verify_unchanged: Callable[[], None] = lambda: None
    incomparable: tuple[Delta, ...] = ()
    pending: tuple[Pending, ...] = ()
    base: "Source | None" = None
    tensors: Mapping[str, LazyTensor] = field(default_factory=dict)

    @property
    def live(self) -> bool:
        """Whether it came from an object in memory, and has no place of its own."""
        return not self.files and not self.ranged and self.published is None

    @property
    def step(self) -> int | None:
        """The optimizer step that the location names (`checkpoint-900`), where it is a run's checkpoint."""
        found = re.findall(r"(?:^|/)checkpoint-(\d{1,12})(?=/|$)", self.location.replace("\\", "/"))
        return int(found[-1]) if found else None
