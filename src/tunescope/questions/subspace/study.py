"""The study of `tunescope subspace`: every pair of models measured, and everything written."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tunescope.address import Address
from tunescope.questions.subspace import amplification as amplify
from tunescope.questions.subspace import intruders, measure
from tunescope.questions.subspace import views as view
from tunescope.questions.subspace.amplification import AgainstBase
from tunescope.questions.subspace.directions import Selection
from tunescope.questions.subspace.findings import subspace_findings
from tunescope.questions.subspace.kinds import THRESHOLDS
from tunescope.questions.subspace.sources import check_comparable, source_findings, stored_transposed
from tunescope.questions.subspace.summary import subspace_readout
from tunescope.source.checkpoint import BaseCheckpoint
from tunescope.source.opened import Source
from tunescope.table import Table

# Rows of φ that are held before they go to disk.
_HELD_ROWS = 400_000
UNITS = {
    "phi": "‖U_iᵀU'_j‖²_F / min(i, j), in [0, 1]",
    "phi_chance": "mean of φ for random subspaces, max(i, j)/d",
    "z": "(φ − chance) / its deviation for random subspaces; null where that is 0",
    "unique": "false where singular values tie at i or j, so that φ depends on a choice",
    "dimensions_shared": "the larger of the two sides' counts of principal directions above chance",
    "delta_cosine": "⟨ΔW, ΔW'⟩/(‖ΔW‖_F‖ΔW'‖_F), in [-1, 1]",
    "norm_a": "‖ΔW‖_F; ‖BA‖_F where neither scale is known, null where one is not",
    "excess_leading": "excess of φ(k, k), k the dimensions shared on the output (else the input) side",
}
PanelKey = tuple[str, str, str, str]


class GridSink:
    """Takes φ grids as they come and writes them as one Parquet file, so that only a part is in memory."""

    def __init__(self, parts: Path) -> None:
        self.parts, self.files = parts, 0
        self._held: list[pl.DataFrame] = []
        self._rows = 0

    def add(self, frame: pl.DataFrame) -> None:
        """Take one module's grids."""
        self._held.append(frame)
        self._rows += frame.height
        if self._rows >= _HELD_ROWS:
            self._spill()

    def _spill(self) -> None:
        self.parts.mkdir(exist_ok=True)
        pl.concat(self._held).write_parquet(self.parts / f"{self.files:06d}.parquet", compression="lz4")
        self.files, self._held, self._rows = self.files + 1, [], 0

    def finish(self, path: Path, meta: Mapping[str, Any]) -> None:
        """Write everything taken to `path`, in the order it was taken."""
        if not self.files:
            frame = pl.concat(self._held) if self._held else pl.DataFrame(schema=measure.GRID_SCHEMA)
            Table(frame, "subspace", meta).write_parquet(path)
            return
        if self._held:
            self._spill()
        files = [self.parts / f"{k:06d}.parquet" for k in range(self.files)]
        Table(pl.scan_parquet(files), "subspace", meta).write_parquet(path)
        for file in files:
            file.unlink()
        self.parts.rmdir()


@dataclass(frozen=True, eq=False)
class SubspaceStudy:
    """What was measured; `panels` holds the φ grids of the figures, by pair, matrix and side."""

    sources: tuple[Source, ...]
    summary: Table
    document: Mapping[str, Any]
    panels: Mapping[PanelKey, Mapping[Address, np.ndarray[Any, Any]]]
    shown: Sequence[Address]
    note: str
    amplification: Table | None = None
    intruders: Table | None = None

    @property
    def labels(self) -> list[str]:
        """The models, in the order they were given."""
        return [source.label for source in self.sources]


@dataclass(frozen=True, slots=True)
class Settings:
    """What is compared and shown: see `tunescope subspace --help`."""

    selection: Selection = field(default_factory=Selection)
    against_self: bool = False
    all_layers: bool = False
    all_modules: bool = False
    base: AgainstBase = field(default_factory=AgainstBase)


