"""`tunescope.norms`: sources opened, measured, compared and read out as one study."""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tunescope.errors import Notice, UsageError
from tunescope.measure.similarity import norm_map_ranks, norm_maps
from tunescope.questions.norms import measure
from tunescope.questions.norms.attached import not_attached
from tunescope.questions.norms.changed import changed_values
from tunescope.questions.norms.dense import SPECTRA
from tunescope.questions.norms.findings import norm_findings
from tunescope.questions.norms.heads import heads_table, parse_heads, unread_configs
from tunescope.questions.norms.metrics import as_published, drawable, has_values, name_of
from tunescope.questions.norms.question import QUESTION
from tunescope.questions.norms.summary import readout
from tunescope.questions.norms.table import common, measure_norms
from tunescope.questions.norms.together import Together
from tunescope.questions.norms.uncut import uncut
from tunescope.questions.norms.unknown_heads import unknown_heads
from tunescope.source.ledger import coverage, notices, provenance
from tunescope.source.open import open_sources, read_file
from tunescope.source.opened import Source
from tunescope.source.selection import chosen_sources, flattened, spelled_sources
from tunescope.study.finding import Finding
from tunescope.study.progress import Tell, silent
from tunescope.study.study import Study, asked
from tunescope.table import Column, Schema, Table, described, dtypes
from tunescope.words import nearest

if TYPE_CHECKING:
    from tunescope.measure.between import Between
    from tunescope.source.against import Opener

DEFAULT_METRIC = "frobenius_norm_normalized"
SIMILARITY: Schema = {
    "model_a": Column(pl.String, "label of the first model"),
    "model_b": Column(pl.String, "label of the second"),
    "delta_cosine": Column(pl.Float64, "⟨ΔW, ΔW'⟩/(‖ΔW‖‖ΔW'‖) over the modules both have", "[-1, 1]"),
    "norm_map_cosine": Column(pl.Float64, "cosine of the two maps of the metric", "[-1, 1]"),
    "norm_map_spearman": Column(
        pl.Float64,
        "Spearman's correlation of the two maps within kinds of weight, inside the layers",
        "[-1, 1]",
    ),
    "norm_map_distance": Column(pl.Float64, "Euclidean distance of the two maps", "unit of the metric"),
    "components": Column(pl.Int64, "modules that both have in one shape"),
    "identical": Column(pl.Int64, "of these, modules whose updates are the same bit by bit"),
}


def norms(
    *sources: Any,
    metric: str | None = None,
    focus_layer: int | None = None,
    shared_scale: bool = True,
    layers: Any = None,
    modules: Any = None,
    scale: Mapping[str, float] | None = None,
    base: Any = None,
    align_vocab: bool = False,
    spectra: str | bool | None = None,
    heads: str | None = None,
    hash_all: bool = False,
    tell: Tell = silent,
) -> Study:
    """Measure every ΔW of every source: ‖ΔW‖_F, its share per output, ranks of its spectrum.

    `sources` are paths, hub ids, `LABEL=…` of either, live `PeftModel`s, state dicts or opened sources, or
    one list of them. `study.table` has one row per ΔW and model; norms have the unit of the weights.
    `layers` (`"0,20-25"`, `[0, 20]`) and `modules` (`"q_proj,mlp"`) choose rows, `scale` maps labels to the
    scale of sources that do not say it, `hash_all` hashes files above 1 GB too. A `base` (folder, file or
    hub id) makes whole models sources, measured as their difference from it; `align_vocab` compares the
    rows that tables of unlike length share. `spectra` is `"none"`, `"top"` (32 leading directions) or
    `"full"`; left out, adapters get it full and whole weights none. `heads` states the attention heads
    (`"32/8"`) where no config does; `shared_scale` is of colours. Raises as `open_source`, and `UsageError`.
    """
    arguments = asked(locals()) | {"base": None if base is None else os.fspath(base)}
    spectra, stated = _spectra(spectra), parse_heads(heads)
    check_metric(metric, spectra != "none")
    opened = chosen_sources(sources, scale, layers, modules, _opener(base, align_vocab, sources))
    arguments["sources"] = spelled_sources(sources, opened)
    known = (list(not_attached(opened)), [] if stated else unread_configs(opened))
    together = Together(opened, stated)
    table, low_rank = measure_norms(opened, spectra=spectra, tell=tell, together=together)
    tables, document = _compared(opened, table, metric, focus_layer, known, tell, together)
    tables |= {"low_rank": low_rank} if len(low_rank) else {}
    document["heads_unknown"] = unknown_heads(opened, stated)
    if (by_head := heads_table(opened, stated, together.squares)) is not None:
        tables["heads"] = by_head
    return Study(QUESTION, tables, document, arguments, provenance(opened, hash_all))


