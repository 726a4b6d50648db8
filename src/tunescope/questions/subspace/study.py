"""`tunescope.subspace`: every pair of models compared in direction, against chance, as one study."""

import math
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tunescope.errors import UsageError
from tunescope.linalg.device import resolve
from tunescope.questions.subspace import amplification as amplify
from tunescope.questions.subspace import columns, measure
from tunescope.questions.subspace.amplification import AgainstBase
from tunescope.questions.subspace.directions import MATRICES, SIDES, Selection
from tunescope.questions.subspace.findings import subspace_findings, with_every_number
from tunescope.questions.subspace.kinds import THRESHOLDS
from tunescope.questions.subspace.question import QUESTION
from tunescope.questions.subspace.sight import rank_with_room
from tunescope.questions.subspace.sources import (
    check_comparable,
    source_findings,
    stored_transposed,
    with_directions,
)
from tunescope.questions.subspace.summary import subspace_readout
from tunescope.source import digest
from tunescope.source.against import difference_opener
from tunescope.source.checkpoint import BaseCheckpoint, open_checkpoint
from tunescope.source.files.ranged import RangedFile
from tunescope.source.ledger import coverage, provenance
from tunescope.source.open import open_sources
from tunescope.source.opened import Source
from tunescope.source.selection import chosen_sources, spelled_sources
from tunescope.study.progress import Tell, silent
from tunescope.study.study import Study, asked
from tunescope.table import Schema, Table, described

# Rows of φ that are held before they go to disk.
_HELD_ROWS = 400_000


def subspace(
    *sources: Any,
    layers: Any = None,
    modules: Any = None,
    scale: Mapping[str, float] | None = None,
    of: Sequence[str] = tuple(MATRICES),
    sides: Sequence[str] = SIDES,
    max_rank: int | None = None,
    against_self: bool = False,
    base: str | None = None,
    ranks: Sequence[int] = (),
    intruders: int = 10,
    epsilon: float = 0.5,
    vmax: float | None = None,
    device: str = "cpu",
    hash_all: bool = False,
    tell: Tell = silent,
) -> Study:
    """Compare the directions in which two or more models change each weight, against chance.

    `sources` are what `norms` takes, with a `base` whole models as well: the 64 leading directions of each
    change, beside adapters only of their weights. `study.table` has one row per pair and ΔW: overlap
    ‖UᵀU'‖²_F/min(r, r') of the spans, in [0, 1], on both sides with chance and z, cosine, principal angles in
    degrees, shared dimensions. `study.tables["subspace"]` has one row for each pair, ΔW, `of`, side, i and
    j: φ(i, j) [Hu et al. 2021, eq. 4]. A `base` adds amplification (also at `ranks`) and `intruders` leading
    vectors of best cosine below `epsilon`. Raises as `open_source`, and `BadInput` where no weight is common.
    """
    arguments = asked(locals())
    check_numbers(vmax, epsilon, ranks, base)
    wanted = Selection(tuple(of), tuple(sides), max_rank, resolve(device))
    wanted.wanted()
    opener = difference_opener(base) if base else open_sources
    opened = with_directions(chosen_sources(sources, scale, layers, modules, opener))
    arguments["sources"] = spelled_sources(sources, opened)
    check_comparable(opened, against_self)
    held = open_checkpoint(base) if base else None
    options = AgainstBase(tuple(ranks), intruders, epsilon)
    tables = _compared(opened, wanted, against_self, held, options, tell)
    document = _document(opened, tables, held)
    return Study(QUESTION, tables, document, arguments, _provenance(opened, held, hash_all))


def check_numbers(vmax: float | None, epsilon: float, ranks: Sequence[int], base: str | None) -> None:
    """Refuse numbers that cannot be, and options of the base without one."""
    if vmax is not None and not (0 < vmax <= 1 and math.isfinite(vmax)):
        raise UsageError("bad-vmax", "vmax is out of range", expected="0 < vmax <= 1", found=vmax)
    if not 0 < epsilon < 1:
        raise UsageError("bad-epsilon", "epsilon is out of range", expected="0 < epsilon < 1", found=epsilon)
    if ranks and not base:
        raise UsageError(
            "no-base", "the ranks belong to the amplification table", fix="give the base with --base"
        )


