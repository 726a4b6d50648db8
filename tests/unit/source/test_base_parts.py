"""Updates of a fused projection beside a base that keeps its parts, and the other way."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

import tunescope
from tunescope.errors import BadInput
from tunescope.source.checkpoint import open_checkpoint
from tunescope.source.open import open_source

Numbers = NDArray[np.float32]
D = 6


def normal(*shape: int, seed: int = 0) -> Numbers:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# A fused weight of a model's own code, and what diffusers keeps instead, in the order of the rows.
FUSED = {
    "SD3": ("joint_blocks.0.x_block.attn.qkv", [f"transformer_blocks.0.attn.to_{s}" for s in "qkv"]),
    "SD3, text": (
        "joint_blocks.0.context_block.attn.qkv", [f"transformer_blocks.0.attn.add_{s}_proj" for s in "qkv"]
    ),
    "Z-Image": ("layers.1.attention.qkv", [f"layers.1.attention.to_{s}" for s in "qkv"]),
    "Flux": (
        "single_blocks.2.linear1",
        [f"single_transformer_blocks.2.{m}" for m in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")],
    ),
}  # fmt: skip
CASES = [(name, fused) for name in FUSED for fused in (True, False)]


def written(tmp_path: Path, case: str, fused_adapter: bool) -> tuple[Path, Path, dict[str, Numbers]]:
    """An adapter of one way beside a base of the other, and W of each of its modules."""
    whole, names = FUSED[case]
    rows = [D, D, D, 2 * D][: len(names)]
    parts = dict(zip(names, (normal(n, D, seed=k) for k, n in enumerate(rows)), strict=True))
    one = {whole: np.concatenate(list(parts.values()))}
    ours, base = (one, parts) if fused_adapter else (parts, one)
    factors = {}
    for name, weight in ours.items():
        key = f"lora_unet_{name.replace('.', '_')}" if fused_adapter else f"transformer.{name}"
        down, up = ("lora_down", "lora_up") if fused_adapter else ("lora_A", "lora_B")
        factors[f"{key}.{down}.weight"] = normal(2, D, seed=8)
        factors[f"{key}.{up}.weight"] = normal(len(weight), 2, seed=9)
        if fused_adapter:
            factors[f"{key}.alpha"] = np.array(2, np.float32)
    save_file(factors, tmp_path / "adapter.safetensors")
    save_file({f"{name}.weight": w for name, w in base.items()}, tmp_path / "base.safetensors")
    return tmp_path / "adapter.safetensors", tmp_path / "base.safetensors", ours


@pytest.mark.parametrize(("case", "fused_adapter"), CASES)
def test_fused_and_split_projections_have_their_base_weights(
    tmp_path: Path, case: str, fused_adapter: bool
) -> None:
    adapter, base, ours = written(tmp_path, case, fused_adapter)
    frame = tunescope.norms(f"x={adapter}", base=base, scale={"x": 1.0}).table.frame
    assert frame["status"].to_list() == ["ok"] * len(ours)
    update = {n: normal(len(w), 2, seed=9).astype(float) @ normal(2, D, seed=8) for n, w in ours.items()}
    wanted = sorted(np.linalg.norm(update[n]) / np.linalg.norm(ours[n].astype(float)) for n in ours)
    assert sorted(frame["relative_norm"]) == pytest.approx(wanted, rel=1e-6)
    assert set(tunescope.check(adapter, base=base).table.frame["status"]) == {"attached"}


@pytest.mark.parametrize(("case", "fused_adapter"), CASES)
def test_a_checkpoint_gives_the_rows_of_such_weights(tmp_path: Path, case: str, fused_adapter: bool) -> None:
    adapter, base, ours = written(tmp_path, case, fused_adapter)
    deltas = open_source(adapter).deltas
    checkpoint = open_checkpoint(base).fitted(deltas)
    # An adapter of few modules may keep them in another order than its base.
    found = sorted((checkpoint.weight(delta) for delta in deltas), key=np.sum)
    for weight, wanted in zip(found, sorted(ours.values(), key=np.sum), strict=True):
        np.testing.assert_array_equal(weight, wanted)


def test_a_fused_weight_of_which_the_base_lacks_a_part_is_absent(tmp_path: Path) -> None:
    adapter, _, _ = written(tmp_path, "Flux", fused_adapter=True)
    names = FUSED["Flux"][1][:-1]
    save_file({f"{name}.weight": normal(D, D) for name in names}, tmp_path / "less.safetensors")
    with pytest.raises(BadInput) as caught:
        tunescope.norms(adapter, base=tmp_path / "less.safetensors")
    assert (caught.value.slug, caught.value.found) == ("other-base", "not in the base")
