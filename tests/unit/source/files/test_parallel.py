"""A file that is one rank's part of split tensors is never read as if it were whole."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tunescope.errors import BadInput
from tunescope.source import open_source


def ranks(root: Path, *names: str) -> list[Path]:
    stem = "decoder.layers.0.self_attention.linear_qkv.adapter"
    tensors = {f"{stem}.linear_in.weight": np.ones((2, 8), np.float32),
               f"{stem}.linear_out.weight": np.ones((6, 2), np.float32)}  # fmt: skip
    files = []
    for name in names:
        (root / name).mkdir(parents=True)
        files.append(root / name / "weights.safetensors")
        save_file(tensors, files[-1])
    return files


@pytest.mark.parametrize(
    "names", [("mp_rank_00", "mp_rank_01"), ("mp_rank_00_000", "mp_rank_00_001", "mp_rank_01_000")]
)
def test_parts_of_several_ranks_are_refused_with_a_way_out(names: tuple[str, ...], tmp_path: Path) -> None:
    files = ranks(tmp_path / "iter_0000010", *names)
    for place in (files[0], files[0].parent, tmp_path / "iter_0000010"):
        with pytest.raises(BadInput) as caught:
            open_source(place)
        assert caught.value.slug == "tensor-parallel"
        assert "tensor-parallel shards" in str(caught.value)
        assert "mp_rank_00" in str(caught.value.found)
        assert "export_adapter_ckpt" in str(caught.value.fix)


@pytest.mark.parametrize("names", [("mp_rank_00",), ("mp_rank_00_000", "mp_rank_00_001")])
def test_one_part_alone_is_the_whole_tensor(names: tuple[str, ...], tmp_path: Path) -> None:
    """A training on one GPU, or one whose layers alone were shared out."""
    for file in ranks(tmp_path, *names):
        assert [(d.d_out, d.d_in) for d in open_source(file).deltas] == [(6, 8)]


@pytest.mark.parametrize("name", ["model_weights.ckpt", "model_optim_rng.pt"])
def test_a_folder_with_one_ranks_pickle_is_called_so_and_its_file_named(name: str, tmp_path: Path) -> None:
    rank = tmp_path / "nemo" / "mp_rank_00"
    rank.mkdir(parents=True)
    (rank / name).write_bytes(b"PK")
    for place in (rank, rank.parent):
        with pytest.raises(BadInput, match="one rank") as caught:
            open_source(place)
        assert str(caught.value.fix) == f"name the file: {rank / name}"