def subspace_study(
    sources: Sequence[Source],
    settings: Settings,
    sink: GridSink | None = None,
    base: BaseCheckpoint | None = None,
) -> SubspaceStudy:
    """Measure every pair of opened sources; φ grids go to `sink`, those of the figures are also kept.

    Raises `BadInput` where two sources have no weight in common.
    """
    check_comparable(sources, settings.against_self)
    if base is not None:
        deltas = [delta for source in sources for delta in source.deltas]
        base = base.fitted(deltas)
        base.check(deltas, stored_transposed(sources))
    models = [(source.label, source.deltas) for source in sources]
    shown, partly = _shown(sources, settings)
    rows, panels = _compare(models, settings, set(shown), sink)
    summary = Table(pl.DataFrame(rows, schema=measure.SUMMARY_SCHEMA), "subspace_summary", meta_of(sources))
    findings = subspace_findings(summary.frame, THRESHOLDS) + source_findings(sources, base)
    tables = _against_base(models, sources, base, settings.base) if base is not None else (None, None)
    for source in sources:
        source.verify_unchanged()
    frames = [None if table is None else table.frame for table in tables]
    document = subspace_readout(summary.frame, findings, THRESHOLDS, *frames)
    notes = ["layers counted from 1"] if any(a.layer is not None for a in shown) else []
    notes += ["a choice of weights, subspace.parquet holds all"] if partly else []
    return SubspaceStudy(tuple(sources), summary, document, panels, shown, "; ".join(notes), *tables)


def meta_of(sources: Sequence[Source]) -> dict[str, Any]:
    """Units, thresholds and where the sources lie, for a table's own metadata."""
    return {
        "units": UNITS,
        "thresholds": dict(THRESHOLDS),
        "sources": {s.label: {"location": s.location, "format": s.format} for s in sources},
    }


def _shown(sources: Sequence[Source], settings: Settings) -> tuple[list[Address], bool]:
    common = [d.address for d in sources[0].deltas]
    for source in sources[1:]:
        theirs = {d.address for d in source.deltas}
        common = [address for address in common if address in theirs] or common
    return view.panels_shown(common, settings.all_layers, settings.all_modules)


def _compare(
    models: Sequence[tuple[str, Any]], settings: Settings, shown: set[Address], sink: GridSink | None
) -> tuple[list[dict[str, Any]], dict[PanelKey, dict[Address, np.ndarray[Any, Any]]]]:
    rows: list[dict[str, Any]] = []
    panels: dict[PanelKey, dict[Address, np.ndarray[Any, Any]]] = {}
    for found in measure.compare(models, settings.selection, settings.against_self):
        rows.append(found.row)
        if sink is not None:
            sink.add(found.grids)
        row = found.row
        address = Address(row["stack"], row["layer"], row["module_type"], row["expert"])
        if sink is not None and address in shown:
            for part in found.grids.partition_by("of", "side", maintain_order=True):
                key = (row["model_a"], row["model_b"], part["of"][0], part["side"][0])
                shape = (int(part["i"][-1]), int(part["j"][-1]))
                panels.setdefault(key, {})[address] = part["phi"].to_numpy().reshape(shape)
    return rows, panels


def _against_base(
    models: Sequence[tuple[str, Any]], sources: Sequence[Source], base: BaseCheckpoint, options: AgainstBase
) -> tuple[Table, Table]:
    transposed = stored_transposed(sources)
    along: list[dict[str, Any]] = []
    strangers: list[dict[str, Any]] = []
    for rows, more in amplify.against_base(models, lambda d: base.weight(d, transposed), options):
        along += rows
        strangers += more
    base.verify_unchanged()
    meta = {"base": base.location, "notices": [str(notice) for notice in base.notices]}
    return (
        Table(pl.DataFrame(along, schema=amplify.SCHEMA), "amplification", meta | {"units": amplify.UNITS}),
        Table(
            pl.DataFrame(strangers, schema=intruders.SCHEMA), "intruders", meta | {"units": intruders.UNITS}
        ),
    )


def square_tables(summary: pl.DataFrame, labels: Sequence[str]) -> Iterable[tuple[str, pl.DataFrame]]:
    """Models by models: the overall matrix of each side in clustered order, and all layers in long form."""
    from tunescope.table import square

    long: list[dict[str, Any]] = []
    for side in view.SIDES:
        matrices = view.model_matrices(summary, labels, side)
        first = matrices[0]
        yield f"subspace_models_{side}", square(first.labels, _nullable(first.values))
        for matrix in matrices:
            for a, row in zip(matrix.labels, _nullable(matrix.values), strict=True):
                for b, value in zip(matrix.labels, row, strict=True):
                    long.append(
                        {"side": side, "weights": matrix.title, "model_a": a, "model_b": b, "excess": value}
                    )
    yield "subspace_models_by_layer", pl.DataFrame(long)


def _nullable(values: np.ndarray[Any, Any]) -> list[list[float | None]]:
    return [[None if np.isnan(v) else float(v) for v in row] for row in values]
