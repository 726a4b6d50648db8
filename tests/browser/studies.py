"""Studies of every kind for the page, small and made here: adapters, a run, a gain, an importance."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import tunescope
from tunescope.demo.adapters import made_adapters
from tunescope.questions.attribution.question import QUESTION as ATTRIBUTION
from tunescope.questions.attribution.summary import SCHEMA as CELLS
from tunescope.questions.importance.question import QUESTION as IMPORTANCE
from tunescope.questions.importance.scores import SCHEMA as SCORES
from tunescope.questions.importance.sight import visible_effects
from tunescope.questions.importance.views import MEANING
from tunescope.study.study import Study
from tunescope.table import Column, Table, described

_KEYS = {
    "model_id": Column(pl.String, "label of the tuned model"),
    "data": Column(pl.String, "name of the data set"),
    "step": Column(pl.Int64, "optimizer step"),
}
_MODULES = ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj")
_SHORT = ("ATTN_Q", "ATTN_V", "MLP_DOWN")


def every_study(folder: Path) -> list[Study]:
    """Norms and subspace of three made adapters, a run of them, an attribution and an importance."""
    made = made_adapters(folder / "made")
    run = folder / "run"
    for step, path in zip((10, 20, 40), made.values(), strict=True):
        shutil.copytree(path, run / f"checkpoint-{step}")
    sources = [f"{label}={path}" for label, path in made.items()]
    return [
        tunescope.norms(sources),
        tunescope.subspace(*sources, layers="0-9", modules="q_proj,v_proj"),
        tunescope.trajectory(run),
        attribution("cpp"),
        importance("base"),
    ]


def attribution(label: str, layers: int = 26) -> Study:
    """A gain of one model on two data sets, split into cells that add up."""
    draws = np.random.default_rng(3)
    frames, sets = [], {}
    for data, gain in (("code", 0.8), ("prose", 0.1)):
        parts = draws.dirichlet(np.full(layers * len(_MODULES), 0.3)) * -gain
        frames.append(_cells(label, data, layers, parts, draws.uniform(0.01, 0.05, len(parts))))
        sets[data] = _sums(gain)
    frame = pl.concat(frames)
    table = Table(frame, "attribution", {"columns": described({**_KEYS, **CELLS})})
    document = {
        "schema_version": "1", "label": label, "tuned": label, "findings": [_gained(label)],
        "data_sets": sets,
        "description": {data: [f"On {data} few weights hold most."] for data in sets},
    }  # fmt: skip
    arguments = {
        "tuned": f"{label}/",
        "base": "base/",
        "data": {"code": "code.jsonl", "prose": "prose.jsonl"},
    }
    return Study(ATTRIBUTION, {"attribution": table}, document, arguments, [_source(label)])


def _cells(label: str, data: str, layers: int, parts: Any, sizes: Any) -> pl.DataFrame:
    places = [(layer, m) for layer in range(layers) for m in range(len(_MODULES))]
    return pl.DataFrame(
        {
            "model_id": label,
            "data": data,
            "step": pl.Series([None] * len(places), dtype=pl.Int64),
            "stack": "model",
            "layer": [layer for layer, _ in places],
            "module_type": [_MODULES[m] for _, m in places],
            "expert": pl.Series([None] * len(places), dtype=pl.Int64),
            "component_name": [f"L{layer}_{_SHORT[m]}" for layer, m in places],
            "attribution": parts,
            "stderr": np.abs(parts) / 5,
            "share": parts / parts.sum(),
            "frobenius_norm_normalized": sizes,
        }
    )


def _sums(gain: float) -> Mapping[str, Any]:
    return {
        "base_loss": 2.4, "tuned_loss": 2.4 - gain, "gain": gain, "gain_stderr": gain / 20, "sum": -gain,
        "residual": 1e-6, "converged": True, "sequences": 8, "tokens": 400, "split_half_spearman": 0.9,
        "data_sha256": "0" * 64,
    }  # fmt: skip


def _gained(label: str) -> dict[str, Any]:
    return {
        "kind": "gain", "severity": "note", "models": [label], "components": ["L3_ATTN_V", "L4_ATTN_V"],
        "step": None, "strength": 4.2, "text": f"Fine-tuning lowered the loss of {label} on code by 0.8.",
        "evidence": {"statistic": "t", "value": 20.0, "threshold": 2.0, "null": "no gain", "p": 1e-9, "n": 8},
    }  # fmt: skip


def _source(label: str) -> dict[str, Any]:
    digest = {"kind": "sha256", "value": "ab" * 32}
    return {
        "label": label,
        "location": f"{label}/",
        "format": "peft",
        "revision": None,
        "bytes": 10,
        "digest": digest,
    }


def importance(label: str, layers: int = 10) -> Study:
    """Scores of two methods for the parameters of a model, and what its layers are worth."""
    draws = np.random.default_rng(4)
    columns = {"model_id": described(_KEYS)["model_id"], **described(SCORES)}
    rows = [
        {
            "model_id": label, "step": None, "stack": "model", "layer": layer, "expert": None,
            "parameter": f"{module}.weight", "method": method, "score": float(score),
            "stderr": float(score) / 10, "n": 8, "unit": "nats/token",
            "share": float(score) / 40, "normalized": float(score) / 2, "numel": 64,
        }
        for method in ("taylor", "curvature")
        for layer in range(layers)
        for module in _MODULES
        for score in draws.uniform(0, 2, 1)
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema_overrides={"expert": pl.Int64, "step": pl.Int64})
    worth = pl.DataFrame({
        "model_id": label, "stack": "model", "layer": list(range(layers)),
        "layer_importance": draws.uniform(-0.1, 1, layers),
        "layer_importance_stderr": draws.uniform(0, 0.1, layers),
        "layer_importance_behind_stderr": draws.uniform(0, 0.1, layers),
    })  # fmt: skip
    tables = {
        "importance": Table(frame, "importance", {"columns": columns}),
        "importance_layers": Table(worth, "importance_layers", {"columns": columns}),
    }
    methods = [
        {"method": m, "where": where, "meaning": MEANING[m], "split_half_spearman": 0.8}
        for m, where in (("taylor", ["Early layers score most."]), ("curvature", []))
    ]
    document = {
        "schema_version": "1", "findings": [], "methods": methods, "model": label, "data": "code.jsonl",
        "visible": visible_effects(frame), "layers": worth.drop("model_id").to_dicts(),
        "summary": {"data_hash": "0" * 64, "seed": 0, "parameters": layers * len(_MODULES), "sequences": 8,
                    "tokens": 512},
    }  # fmt: skip
    return Study(IMPORTANCE, tables, document, {"model": "base/", "data": "code.jsonl"}, [_source(label)])
