"""An adapter against a full fine-tune of its base: leading directions of a pair, and what both share."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tunescope

D_OUT, D_IN, RANK, LAYERS = 96, 80, 3, 2
NAME = "model.layers.{}.self_attn.q_proj"
DRAW = np.random.default_rng(0)
BASE = {f"{NAME.format(k)}.weight": DRAW.standard_normal((D_OUT, D_IN)) for k in range(LAYERS)}


def saved(folder: Path, tensors: dict[str, np.ndarray], config: dict[str, object]) -> Path:
    folder.mkdir()
    kind = "adapter_" if "r" in config else ""
    narrow = {name: array.astype(np.float32) for name, array in tensors.items()}
    save_file(narrow, folder / f"{kind}model.safetensors")
    (folder / f"{kind}config.json").write_text(json.dumps(config))
    return folder


def factors(seed: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {
        f"base_model.model.{NAME.format(k)}.lora_{n}.weight": draw.standard_normal(shape)
        for k in range(LAYERS)
        for n, shape in (("A", (RANK, D_IN)), ("B", (D_OUT, RANK)))
    }


def fine_tuned(adapter: dict[str, np.ndarray], noise: float = 0.05) -> dict[str, np.ndarray]:
    """The base with an adapter's update in it, and noise in every direction besides."""
    out = {"model.layers.0.input_layernorm.weight": np.ones(D_IN)}
    for k in range(LAYERS):
        A, B = (adapter[f"base_model.model.{NAME.format(k)}.lora_{n}.weight"] for n in "AB")
        W = BASE[f"{NAME.format(k)}.weight"]
        out[f"{NAME.format(k)}.weight"] = W + B @ A + noise * DRAW.standard_normal(W.shape)
    return out


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": ["q_proj"]}
    norm = {"model.layers.0.input_layernorm.weight": np.zeros(D_IN)}
    return {
        "base": saved(tmp_path / "base", BASE | norm, {"model_type": "llama"}),
        "full": saved(tmp_path / "full", fine_tuned(factors(1)), {"model_type": "llama"}),
        "own": saved(tmp_path / "own", factors(1), config),
        "other": saved(tmp_path / "other", factors(2), config),
    }


@pytest.mark.parametrize(("adapter", "least", "most"), [("own", 0.95, 1.0), ("other", 0.0, 0.15)])
def test_leading_directions_of_a_pair_are_those_of_the_adapter_in_it(
    places: dict[str, Path], adapter: str, least: float, most: float
) -> None:
    study = tunescope.subspace(places[adapter], places["full"], base=str(places["base"]), of=("delta",))
    grids = study.tables["subspace"].frame
    at_rank = grids.filter((grids["i"] == RANK) & (grids["j"] == RANK))
    assert at_rank.height == 2 * LAYERS
    assert at_rank["phi"].is_between(least, most).all()
    assert set(study.table.frame["module_type"]) == {"self_attn.q_proj"}


def test_cosine_of_both_updates_is_numpys(places: dict[str, Path]) -> None:
    study = tunescope.subspace(places["own"], places["full"], base=str(places["base"]))
    A, B = (factors(1)[f"base_model.model.{NAME.format(0)}.lora_{n}.weight"] for n in "AB")
    tuned, base = (
        load_file(places[name] / "model.safetensors")[f"{NAME.format(0)}.weight"].astype(float)
        for name in ("full", "base")
    )
    mine, theirs = B.astype("f4").astype(float) @ A.astype("f4").astype(float), tuned - base
    cosine = (mine * theirs).sum() / np.linalg.norm(mine) / np.linalg.norm(theirs)
    row = study.table.frame.filter(study.table.frame["layer"] == 0).row(0, named=True)
    assert row["delta_cosine"] == pytest.approx(cosine, rel=1e-6)
    assert study.tables["amplification"].frame["model_id"].n_unique() == 2


def test_two_whole_models_compare_in_their_matrices_alone(places: dict[str, Path], tmp_path: Path) -> None:
    again = saved(tmp_path / "again", fine_tuned(factors(1)), {"model_type": "llama"})
    study = tunescope.subspace(places["full"], again, base=str(places["base"]), of=("delta",))
    assert study.table.frame.height == LAYERS
    assert set(study.table.frame["d_in"]) == {D_IN}


def test_progress_tells_of_the_base_too_and_ends_at_its_total(places: dict[str, Path]) -> None:
    told: list[tuple[str, int, int]] = []
    base = str(places["base"])
    tunescope.subspace(places["own"], places["full"], base=base, tell=lambda *step: told.append(step))
    of_base = [step[1:] for step in told if step[0] == "comparing with the base"]
    assert of_base == [(done, LAYERS) for done in range(1, LAYERS + 1)]


def test_the_base_is_told_from_another_by_the_digest_of_its_files(places: dict[str, Path]) -> None:
    study = tunescope.subspace(places["own"], places["full"], base=str(places["base"]))
    base = next(source for source in study.sources if source["label"] == "base")
    written = next(path for path in sorted(places["base"].rglob("*.safetensors")))
    (file,) = base["files"]
    assert file["digest"]["value"] == hashlib.sha256(written.read_bytes()).hexdigest()
    assert base["bytes"] == written.stat().st_size
