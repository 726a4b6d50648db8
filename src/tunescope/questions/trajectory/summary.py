"""The readout of a trajectory study: a summary of every run, and what LoRA and full fine-tuning share."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from tunescope.questions.trajectory.gallery import drawn
from tunescope.questions.trajectory.proxy import Proxy
from tunescope.study.finding import Finding
from tunescope.words import counted, named


def run_summary(by_step: pl.DataFrame, motion: pl.DataFrame, by_layer: pl.DataFrame) -> dict[str, Any]:
    """Captures, first and last step, the whole ‖ΔW‖ and its cosine to the last checkpoint at every step.

    `layers_off_zero` counts the layers whose mean of Δ at the last step exceeds its standard deviation
    across the layer's matrices, of all layers.
    """
    last = drawn(by_layer.filter(pl.col("layer").is_not_null() & (pl.col("step") == pl.col("step").max())))
    off = last.filter(pl.col("mean").abs() > pl.col("mean_std"))
    rows = by_step.sort("step")
    known = rows.filter(pl.col("loss").is_not_null())["loss"].to_list()
    norms = rows["delta_frobenius_norm"].to_list()
    return {
        "domain": rows["domain"][0],
        "learning_rate": rows["learning_rate"][0],
        "schedule_learning_rate": rows["schedule_learning_rate"].to_list(),
        "seed": rows["seed"][0],
        "captures": rows.height,
        "steps": rows["step"].to_list(),
        "epochs": rows["epoch"].to_list(),
        "trained_weights": motion["component_name"].n_unique(),
        "references": motion["reference"].unique().sort().to_list(),
        "origins": _origins(motion),
        "delta_frobenius_norm": norms,
        "half_of_last_at": half_of_last(rows["step"].to_list(), norms),
        "cosine_to_last": rows["cosine_to_last"].to_list(),
        "layers_off_zero": [off.height, last.height],
        "loss_first": known[0] if known else None,
        "loss_last": known[-1] if known else None,
    }


def _origins(motion: pl.DataFrame) -> dict[str, list[str]]:
    """What Δ of each factor counts from."""
    pairs = motion.select("factor", "reference").unique().sort("factor", "reference").iter_rows()
    found: dict[str, list[str]] = {}
    for factor, reference in pairs:
        found.setdefault(factor, []).append(reference)
    return found


def first_counted(run: Mapping[str, Any]) -> int | None:
    """The captured step that ΔW counts from; `None` where it counts from before training.

    >>> first_counted({"origins": {"W": ["first_checkpoint"]}, "steps": [5, 10]})
    5
    >>> first_counted({"origins": {"A": ["first_checkpoint"], "B": ["zero"]}, "steps": [5, 10]})
    """
    return run["steps"][0] if run.get("origins") == {"W": ["first_checkpoint"]} else None


# As many layers are named as those in which most of the change lies.
_LEADING = 3


def leading_layers(norms: pl.DataFrame) -> list[int]:
    """The layers with the largest ‖ΔW‖ at the last step of a run, largest first; empty where unknown.

    >>> rows = {"step": [2, 2], "layer": [0, 1], "delta_frobenius_norm": [0.1, 0.3]}
    >>> leading_layers(pl.DataFrame(rows))
    [1, 0]
    """
    last = norms.filter(pl.col("step") == pl.col("step").max()).drop_nulls("delta_frobenius_norm")
    known = last.filter(pl.col("delta_frobenius_norm").is_finite() & (pl.col("delta_frobenius_norm") > 0))
    found: list[int] = known.sort("delta_frobenius_norm", "layer", descending=[True, False])[
        "layer"
    ].to_list()
    return found[:_LEADING]


def half_of_last(steps: Sequence[int], norms: Sequence[float | None]) -> int | None:
    """The first captured step at which ‖ΔW‖ is at least half of its last value; `None` where that is 0.

    >>> half_of_last([10, 20, 30], [0.2, 0.6, 1.0])
    20
    """
    last = norms[-1]
    if last is None or not math.isfinite(last) or last <= 0:
        return None
    return next(
        step for step, norm in zip(steps, norms, strict=True) if norm is not None and norm >= last / 2
    )


def halfway_sentence(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """At which step each run's ‖ΔW‖ was half of its last value, with a space before it; empty where unknown.

    >>> halfway_sentence({"a": {"half_of_last_at": 4}, "b": {"half_of_last_at": 4}, "c": {}})
    ' ‖ΔW‖ was first at least half of its last value at step 4 (a and b).'
    """
    early: list[str] = []
    late: dict[int, list[str]] = {}
    reached: dict[int, list[str]] = {}
    for label, run in runs.items():
        if run.get("half_of_last_at") is not None:
            reached.setdefault(run["half_of_last_at"], []).append(label)
            if (first := first_counted(run)) is not None:
                late.setdefault(first, []).append(label)
            if len(run.get("steps", [])) > 1 and run["half_of_last_at"] == run["steps"][0]:
                norms = run["delta_frobenius_norm"]
                early.append(f"{label} ({norms[0] / norms[-1]:.0%})")
    said = [f"{step:,} ({named(labels, 12)})" for step, labels in sorted(reached.items())]
    if not said:
        return ""
    already = f" That was by the first capture in {named(early, 12)}." if early else ""
    counts = [f"step {step:,} in {named(labels, 12)}" for step, labels in sorted(late.items())]
    origin = f" ΔW counts from {named(counts)}." if counts else ""
    return f" ‖ΔW‖ was first at least half of its last value at step {', '.join(said)}.{already}{origin}"


def halfway_words(run: Mapping[str, Any]) -> str | None:
    """Where ‖ΔW‖ passed half of its last value, as closely as a run's captures tell; `None` of one capture.

    >>> run = {"steps": [5, 9, 10], "delta_frobenius_norm": [0.475, 0.6, 1.0], "half_of_last_at": 9}
    >>> halfway_words(run)
    'between steps 5 (47%) and 9'
    >>> halfway_words(run | {"delta_frobenius_norm": [0.7, 0.8, 1.0], "half_of_last_at": 5})
    'by its first capture, step 5 (70%)'
    """
    steps, norms, half = run["steps"], run["delta_frobenius_norm"], run.get("half_of_last_at")
    if half is None or len(steps) < 2:
        return None
    at = steps.index(half)
    known = [i for i in range(at) if norms[i] is not None]
    if not known:
        place = "its first capture, step" if at == 0 else "step"
        return f"by {place} {half:,} ({norms[at] / norms[-1]:.0%})"
    before = known[-1]
    if half - steps[before] <= 1:
        return f"at step {half:,}"
    # Rounded down: what lies below half is not to read as 50%.
    told = before == 0 and first_counted(run) is None
    share = f" ({math.floor(100 * norms[before] / norms[-1])}%)" if told else ""
    return f"between steps {steps[before]:,}{share} and {half:,}"


# Two profiles rank the layers alike from this correlation on, where it is also told from chance.
ALIKE, ALPHA = 0.7, 0.02


def verdict(record: Mapping[str, Any]) -> str:
    """What the comparison of two layer profiles says.

    >>> verdict({"spearman": 0.9, "p": 0.001}), verdict({"spearman": 0.5, "p": 0.2})
    ('they rank the layers alike', 'not decided by these runs')
    """
    if math.isnan(record["spearman"]):
        return "no correlation: a profile is flat"
    if record["spearman"] >= ALIKE and record["p"] <= ALPHA:
        return "they rank the layers alike"
    return "not decided by these runs"


def proxy_record(lora: str, full: str, proxy: Proxy, p: float) -> dict[str, Any]:
    """One row of the comparison of low-rank and full runs; `p` is adjusted for all of them."""
    return {
        "lora": lora,
        "full": full,
        "family": proxy.family,
        "spearman": proxy.correlation,
        "interval_95": [proxy.low, proxy.high],
        "p": p,
        "n_layers": proxy.n_layers,
        "independent_layers": proxy.worth,
        "n_modules": proxy.n_modules,
    }


def proxy_finding(record: Mapping[str, Any], compared: int) -> Finding | None:
    """That a low-rank and a full run rank the layers alike; `None` where nothing can be said."""
    if verdict(record) != "they rank the layers alike":
        return None
    family = "all weights that both train" if record["family"] == "all" else f"{record['family']} weights"
    text = (
        f"{record['lora']} and {record['full']} rank the layers alike by how far they moved, in {family}: "
        f"Spearman {record['spearman']:.2f} over "
        f"{counted(record['n_layers'], 'layer')}, and from layer to layer "
        "they change alike too."
    )
    evidence = {
        "statistic": "Spearman's correlation of ‖ΔW‖ per layer",
        "value": record["spearman"],
        "threshold": ALIKE,
        "null": "unrelated smooth profiles: their changes from layer to layer are unrelated",
        "n": record["n_layers"],
        "places_looked_at": compared,
        **record,
    }
    models = (record["lora"], record["full"])
    return Finding("lora_as_proxy", text, models, evidence=evidence, strength=record["spearman"] / ALIKE)