class _Scratch:
    """A folder for what does not fit in memory, removed with the last reference to it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="tunescope-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


class _Grids:
    """Takes φ grids as they come; only a part of them is in memory."""

    def __init__(self) -> None:
        self._scratch: _Scratch | None = None
        self._files: list[Path] = []
        self._held: list[pl.DataFrame] = []
        self._rows = 0

    def add(self, frame: pl.DataFrame) -> None:
        """Take one module's grids."""
        self._held.append(frame)
        self._rows += frame.height
        if self._rows >= _HELD_ROWS:
            self._spill()

    def _spill(self) -> None:
        self._scratch = self._scratch or _Scratch()
        path = self._scratch.path / f"{len(self._files):06d}.parquet"
        pl.concat(self._held).write_parquet(path, compression="lz4")
        self._files.append(path)
        self._held, self._rows = [], 0

    def table(self) -> Table:
        """Everything taken, in the order it was taken."""
        meta = {"columns": described(columns.GRID)}
        if not self._files:
            frame = pl.concat(self._held) if self._held else pl.DataFrame(schema=measure.GRID_SCHEMA)
            return Table(frame, "subspace", meta)
        if self._held:
            self._spill()
        return Table(pl.scan_parquet(self._files), "subspace", meta, keep=self._scratch)


def _compared(
    opened: Sequence[Source],
    wanted: Selection,
    against_self: bool,
    base: BaseCheckpoint | None,
    options: AgainstBase,
    tell: Tell,
) -> dict[str, Table]:
    """All tables: the pairs, their grids, the ledger, and what the base adds."""
    if base is not None:
        deltas = [delta for source in opened for delta in source.deltas]
        base = base.fitted(deltas)
        base.check(deltas, stored_transposed(opened))
    models = [(source.label, source.deltas) for source in opened]
    grids = _Grids()
    rows: list[dict[str, Any]] = []
    count = len(opened) * (len(opened) - 1) // 2 + (len(opened) if against_self else 0)
    total = count * max(len(source.deltas) for source in opened)
    for found in measure.compare(models, wanted, against_self):
        tell("comparing", len(rows), max(total, len(rows) + 1))
        rows.append(found.row)
        grids.add(found.grids)
    tables = {
        "subspace_summary": _table(rows, "subspace_summary", columns.SUMMARY),
        "subspace": grids.table(),
        "coverage": coverage(opened),
    }
    if base is not None:
        tables |= _against_base(models, opened, base, options, tell)
    for source in opened:
        source.verify_unchanged()
    return tables


def _table(rows: Sequence[Mapping[str, Any]], kind: str, schema: Schema) -> Table:
    types = {name: column.dtype for name, column in schema.items()}
    return Table(pl.DataFrame(rows, schema=types), kind, {"columns": described(schema)})


def _against_base(
    models: Sequence[tuple[str, Any]],
    sources: Sequence[Source],
    base: BaseCheckpoint,
    options: AgainstBase,
    tell: Tell,
) -> dict[str, Table]:
    transposed = stored_transposed(sources)
    along: list[dict[str, Any]] = []
    strangers: list[dict[str, Any]] = []
    total = len({delta.address for _, deltas in models for delta in deltas})
    found = amplify.against_base(models, lambda d: base.weight(d, transposed), options)
    for done, (rows, more) in enumerate(found, 1):
        tell("comparing with the base", done, total)
        along += rows
        strangers += more
    base.verify_unchanged()
    return {
        "amplification": _table(along, "amplification", columns.AMPLIFICATION),
        "intruders": _table(strangers, "intruders", columns.INTRUDERS),
    }


def _document(
    opened: Sequence[Source], tables: Mapping[str, Table], base: BaseCheckpoint | None
) -> dict[str, Any]:
    summary = tables["subspace_summary"].frame
    findings = subspace_findings(summary) + with_every_number(source_findings(opened, base))
    frames = [tables[name].frame if name in tables else None for name in ("amplification", "intruders")]
    document = subspace_readout(summary, findings, THRESHOLDS, *frames)
    whole = {source.label for source in opened if any(delta.rank is None for delta in source.deltas)}
    room = rank_with_room(summary, whole) if whole else None
    return document | {"models": [source.label for source in opened], "room": room}


def _provenance(
    opened: Sequence[Source], base: BaseCheckpoint | None, hash_all: bool
) -> list[dict[str, Any]]:
    found = provenance(opened, hash_all)
    if base is not None:
        ranged = [file.snapshot for file in base.files if isinstance(file.snapshot, RangedFile)]
        local = [f for f in base.files if not isinstance(f.snapshot, RangedFile)]
        paths = list(dict.fromkeys(path for file in local for path in file.paths))
        found.append(
            digest.provenance("base", base.location, "checkpoint", paths, hash_all=hash_all, ranged=ranged)
        )
    return found
