"""A norms study on the report page: maps of every measure, heads, experts, cosines between models."""

from collections.abc import Collection, Iterator, Sequence

import polars as pl

from tunescope.page.fitting import leading
from tunescope.page.panels import Check, Content, Data, Maps, Measure, Panel, Squares
from tunescope.questions.norms.changed import POOLED, pooled
from tunescope.questions.norms.command import COMMAND
from tunescope.questions.norms.compared import SIZES, moved_kinds
from tunescope.questions.norms.measure import METRICS
from tunescope.questions.norms.metrics import as_published, has_values, name_of, unsaid
from tunescope.questions.norms.readout import CAUTION
from tunescope.questions.norms.sentences import methods, model_sentences, shared_sentence
from tunescope.questions.norms.sight import nothing_in_others, nothing_stands_out
from tunescope.questions.norms.unknown_heads import sentences
from tunescope.study.recalled import command_line
from tunescope.study.study import Study
from tunescope.table import Table, described
from tunescope.words import counted

# What says how a weight is stored is shown in a cell's drawer, but is no map.
_NO_MAP = frozenset({"step", "lora_rank", "lora_alpha", "d_out", "d_in"})
# A page of more models is larger than a browser likes.
_MOST = 64
# Of more models than this the heads of one kind of weight are shown at a time.
_HEADS = 3
# More singular values than this are thinned.
_VALUES = 40_000
_CENTRED = frozenset({"mean", "cosine_to_base"})
# The less, the more has changed.
_INVERSE = frozenset({"cosine_to_base"})
_ROUNDED = "dtypes differ"
# Scales, and models of one scale, that are told by name.
_NAMED = 6


def content(study: Study) -> Content:
    """What the page shows of how much weights changed."""
    metric, every = study.readout["metric"], study.readout["models"]
    models = dict(list(every.items())[:_MOST])
    frame = study.table.frame.filter(pl.col("model_id").is_in(list(models)))
    # A published ‖BA‖ is shown under that name alone.
    frame = frame.drop([name for name in frame.columns if as_published(frame, name) != name])
    measures = _measures(frame, metric)
    kept = [name for name, values in frame.to_dict().items() if values.null_count() < len(values)]
    data = {"norms": Data(frame.select(kept), study.table.meta["columns"])}
    data |= {
        name: Data(_of(table.frame, list(models)), table.meta["columns"])
        for name, table in study.tables.items()
        if name in ("similarity", "heads") and len(table)
    }
    if (changed := study.tables.get("similarity_changed")) is not None and len(changed):
        pairs = pooled(_of(changed.frame, list(models)))
        data["same_values"] = Data(pairs, changed.meta["columns"] | described(POOLED))
    if (curves := study.tables.get("low_rank")) is not None and len(curves):
        data["low_rank"] = _spectra(curves, list(models))
    shared = shared_sentence(models, study.readout["findings"])
    return Content(
        command=command_line(COMMAND, study.arguments),
        tab="much",
        data=data,
        panels=list(_panels(study, measures, data)),
        checks=[*_checks(frame), *_heads(study, models)],
        sentences=[*model_sentences(models, metric, study.readout["ratios"]), *([shared] if shared else [])],
        caution=CAUTION,
        methods=methods(metric, unsaid(frame)),
        nothing=nothing_stands_out(study.readout["looked_at"]),
        others=nothing_in_others(
            study.readout["looked_at"],
            [label for label, model in models.items() if model["overall_mean"]],
            study.readout["findings"],
        ),
        about=[*_about(frame), *_left_out(len(models), len(every))],
    )


def _of(frame: pl.DataFrame, models: list[str]) -> pl.DataFrame:
    """The rows of some models."""
    named = [name for name in ("model_id", "model_a", "model_b") if name in frame.columns]
    return frame.filter(*(pl.col(name).is_in(models) for name in named))


def _spectra(curves: Table, models: list[str]) -> Data:
    """The singular values of whole weights, for the drawer of a cell, in as many directions as fit."""
    kept = _of(curves.frame, models).select(
        "model_id", "stack", "component_name", "k", "singular_value", "energy_share"
    )
    shown, note = leading(kept, _VALUES, ("k",))
    return Data(shown, curves.meta["columns"], note, bits=16)


def _left_out(shown: int, of: int) -> list[str]:
    return [f"the first {shown} of {of} models; all of them are in tables/"] if shown < of else []


