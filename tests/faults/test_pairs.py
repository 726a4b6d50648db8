"""The catalogue's entries on pairs of whole models, each by its number, in every verb that reads them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

import tunescope

Run = Callable[..., Any]
Tensors = dict[str, np.ndarray]
STEM = "model.layers.0.self_attn"
TABLE, HEAD, Q = "model.embed_tokens.weight", "lm_head.weight", f"{STEM}.q_proj.weight"


def weights(by: float = 0.0, rows: int = 20) -> Tensors:
    draw = np.random.default_rng(0)
    shapes = {TABLE: (20, 6), Q: (8, 6), f"{STEM}.v_proj.weight": (4, 6)}
    made = {n: (draw.standard_normal(shape) + by).astype("f4") for n, shape in shapes.items()}
    more = np.random.default_rng(1).standard_normal((20, 6)).astype("f4")
    made[TABLE] = np.concatenate([made[TABLE], more])[:rows]
    return made


def save(folder: Path, tensors: Tensors, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({n: np.ascontiguousarray(v) for n, v in tensors.items()}, folder / "model.safetensors")
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def adapter(folder: Path, shape: tuple[int, int] = (8, 6)) -> Path:
    """An adapter of q that is in none of these models."""
    folder.mkdir()
    draw, module = np.random.default_rng(2), f"base_model.model.{STEM}.q_proj."
    sizes = {"lora_A": (2, shape[1]), "lora_B": (shape[0], 2)}
    factors = {f"{module}{n}.weight": draw.standard_normal(size).astype("f4") for n, size in sizes.items()}
    save_file(factors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def norms(root: Path, base: Tensors, tuned: Tensors, **config: Any) -> pl.DataFrame:
    folders = [save(root / n, t, **config) for n, t in (("base", base), ("tuned", tuned))]
    return tunescope.norms(folders[1], base=folders[0]).table.frame


def verified(root: Path, base: Tensors, tuned: Tensors, **config: Any) -> Any:
    folders = [save(root / n, t, **config) for n, t in (("base", base), ("tuned", tuned))]
    return tunescope.verify(folders[1], adapter(root / "adapter"), base=folders[0])


def trajectory(root: Path, base: Tensors, tuned: Tensors, **config: Any) -> Any:
    start = save(root / "base", base, **config)
    for step in (1, 2):
        save(root / "run" / f"checkpoint-{step}", tuned, **config)
    return tunescope.trajectory(root / "run", start=start)


def moved(study: Any) -> dict[str, tuple[float, float]]:
    """‖ΔW‖ and the share of values that changed at the last step, of every weight."""
    last = study.table.frame.filter(pl.col("step") == 2)
    return {r["component_name"]: (r["delta_frobenius_norm"], r["changed_fraction"]) for r in last.to_dicts()}


def kinds(study: Any) -> list[str]:
    return [finding["kind"] for finding in study.readout["findings"]]


def test_57_an_adapter_of_another_shape_than_the_base(tmp_path: Path, run: Run) -> None:
    base, tuned = save(tmp_path / "base", weights()), save(tmp_path / "tuned", weights(0.1))
    turned = adapter(tmp_path / "adapter", (6, 8))
    ran = run("norms", turned, "--base", base)
    assert ran.code == 3
    assert all(word in ran.err for word in ("other-base", "6×8", "8×6", "q_proj.lora_A"))
    study = tunescope.verify(tuned, turned, base=base)
    assert study.readout["verdict"] == "cannot_tell"
    assert any("8×6" in f["text"] and "6×8" in f["text"] for f in study.readout["findings"])
    assert run("verify", tuned, turned, "--base", base).code == 1


@pytest.mark.parametrize("rows", [13, 25])
def test_69_a_resized_vocabulary(tmp_path: Path, rows: int) -> None:
    base, tuned = weights(), weights(0.1, rows)
    frame = norms(tmp_path / "norms", base, tuned)
    status = dict(frame.select("module_type", "status").iter_rows())
    assert f"20×6 in the base, {rows}×6 here" in status.pop("embed_tokens")
    assert set(status.values()) == {"ok"}
    assert "incomparable" in kinds(verified(tmp_path / "verify", base, tuned))
    study = trajectory(tmp_path / "run", base, tuned)
    assert "vocabulary_resized" in kinds(study)
    assert set(moved(study)) == {"L0_ATTN_Q", "L0_ATTN_V"}


def test_70_what_rounding_to_another_dtype_explains_has_not_changed(tmp_path: Path) -> None:
    base = weights()
    tuned = {name: value.astype(ml_dtypes.bfloat16) for name, value in base.items()}
    assert norms(tmp_path / "norms", base, tuned)["changed_fraction"].to_list() == [0.0] * 3
    study = verified(tmp_path / "verify", base, tuned)
    assert (study.readout["verdict"], study.readout["changed_elsewhere"]) == ("not_merged", [])
    changed = moved(trajectory(tmp_path / "run", base, tuned))
    assert {share for _, share in changed.values()} == {0.0}
    apart = tuned[Q].astype(float) - base[Q].astype(float)
    assert changed["L0_ATTN_Q"][0] == pytest.approx(np.linalg.norm(apart), rel=1e-6)


@pytest.mark.parametrize("side", ["base", "tuned", "both"])
def test_71_a_tied_head_that_one_side_stores(tmp_path: Path, side: str) -> None:
    base, tuned = weights(), weights(0.1)
    for name, tensors in (("base", base), ("tuned", tuned)):
        if side in (name, "both"):
            tensors[HEAD] = tensors[TABLE].copy()
    frame = norms(tmp_path / "norms", base, tuned, tie_word_embeddings=True)
    assert frame.filter(pl.col("family") == "embedding").height == 1
    assert frame["frobenius_norm"].sum() == pytest.approx(
        sum(0.1 * tensors.size**0.5 for tensors in weights().values()), rel=1e-5
    )
    study = verified(tmp_path / "verify", base, tuned, tie_word_embeddings=True)
    assert len(study.readout["changed_elsewhere"]) == 2
    assert "missing" not in kinds(study)
    study = trajectory(tmp_path / "run", base, tuned)
    assert set(moved(study)) == {"EMBED", "L0_ATTN_Q", "L0_ATTN_V"}
    assert kinds(study).count("tied_head") == 1


def test_72_the_same_model_twice(tmp_path: Path) -> None:
    frame = norms(tmp_path / "norms", weights(), weights())
    assert frame.select("frobenius_norm", "relative_norm", "changed_fraction").to_numpy().any() == 0
    assert verified(tmp_path / "verify", weights(), weights()).readout["verdict"] == "not_merged"
    changed = moved(trajectory(tmp_path / "run", weights(), weights()))
    assert set(changed.values()) == {(0.0, 0.0)}
