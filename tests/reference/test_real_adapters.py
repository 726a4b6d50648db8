"""Every real adapter: all of it is read, and every tensor and byte is accounted for."""

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from tunescope.source import Source, open_source

# Folder or file, format, updates, and the reasons of the tensors that are part of none.
COPY = "copy of the module as it was before training"
ADAPTERS = [
    ("roberta-base_portuguese-news_r8/checkpoint-500", "peft", 24, {"saved module, needs base": 4}),
    ("roberta-base_portuguese-news_r8/checkpoint-8610", "peft", 24, {"saved module, needs base": 4}),
    ("qwen2.5-0.5b_vinuni_r8/checkpoint-23", "peft", 48, {}),
    ("qwen2.5-0.5b_vinuni_r8/checkpoint-46", "peft", 48, {}),
    ("qwen2.5-0.5b_vinuni_r8/checkpoint-69", "peft", 48, {}),
    (
        "roberta-base_agnews_r4_bias-all/checkpoint-500", "peft", 36,
        {"saved module, needs base": 6, "bias, needs base": 97, COPY: 2},
    ),
    (
        "roberta-base_agnews_r4_bias-all/checkpoint-1200", "peft", 36,
        {"saved module, needs base": 6, "bias, needs base": 97, COPY: 2},
    ),
    ("sam_lora_own-naming/lora_rank2.safetensors", "factor-pairs", 24, {}),
    ("sam_lora_own-naming/lora_rank4.safetensors", "factor-pairs", 24, {}),
    ("sam_lora_own-naming/lora_rank8.safetensors", "factor-pairs", 24, {}),
    ("stable-diffusion-1.5_early-lora/analog_svd_rank4.safetensors", "first-sd", 192, {}),
    (
        "stable-diffusion-1.5_early-lora/lora_disney.safetensors", "first-sd", 192,
        {"textual inversion embedding": 2},
    ),
    (
        "stable-diffusion-1.5_early-lora/lora_disney_inpainting.safetensors", "first-sd", 192,
        {"textual inversion embedding": 2},
    ),
    ("stable-diffusion-1.5_early-lora/lora_kiriko2.text_encoder.pt", "first-sd", 48, {}),
    ("mlx_r4_npz", "mlx", 32, {}),
    ("open-calm-1b_r1_fp16", "peft", 24, {}),
]  # fmt: skip


def opened(real: Path, name: str) -> Source:
    if name.endswith(".pt"):
        pytest.importorskip("torch")
    return open_source(real / name)


def reference(path: Path) -> dict[str, tuple[tuple[int, ...], int]]:
    """Shape and bytes of every tensor of a file, by the library of its format."""
    if path.suffix == ".safetensors":
        return {name: (array.shape, array.nbytes) for name, array in load_file(path).items()}
    if path.suffix == ".npz":
        with np.load(path) as archive:
            return {name: (archive[name].shape, archive[name].nbytes) for name in archive.files}
    import torch

    values = torch.load(path, map_location="cpu", weights_only=True)
    return {str(i): (tuple(v.shape), v.numel() * v.element_size()) for i, v in enumerate(values)}


@pytest.mark.parametrize(("name", "kind", "updates", "left"), ADAPTERS)
def test_every_tensor_and_byte_is_accounted_for(
    real: Path, name: str, kind: str, updates: int, left: dict[str, int]
) -> None:
    source = opened(real, name)
    assert (source.format, len(source.deltas)) == (kind, updates)
    (path,) = source.files
    expected = reference(path)
    assert {e.tensor: (e.shape, e.bytes) for e in source.coverage} == expected
    reasons = [e.reason for e in source.coverage if e.status != "used"]
    assert {reason: reasons.count(reason) for reason in set(reasons)} == left
    used = {e.tensor for e in source.coverage if e.status == "used"}
    assert used == {tensor for delta in source.deltas for tensor in delta.tensors}
    assert len({d.component_name for d in source.deltas}) == updates


@pytest.mark.parametrize("name", [name for name, *_ in ADAPTERS])
def test_every_update_opens_with_the_shape_that_it_says(real: Path, name: str) -> None:
    source = opened(real, name)
    known = not name.startswith(("sam", "stable", "mlx"))
    for delta in source.deltas:
        update = delta.open()
        assert update.B.shape == (delta.d_out, delta.rank)  # type: ignore[union-attr]
        assert update.A.shape == (delta.rank, delta.d_in)  # type: ignore[union-attr]
        assert update.scale == delta.scale
        assert (delta.scale is not None) == known
        assert np.isfinite(update.A.astype(np.float32)).all()  # type: ignore[union-attr]
    source.verify_unchanged()


def test_published_checkpoint_folder_names_its_checkpoints(real: Path) -> None:
    from tunescope.errors import BadInput

    with pytest.raises(BadInput, match="checkpoint-23, checkpoint-46, checkpoint-69"):
        open_source(real / "qwen2.5-0.5b_vinuni_r8")


def test_ranks_of_the_first_format_agree_with_its_metadata(real: Path) -> None:
    path = real / "stable-diffusion-1.5_early-lora" / "analog_svd_rank4.safetensors"
    with safe_open(path, "np") as file:
        ranks = {int(v) for k, v in file.metadata().items() if k.endswith(":rank")}
    assert {delta.rank for delta in open_source(path).deltas} == ranks


def whole_cosine(one: Source, other: Source) -> float:
    """Cosine of the two whole updates, all modules together."""
    left = {d.component_name: d.open().dense() for d in one.deltas}
    right = {d.component_name: d.open().dense() for d in other.deltas}
    assert left.keys() == right.keys()
    dot = sum(float((left[name] * right[name]).sum()) for name in left)
    sizes = [sum(float((matrix**2).sum()) for matrix in side.values()) ** 0.5 for side in (left, right)]
    return dot / (sizes[0] * sizes[1])


def test_known_cosines_between_checkpoints(real: Path) -> None:
    qwen = [open_source(real / "qwen2.5-0.5b_vinuni_r8" / f"checkpoint-{step}") for step in (23, 46, 69)]
    assert whole_cosine(qwen[0], qwen[2]) == pytest.approx(0.928, abs=5e-4)
    assert whole_cosine(qwen[1], qwen[2]) == pytest.approx(0.998, abs=5e-4)
    run = real / "roberta-base_portuguese-news_r8"
    steps = sorted(run.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    sources = [open_source(step) for step in steps]
    rising = [whole_cosine(source, sources[-1]) for source in sources]
    assert rising == sorted(rising)
    assert rising[0] == pytest.approx(0.58, abs=5e-3)
    assert rising[-1] == pytest.approx(1.0)