def _measures(frame: pl.DataFrame, first: str) -> list[Measure]:
    """The metric that was asked for, then every other that has values."""
    names = [name for name in METRICS if has_values(frame, name) and name not in _NO_MAP]
    # Whole models have no factors: what is measured without a scale is what is measured with it.
    twins = [name for name in names if name != first and _is_twin(frame, name)]
    names = sorted((name for name in names if name not in twins), key=lambda name: name != first)
    return [
        Measure(
            name, name_of(name), "difference" if name in _CENTRED else "change", smallest=name in _INVERSE
        )
        for name in names
    ]  # fmt: skip


def _is_twin(frame: pl.DataFrame, name: str) -> bool:
    """Whether a measure without the scale holds nothing but the values of the one with it."""
    scaled = name.removeprefix("unscaled_")
    return scaled != name and scaled in frame.columns and frame[name].equals(frame[scaled])


def _panels(study: Study, measures: Sequence[Measure], data: dict[str, Data]) -> Iterator[Panel]:
    frame = study.table.frame
    experts = frame["expert"].is_not_null().any()
    mean = " (of experts the layer's mean)" if experts else ""
    yield Maps(
        "norms", "much", "How much each weight changed",
        f"Each cell is one weight{mean}: layers from top to bottom, kinds of weight from left to right, one "
        f"scale for all models. The bars are means of a row or a column.{_unmoved(frame)}",
        "norms", measures=measures, ranked=True, compare=True, sizes=SIZES,
    )  # fmt: skip
    if experts:
        yield Maps(
            "experts", "much", "Experts", "Each cell is one expert of a layer.", "norms",
            measures=measures, facets=("model_id", "stack", "module_type"), x="expert",
            ranked=True, sizes=SIZES,
        )  # fmt: skip
    if "heads" in data:
        # A sheet of every kind of many models is several screens long: they are chosen one by one then.
        many = data["heads"].frame["model_id"].n_unique() > _HEADS
        kinds = ("module_type",) if many else ()
        yield Maps(
            "heads", "much", "Attention heads",
            "Each cell is one head: rows of q, k and v, columns of o.", "heads",
            measures=[Measure(n, name_of(n)) for n in ("frobenius_norm", "frobenius_norm_normalized")],
            facets=tuple(f for f in ("model_id", "stack", "module_type", "head_kind") if f not in kinds),
            x="head", select=kinds,
        )  # fmt: skip
    yield from _between(frame, data)


def _by_chance(frame: pl.DataFrame) -> str:
    """How far unrelated orders of layers correlate: most where all kinds of weight of a layer move as one."""
    layers = frame["layer"].drop_nulls().n_unique()
    if layers < 3:
        return ""
    deviation = 1 / (layers - 1) ** 0.5
    return (
        f" Unrelated orders of {layers} layers scatter around 0 with a standard deviation of up to "
        f"{deviation:.2f}, so that values within ±{min(2 * deviation, 1.0):.2f} may be chance."
    )


def _between(frame: pl.DataFrame, data: dict[str, Data]) -> Iterator[Panel]:
    """Models by models: how alike their updates are, and which values they changed."""
    if "similarity" in data:
        yield Squares(
            "similarity", "much", "Do the models resemble one another?",
            "Cosine of the updates themselves (1: the same direction in all weights, 0: none in common), and "
            "whether both maps above rank the layers alike: Spearman's correlation within kinds of weight "
            f"(1: the same order, −1: the opposite one).{_by_chance(frame)}",
            "similarity",
            measures=[
                Measure("delta_cosine", "cosine of ΔW", "difference", (-1.0, 1.0)),
                Measure(
                    "norm_map_spearman", "Spearman of the maps within kinds", "difference", (-1.0, 1.0)
                ),
            ],
        )  # fmt: skip
    if "same_values" in data:
        yield Squares(
            "same-values", "much", "Did they change the same values?",
            "The share of the smaller set of changed values that changed in both models, over all weights; "
            "beside it what of that the size of the weights, rows and columns explain.",
            "same_values",
            measures=[
                Measure("overlap", "changed in both", "phi", (0.0, 1.0)),
                Measure("overlap_chance_given_weight", "by chance given |w|", "phi", (0.0, 1.0)),
            ],
            diagonal=None,
        )  # fmt: skip


