"""A subspace study on the report page: models by models, layer × module, and φ beside its chance."""

from collections.abc import Iterator

import polars as pl

from tunescope.page.fitting import leading
from tunescope.page.panels import Check, Content, Data, Grids, Maps, Measure, Panel, Squares
from tunescope.questions.subspace.command import COMMAND
from tunescope.questions.subspace.readout import CAUTION, methods, pair_sentences
from tunescope.questions.subspace.sight import nothing_stands_out
from tunescope.study.recalled import command_line
from tunescope.study.study import Study
from tunescope.words import counted

# More cells of φ than this would make the page large.
_CELLS = 60_000
_UNIT = (0.0, 1.0)
_MEASURES = (
    Measure("excess_output", "overlap above chance, output", "phi", _UNIT),
    Measure("excess_input", "overlap above chance, input", "phi", _UNIT),
    Measure("overlap_output", "φ, output", "phi", _UNIT),
    Measure("overlap_output_chance", "chance of φ, output", "phi", _UNIT),
    Measure("overlap_input", "φ, input", "phi", _UNIT),
    Measure("overlap_input_chance", "chance of φ, input", "phi", _UNIT),
    Measure("delta_cosine", "cosine of ΔW", "difference", (-1.0, 1.0)),
    Measure("dimensions_shared_output", "directions shared, output", "phi"),
    Measure("dimensions_shared_input", "directions shared, input", "phi"),
    Measure("dimensions_shared", "directions shared, the larger of both sides", "phi"),
)
_KEPT = (
    "model_a", "model_b", "stack", "layer", "module_type", "expert", "component_name", "rank_a", "rank_b",
    "d_in", "d_out", *(measure.column for measure in _MEASURES), "overlap_input_p", "overlap_output_p",
    "finding", "status",
)  # fmt: skip


def content(study: Study) -> Content:
    """What the page shows of the directions in which weights changed."""
    summary = study.table.frame
    columns = {**study.table.meta["columns"], "pair": {"unit": "", "meaning": "labels of both models"}}
    kept = [name for name in _KEPT if name in summary.columns]
    data = {"pairs": Data(_paired(summary.select(kept)), columns, bits=16)}
    if (grids := study.tables.get("subspace")) is not None:
        data["phi"] = _grids(grids.frame, grids.meta["columns"])
    document = study.readout
    return Content(
        command=command_line(COMMAND, study.arguments),
        tab="directions",
        data=data,
        panels=list(_panels(summary, "phi" in data and data["phi"].frame.height > 0)),
        checks=list(_checks(summary)),
        sentences=pair_sentences(document["pairs"]),
        caution=CAUTION,
        methods=methods(document),
        nothing=nothing_stands_out(document["pairs"], document["visible"], document.get("room")),
        about=[f"{len(document['pairs'])} pair{'s' * (len(document['pairs']) != 1)}"],
    )


def _paired(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with each pair's name as a column to arrange maps by."""
    return frame.with_columns(pair=pl.col("model_a") + " · " + pl.col("model_b"))


def _grids(frame: pl.DataFrame, columns: dict[str, dict[str, str]]) -> Data:
    """φ and chance, of ΔW where that was asked for, in as many cells as fit."""
    first = "delta" if (frame["of"] == "delta").any() else frame["of"].first()
    # The factors' own grids tell little besides those of the product, and take as much room.
    usable = frame.filter(pl.col("phi").is_not_null())
    shown = usable if usable.height <= _CELLS else usable.filter(pl.col("of") == first)
    shown, note = leading(shown, _CELLS)
    keys = [n for n in ("model_a", "model_b", "stack", "component_name", "of", "side") if n in shown.columns]
    named = shown if "component_name" in shown.columns else shown.with_columns(component_name=_names(shown))
    keys = list(dict.fromkeys([*keys, "component_name"]))
    return Data(named.select(*keys, "i", "j", "phi", "phi_chance"), columns, note, bits=9)


def _names(frame: pl.DataFrame) -> pl.Series:
    # Deferred: addresses are asked for only here.
    from tunescope.address import Address
    from tunescope.address.components import component_names

    keys = ["stack", "layer", "module_type", "expert"]
    places = frame.select(keys).unique(maintain_order=True)
    names = component_names([Address(*row) for row in places.iter_rows()])
    known = places.with_columns(component_name=pl.Series(names))
    return frame.join(known, on=keys, how="left", nulls_equal=True, maintain_order="left")["component_name"]


def _panels(summary: pl.DataFrame, grids: bool) -> Iterator[Panel]:
    has = {name for name in summary.columns if summary[name].is_not_null().any()}
    measures = [measure for measure in _MEASURES if measure.column in has]
    sides = [m for m in measures if m.column in ("excess_input", "excess_output")]
    yield Squares(
        "shared", "directions", "Which models share directions?",
        "Overlap above chance, (φ − chance)/(1 − chance), mean over all weights that both have: 0 for random "
        "subspaces, 1 for equal ones. Input and output side stand beside each other on one scale. A LoRA "
        "adapter begins with B = 0: all of its output side was learned, its input side began at random.",
        "pairs", measures=sorted(sides, key=lambda m: m.column),
    )  # fmt: skip
    yield Maps(
        "directions", "directions", "Where are directions shared?",
        "Each cell is one weight of a pair. Directions shared is how many both updates have in common beyond "
        "those of random subspaces, a whole number for each weight; 0 also where an overlap beyond chance "
        "is spread over many directions, none of them common alone. Open a cell to see φ(i, j) of all "
        "leading directions beside chance.",
        "pairs", measures=measures, facets=("pair", "stack"), ranked=True,
    )  # fmt: skip
    if grids:
        yield Grids(
            "phi", "directions", "φ(i, j) of one weight, beside chance",
            "φ(i, j): of the i leading directions of the pair's first model and the j leading ones of its "
            "second, the share of the fewer that lies in the span of the more. A and B are the factors of an "
            "adapter, ΔW their product; the numbers above are of ΔW. Beside it the level that "
            "random subspaces of the same shapes would give, on the same scale.",
            "phi",
        )  # fmt: skip


def _checks(summary: pl.DataFrame) -> Iterator[Check]:
    left = summary.filter(pl.col("status") != "ok")
    if left.height:
        reasons = ", ".join(left["status"].unique().sort().to_list()[:4])
        yield Check(
            "compared",
            "note",
            f"{left.height} of {counted(summary.height, 'weight')} "
            f"{'was' if left.height == 1 else 'were'} not: {reasons}.",
        )
    else:
        yield Check(
            "compared",
            "good",
            f"Each of the {counted(summary.height, 'weight')} that both models of a pair have was compared.",
        )
