"""DiffSynth's adapters of MiniMax-H3, whose fused projections stand head by head."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tunescope import norms
from tunescope.measure.between import between
from tunescope.source import open_source

HEADS, HEAD, D, R = 3, 128, 16, 4
LISTS = ("blocks", "token_refiner.blocks")


def fused(rows: int = 3 * HEADS * HEAD) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    return {f"{blocks}.1.attn.qkv_proj": (torch.randn(R, D), torch.randn(rows, R)) for blocks in LISTS}


def written(
    path: Path, modules: dict[str, tuple[torch.Tensor, torch.Tensor]], words: tuple[str, str]
) -> Path:
    pairs = (
        (f"{m}.{word}.weight", f) for m, both in modules.items() for word, f in zip(words, both, strict=True)
    )
    save_file({name: factor.contiguous().clone() for name, factor in pairs}, path)
    return path


def split(
    modules: dict[str, tuple[torch.Tensor, torch.Tensor]],
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """As the loader of a whole model cuts its shards: (heads, q k v, rows of a head)."""
    names = {"blocks": "transformer_blocks", "token_refiner.blocks": "token_refiner.refiner_blocks"}
    found = {}
    for name, (down, up) in modules.items():
        parts = up.unflatten(0, (HEADS, 3, HEAD)).unbind(dim=1)
        stem = f"transformer.{names[name.partition('.1.')[0]]}.1.attn.to_"
        found |= {stem + side: (down, part.flatten(0, 1)) for side, part in zip("qkv", parts, strict=True)}
    return found


@pytest.mark.parametrize("prefix", ["", "pipe.dit.", "diffusion_model."])
def test_rows_head_by_head_are_the_rows_of_the_three_projections(prefix: str, tmp_path: Path) -> None:
    mine = {f"{prefix}{name}": both for name, both in fused().items()}
    theirs = written(tmp_path / "a.safetensors", mine, ("lora_A.default", "lora_B.default"))
    ours = written(tmp_path / "b.safetensors", split(fused()), ("lora_A", "lora_B"))
    sources = [open_source(file, scale=1.0) for file in (theirs, ours)]
    found = between([(s.label, s.deltas) for s in sources])
    assert found.cosine[0, 1] == pytest.approx(1.0, abs=1e-12)
    assert found.compared[0, 1] == 6
    notes = [f for f in norms(f"x={theirs}", scale={"x": 1.0}).findings if f.kind == "rows_of_diffsynth"]
    assert [note.severity for note in notes] == ["note"]


def test_other_trainers_have_the_order_of_projections(tmp_path: Path) -> None:
    file = written(tmp_path / "a.safetensors", fused(), ("lora_A", "lora_B"))
    source = open_source(file, scale=1.0)
    assert not [n for n in source.notices if n.slug == "rows-of-diffsynth"]
    stored = {name: both[1] for name, both in fused().items()}
    for delta in source.deltas:
        name = delta.tensors[0].removesuffix(".lora_A.weight")
        assert torch.equal(torch.tensor(delta.open().B), stored[name])


def test_rows_that_are_no_whole_heads_stay_as_they_are(tmp_path: Path) -> None:
    file = written(tmp_path / "a.safetensors", fused(3 * 100), ("lora_A.default", "lora_B.default"))
    source = open_source(file, scale=1.0)
    assert not [n for n in source.notices if n.slug == "rows-of-diffsynth"]
    assert len(source.deltas) == 2