def _unmoved(frame: pl.DataFrame) -> str:
    """What is said of kinds of weight that the means leave out, where there are any."""
    parts = frame.partition_by("model_id")
    if all(moved_kinds(rows).height == rows.height for rows in parts):
        return ""
    return " Kinds of weight of which none moved count in no rank, no median and no mean of a layer."


def _checks(frame: pl.DataFrame) -> Iterator[Check]:
    unknown = frame.filter(pl.col("scale").is_null())
    if unknown.height:
        models = ", ".join(unknown["model_id"].unique(maintain_order=True).to_list())
        yield Check(
            "scale", "unknown", f"The scale of {counted(unknown.height, 'weight')} is not known: {models}."
        )
    else:
        yield Check("scale", "good", f"Every scale is known and applied: {_scales(frame)}.")
    still = frame.filter(pl.col("unscaled_frobenius_norm") == 0).height
    if not still:
        yield Check("frozen", "good", f"‖ΔW‖_F is above 0 in {_all(frame.height)}.")
    rounded = frame.filter(pl.col("status").str.contains(_ROUNDED, literal=True))
    if rounded.height:
        models = ", ".join(rounded["model_id"].unique(maintain_order=True).to_list())
        said = rounded["status"].str.extract(r"(values compared after rounding to \w+)")
        text = ", ".join(said.drop_nulls().unique(maintain_order=True).to_list())
        of = f"{rounded.height:,} of {counted(frame.height, 'weight')} ({models})"
        yield Check(
            "precision",
            "note",
            f"Base and tuned model are stored in different precision: {text}, {of}. Shares of changed values "
            "count rounded ones, so that a small change may count as none; norms and cosines are of the "
            "values as they are stored.",
        )
    elif "changed_fraction" in frame.columns and frame["changed_fraction"].is_not_null().any():
        yield Check(
            "precision", "good", "Base and tuned model are compared in one precision, value by value."
        )
    if not frame["status"].str.starts_with("non-finite").any():
        yield Check("finite", "good", "Every value is finite.")


def _all(weights: int) -> str:
    return "the one weight" if weights == 1 else f"all {weights:,} weights"


def _scales(frame: pl.DataFrame) -> str:
    """Every scale with the models that have it; whole weights have none to apply.

    Of many models only the numbers are told.
    """
    adapters = frame.filter(pl.col("method") != "full")
    groups = adapters.group_by("scale").agg(pl.col("model_id").unique(maintain_order=True)).sort("scale")
    told = [
        f"{scale:.4g} ({', '.join(models)})"
        if len(models) <= _NAMED
        else f"{scale:.4g} ({len(models)} models)"
        for scale, models in groups.head(_NAMED).iter_rows()
    ]
    if adapters.height < frame.height:
        told.append("none to apply to whole weights")
    return ", ".join(told)


def _heads(study: Study, models: Collection[str]) -> Iterator[Check]:
    """Attention heads that no map holds."""
    unknown = study.readout.get("heads_unknown", {})
    shown = {label: why for label, why in unknown.items() if label in models}
    if shown:
        yield Check("heads", "unknown", " ".join(sentences(shown)))


def _about(frame: pl.DataFrame) -> list[str]:
    """How the updates are stored, and how many there are."""
    stored = _stored(frame)
    layers = frame["layer"].drop_nulls().n_unique()
    most = max(frame.group_by("model_id").len()["len"].to_list(), default=0)
    several = frame["model_id"].n_unique() > 1
    weights = f"{'up to ' * several}{counted(most, 'weight')}{' each' * several}"
    return [*stored, counted(layers, "layer"), weights]


# What is stored of an update, in words.
_METHODS = {"lora": "LoRA", "dora": "DoRA", "full": "whole weights"}


def _stored(frame: pl.DataFrame) -> list[str]:
    """The kinds of update in the order of their numbers of models, which stand beside several kinds."""
    kinds = frame.group_by("method", "lora_rank", maintain_order=True).agg(pl.col("model_id").n_unique())
    found = []
    for method, rank, models in (
        kinds.sort("model_id", descending=True, maintain_order=True).head(4).iter_rows()
    ):
        text = _METHODS.get(str(method), str(method)) + (f" of rank {rank}" if rank is not None else "")
        many = f" in {models} model{'s' if models > 1 else ''}"
        found.append(text + (many if kinds.height > 1 and frame["model_id"].n_unique() > 1 else ""))
    return found
