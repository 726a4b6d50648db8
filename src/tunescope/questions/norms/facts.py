"""What a norms table states outright: updates of zero, values that are not finite."""

from collections.abc import Iterator, Sequence

import polars as pl

from tunescope.study.finding import Finding, merged, named

_MANY = 12


def untrained(frame: pl.DataFrame) -> list[Finding]:
    """Models of which all updates, or some, are exactly zero."""
    found = []
    for model, rows in _models(frame):
        zero = rows.filter(pl.col("unscaled_frobenius_norm").fill_null(pl.col("frobenius_norm")) == 0)
        if not zero.height:
            continue
        every = zero.height == rows.height
        components = () if every else tuple(zero["component_name"].to_list())
        evidence = {"statistic": "updates of zero", "value": zero.height, "n": rows.height}
        text = _zero([model], components, rows.height)
        found.append(
            Finding("untrained", text, (model,), components, evidence=evidence, severity="warning",
                    strength=zero.height / rows.height)
        )  # fmt: skip
    return merged(
        found,
        lambda f: (f.components, f.evidence["n"] if f.components else None),
        lambda group: _zero([f.models[0] for f in group], group[0].components, group[0].evidence["n"]),
    )


def _zero(models: Sequence[str], components: Sequence[str], of: int) -> str:
    who = named(models, _MANY)
    if not components:
        return f"every update of {who} is exactly zero: never trained, or its keys did not match when saved."
    return f"{len(components)} of {of} updates of {who} are exactly zero ({named(components)})."


def non_finite(frame: pl.DataFrame) -> Iterator[Finding]:
    """Models with NaN or infinite values, which are left out of every mean."""
    for model, rows in _models(frame):
        spoilt = rows.filter(pl.col("status").str.starts_with("non-finite"))
        if not spoilt.height:
            continue
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
            "n": rows.height,
            "status": dict(zip(names, statuses, strict=True)),
        }
        yield Finding(
            "non_finite", text, (model,), tuple(names), evidence=evidence, severity="warning",
            strength=len(names) / rows.height,
        )  # fmt: skip


def _models(frame: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    for model in frame["model_id"].unique(maintain_order=True).to_list():
        yield model, frame.filter(pl.col("model_id") == model)
