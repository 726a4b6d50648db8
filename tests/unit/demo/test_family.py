"""The made-up base, adapters and merge hold what they were built from."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tunescope.demo.family import ALPHA, HOT_LAYERS, LAYERS, RANK, SHAPES, made_family


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return made_family(tmp_path_factory.mktemp("made"))


def dense(path: Path, layer: int, module: str) -> NDArray[np.float64]:
    tensors = load_file(path / "adapter_model.safetensors")
    name = f"base_model.model.model.layers.{layer}.{module}.lora_"
    a, b = (tensors[f"{name}{factor}.weight"].astype(np.float64) for factor in "AB")
    return ALPHA / RANK * b @ a


@pytest.mark.parametrize("module", ["self_attn.v_proj", "mlp.down_proj"])
def test_both_seeds_share_three_directions_of_either_side_at_their_cosine(
    made: dict[str, Path], module: str
) -> None:
    (left, _, inputs), (other, _, others) = (
        np.linalg.svd(dense(made[seed], 6, module), full_matrices=False) for seed in ("seed-0", "seed-1")
    )
    for one, two in ((left[:, :3], other[:, :3]), (inputs[:3].T, others[:3].T)):
        assert np.linalg.svd(one.T @ two, compute_uv=False) == pytest.approx([0.9] * 3, abs=0.05)
    assert np.linalg.svd(inputs[3:RANK] @ others[3:RANK].T, compute_uv=False).max() < 0.7


@pytest.mark.parametrize("seed", ["seed-0", "seed-1"])
def test_every_hot_layer_moved_further_than_any_other(made: dict[str, Path], seed: str) -> None:
    sizes = [np.mean([np.linalg.norm(dense(made[seed], n, m)) for m in SHAPES]) for n in range(LAYERS)]
    hot = set(np.argsort(sizes)[-len(HOT_LAYERS) :].tolist())
    assert hot == set(HOT_LAYERS)


def test_the_untrained_adapter_adds_nothing(made: dict[str, Path]) -> None:
    assert not any(dense(made["untrained"], layer, "mlp.up_proj").any() for layer in range(LAYERS))


def test_transformers_and_peft_load_the_base_and_merge_as_the_merge_was_made(made: dict[str, Path]) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(made["base"], dtype=torch.bfloat16)
    ours = AutoModelForCausalLM.from_pretrained(made["merged"], dtype=torch.bfloat16)
    theirs = PeftModel.from_pretrained(base, str(made["seed-0"])).merge_and_unload()
    expected = dict(theirs.named_parameters())
    for name, value in ours.named_parameters():
        difference = (value.float() - expected[name].float()).abs()
        # One step of bfloat16 at most, where the two ways of rounding differ.
        assert bool((difference <= 2**-7 * value.float().abs() + 1e-8).all()), name


def test_a_second_writing_gives_the_same_bytes(made: dict[str, Path], tmp_path: Path) -> None:
    for name, path in made_family(tmp_path).items():
        for file in path.iterdir():
            assert file.read_bytes() == (made[name] / file.name).read_bytes(), name
