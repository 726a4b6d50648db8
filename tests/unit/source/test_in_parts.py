"""Two whole models of which one fuses what the other keeps in parts."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import tunescope

Tensors = dict[str, np.ndarray]
D, KV, UP, EXPERTS = 8, 4, 12, 3
LAYER = "model.layers.1."
QKV = {f"self_attn.{part}_proj": rows for part, rows in zip("qkv", (D, KV, KV), strict=True)}
GATE_UP = {"mlp.gate_proj": UP, "mlp.up_proj": UP}
FUSED = {"self_attn.qkv_proj": QKV, "mlp.gate_up_proj": GATE_UP}
SPELLED = {
    "mlp.experts": ("gate_proj", "up_proj", "down_proj"),
    "block_sparse_moe.experts": ("w1", "w3", "w2"),
}


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype("f4")


def dense(seed: int, *, fused: bool) -> Tensors:
    """A layer with biases; the same numbers of one seed in both spellings."""
    held = {f"{LAYER}mlp.down_proj.weight": drawn(seed, D, UP)}
    for k, (whole, parts) in enumerate(FUSED.items()):
        for end, columns in (("weight", (D,)), ("bias", ())):
            made = {part: drawn(10 * seed + k, n, *columns) for part, n in parts.items()}
            if fused:
                held[f"{LAYER}{whole}.{end}"] = np.concatenate(list(made.values()))
            else:
                held |= {f"{LAYER}{part}.{end}": value for part, value in made.items()}
    return held


def sparse(seed: int, owner: str = "") -> Tensors:
    """The experts of a layer, numbered below `owner`, or stacked without one."""
    gate, up = (drawn(seed + k, EXPERTS, UP, D) for k in (1, 2))
    down = drawn(seed + 3, EXPERTS, D, UP)
    if not owner:
        stem = f"{LAYER}mlp.experts."
        return {f"{stem}gate_up_proj": np.concatenate([gate, up], axis=1), f"{stem}down_proj": down}
    made = zip(SPELLED[owner], (gate, up, down), strict=True)
    return {f"{LAYER}{owner}.{e}.{n}.weight": v[e].copy() for n, v in made for e in range(EXPERTS)}


def measured(root: Path, base: Tensors, tuned: Tensors, **config: Any) -> tunescope.Study:
    for name, tensors in (("base", base), ("tuned", tuned)):
        (root / name).mkdir(parents=True)
        save_file(tensors, root / name / "model.safetensors")
        (root / name / "config.json").write_text(json.dumps(config))
    return tunescope.norms(root / "tuned", base=root / "base")


def told(study: tunescope.Study) -> dict[str, float]:
    return {row["component_name"]: row["frobenius_norm"] for row in study.table.to_polars().to_dicts()}


def unlike(study: tunescope.Study) -> list[Mapping[str, Any]]:
    return [f for f in study.readout["findings"] if f["kind"] in ("unpaired", "unchanged")]


@pytest.mark.parametrize("ways", [(True, False), (False, True)], ids=["base fused", "tuned fused"])
def test_projections_that_one_side_fuses_are_compared_part_by_part(
    tmp_path: Path, ways: tuple[bool, bool]
) -> None:
    apart = measured(tmp_path / "apart", dense(1, fused=False), dense(2, fused=False))
    found = measured(tmp_path / "found", dense(1, fused=ways[0]), dense(2, fused=ways[1]))
    assert told(found) == pytest.approx(told(apart), rel=1e-6)
    assert len(told(found)) == 11
    assert not unlike(found)
    reasons = set(found.tables["coverage"].frame["status"])
    assert reasons == {"used"}


@pytest.mark.parametrize("owner", SPELLED)
@pytest.mark.parametrize("stacked", ["base", "tuned"])
def test_experts_that_one_side_stacks_are_compared_one_by_one(
    tmp_path: Path, owner: str, stacked: str
) -> None:
    ways = ("", owner) if stacked == "base" else (owner, "")
    apart = measured(tmp_path / "apart", sparse(1, owner), sparse(5, owner))
    found = measured(tmp_path / "found", sparse(1, ways[0]), sparse(5, ways[1]))
    assert told(found) == pytest.approx(told(apart), rel=1e-6)
    assert len(told(found)) == 3 * EXPERTS
    assert not unlike(found)


def test_equal_models_in_two_spellings_are_equal_in_every_weight(tmp_path: Path) -> None:
    found = measured(tmp_path, sparse(1, "mlp.experts"), sparse(1))
    (said,) = unlike(found)
    assert said["evidence"]["value"] == said["evidence"]["n"] == 3 * EXPERTS


def test_a_stack_of_which_the_other_side_lacks_an_expert_stays_whole_and_is_said(tmp_path: Path) -> None:
    other = sparse(1, "mlp.experts")
    del other[f"{LAYER}mlp.experts.2.up_proj.weight"]
    norm = {f"{LAYER}input_layernorm.weight": drawn(4, D)}
    found = measured(tmp_path, other | norm, sparse(1) | norm)
    assert "unpaired" in [f["kind"] for f in unlike(found)]
    assert "L1_MLP_GATE_E0" not in told(found)


def test_experts_stored_the_other_way_round_are_not_cut_into_numbered_ones(tmp_path: Path) -> None:
    norm = {f"{LAYER}input_layernorm.weight": drawn(4, D)}
    found = measured(tmp_path, sparse(1, "mlp.experts") | norm, sparse(1) | norm, model_type="gpt_oss")
    assert "unpaired" in [f["kind"] for f in unlike(found)]