def _compared(
    opened: Sequence[Source],
    table: Table,
    metric: str | None,
    focus: int | None,
    known: tuple[Sequence[Finding], Sequence[tuple[str, Notice]]],
    tell: Tell,
    together: Together,
) -> tuple[dict[str, Table], dict[str, Any]]:
    """All tables and the readout document of sources that are measured, with findings known before it."""
    check_measured(table.frame, metric)
    labels = [source.label for source in opened]
    metric = as_published(table.frame, metric) if metric else drawable(table.frame, DEFAULT_METRIC)
    both = common(opened, tell, together) if len(opened) > 1 else None
    same_values, found = changed_values(opened, together.common)
    early, said = known
    noticed = [*notices(opened), *said, *uncut(opened)]
    findings = [*early, *norm_findings(table.frame, metric, both, noticed), *found]
    document = readout(table.frame, labels, metric, findings, focus)
    tables = {
        "norms": table,
        "similarity": _similarities(table.frame, labels, metric, both),
        "coverage": coverage(opened),
    }
    if same_values is not None:
        tables["similarity_changed"] = same_values
    return tables, document | {"base": _base(opened)}


def _spectra(asked: str | bool | None) -> str | None:
    if isinstance(asked, bool):
        return "full" if asked else "none"
    if asked is not None and asked not in SPECTRA:
        raise UsageError(
            "bad-spectra",
            f"there is no choice {asked!r} of spectra",
            expected=", ".join(SPECTRA),
            found=asked,
        )
    return asked


def _opener(base: Any, align_vocab: bool, sources: Sequence[Any]) -> "Opener":
    if base is None:
        if align_vocab:
            raise UsageError(
                "align-without-base", "--align-vocab compares with a base", fix="add --base BASE"
            )
        return open_sources
    # Deferred: most adapters are measured without their base.
    from tunescope.source.against import is_whole, opener
    from tunescope.source.whole import open_base, open_whole

    # Beside adapters alone the weights that they touch are enough.
    read = cache(read_file)
    whole = any(is_whole(source, read) for source in flattened(sources))
    return opener(open_whole(base) if whole else open_base(base), align_vocab, read)


def check_metric(metric: str | None, spectra: bool = True) -> None:
    """Refuse a metric that is no numeric column, or one that `spectra=False` leaves empty."""
    if metric is None:
        return
    if metric not in measure.METRICS:
        known = ", ".join(measure.METRICS)
        near = nearest(metric, measure.METRICS) or next(iter(measure.METRICS))
        fix = f"write for example --metric {near}"
        raise UsageError("unknown-metric", f"there is no metric {metric!r}", expected=known, fix=fix)
    if metric in measure.SPECTRAL and not spectra:
        raise UsageError(
            "metric-not-measured", f"{metric} needs the spectra", fix="ask for --spectra top or full"
        )


def check_measured(frame: pl.DataFrame, metric: str | None) -> None:
    """Refuse a metric that was asked for and that no weight has: it would be read as a finding of none.

    A norm that lacks only the adapter's scale is shown without it, and that is said.
    """
    if (
        metric is None
        or frame.is_empty()
        or has_values(frame, metric)
        or f"unscaled_{metric}" in frame.columns
    ):
        return
    needs, fix = "its base", "add --base BASE (base= in Python)"
    if metric in measure.SPECTRAL:
        if frame["scale"].is_null().any():
            return
        needs, fix = "the spectra of these weights", "add --spectra top (spectra= in Python)"
    elif metric not in measure.BESIDE_BASE:
        needs, fix = "what none of these weights has", "name another metric"
    raise UsageError(
        "metric-not-measured", f"no weight here has {metric}",
        expected=f"{name_of(metric)}, which takes {needs}", found="no value in any row", fix=fix,
    )  # fmt: skip


def _similarities(frame: pl.DataFrame, labels: Sequence[str], metric: str, both: "Between | None") -> Table:
    """One row per pair of models."""
    columns: dict[str, Any] = {name: [] for name in SIMILARITY}
    if both is not None:
        i, j = np.triu_indices(len(labels), 1)
        cosines, distances = norm_maps(frame, labels, metric)
        maps = cosines, norm_map_ranks(frame, labels, metric), distances
        names = pl.Series(labels, dtype=pl.String)
        measured = (both.cosine, *maps, both.compared, both.identical)
        values = [names.gather(i), names.gather(j), *(table[i, j] for table in measured)]
        columns = dict(zip(SIMILARITY, values, strict=True))
    rows = pl.DataFrame(columns, schema=dtypes(SIMILARITY), nan_to_null=True)
    return Table(rows, "similarity", {"columns": described(SIMILARITY)})


def _base(opened: Sequence[Source]) -> str | None:
    """The base model that the sources name, where it is one."""
    named = {str(name) for s in opened if (name := s.config.get("base_model_name_or_path"))}
    return named.pop() if len(named) == 1 else None
