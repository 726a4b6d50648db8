"""What a norms table states outright: updates of zero, values that are not finite."""

from collections.abc import Iterator, Sequence

import polars as pl

from tunescope.study.finding import Finding, merged
from tunescope.words import counted, named

_MANY = 12


def untrained(frame: pl.DataFrame) -> list[Finding]:
    """Models of which all updates, or some, are exactly zero."""
    found: list[Finding] = []
    found_equal: list[Finding] = []
    # An empty tensor has no values that training could have moved.
    frame = frame.filter((pl.col("d_out") * pl.col("d_in") != 0).fill_null(True))
    counts = _counts(frame)
    zeros = frame.filter(pl.col("unscaled_frobenius_norm").fill_null(pl.col("frobenius_norm")) == 0)
    for model, zero in _models(zeros):
        every = zero.height == counts[model]
        if _whole(zero):
            found_equal.append(_unchanged(model, zero["component_name"].to_list(), counts[model]))
            continue
        components = () if every else tuple(zero["component_name"].to_list())
        evidence = {"statistic": "updates of zero", "value": zero.height, "n": counts[model]}
        text = _zero([model], components, counts[model])
        found.append(
            Finding("untrained", text, (model,), components, evidence=evidence, severity="warning",
                    strength=zero.height / counts[model])
        )  # fmt: skip
    told = merged(
        found,
        lambda f: (f.components, f.evidence["n"] if f.components else None),
        lambda group: _zero([f.models[0] for f in group], group[0].components, group[0].evidence["n"]),
    )
    return told + found_equal


def _whole(rows: pl.DataFrame) -> bool:
    """Whether every row is a tensor of a whole model against its base, rather than an adapter's update."""
    return "changed_fraction" in rows.columns and rows["changed_fraction"].null_count() == 0


def _unchanged(model: str, names: Sequence[str], of: int) -> Finding:
    """Tensors of a whole model that training left alone, as it leaves all that it does not train."""
    evidence = {"statistic": "tensors equal to the base's", "value": len(names), "n": of}
    if len(names) == of:
        text = f"{model} equals the base in everything compared: {counted(of, 'tensor')}, all of them equal."
        return Finding("unchanged", text, (model,), evidence=evidence)
    are = "equals" if len(names) == 1 else "equal"
    text = f"{model}: {len(names)} of {counted(of, 'tensor')} {are} those of the base ({named(names)})."
    return Finding("unchanged", text, (model,), tuple(names), evidence=evidence)


def _zero(models: Sequence[str], components: Sequence[str], of: int) -> str:
    who = named(models, _MANY)
    if not components:
        return f"Every update of {who} is exactly zero: never trained, or its keys did not match when saved."
    are = "is" if len(components) == 1 else "are"
    return f"{len(components)} of {counted(of, 'update')} {are} exactly zero in {who} ({named(components)})."


def non_finite(frame: pl.DataFrame) -> Iterator[Finding]:
    """Models with NaN or infinite values, which are left out of every mean."""
    counts = _counts(frame)
    for model, spoilt in _models(frame.filter(pl.col("status").str.starts_with("non-finite"))):
        names, statuses = spoilt["component_name"].to_list(), spoilt["status"].to_list()
        values = [
            f"{name} ({status.removeprefix('non-finite:').strip()})"
            for name, status in zip(names, statuses, strict=True)
        ]
        are = "holds" if len(names) == 1 else "hold"
        out = "it is" if len(names) == 1 else "they are"
        text = f"{named(values)} of {model} {are} values that are not finite; {out} left out of every mean."
        evidence = {
            "statistic": "updates with values that are not finite",
            "value": len(names),
            "n": counts[model],
            "status": dict(zip(names, statuses, strict=True)),
        }
        yield Finding(
            "non_finite", text, (model,), tuple(names), evidence=evidence, severity="warning",
            strength=len(names) / counts[model],
        )  # fmt: skip


def _models(frame: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    for rows in frame.partition_by("model_id", maintain_order=True):
        yield rows["model_id"][0], rows


def _counts(frame: pl.DataFrame) -> dict[str, int]:
    return dict(frame.group_by("model_id", maintain_order=True).len().iter_rows())
