"""Checkpoints of `torch.distributed.checkpoint`, against the tensors that torch saved in them."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex, TensorStorageMetadata

import tunescope
from tunescope.errors import BadInput, Missing
from tunescope.questions.trajectory.study import trajectory
from tunescope.source import open_source
from tunescope.source.checkpoints import open_checkpoint
from tunescope.source.files.distributed import read_distributed
from tunescope.source.files.tensors import to_float32

pytestmark = pytest.mark.filterwarnings("ignore")


def saved(folder: Path, state: dict[str, Any]) -> Path:
    dcp.save(state, checkpoint_id=folder, no_dist=True)
    return folder


def change(folder: Path, edit: Any) -> None:
    """Edit the checkpoint's index as torch reads it."""
    path = folder / ".metadata"
    metadata = pickle.loads(path.read_bytes())
    edit(metadata)
    path.write_bytes(pickle.dumps(metadata))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_tensors_are_torchs_to_the_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    w, v = torch.randn(7, 5).to(dtype), torch.randn(4, 6).to(dtype)
    state = {
        "model": {
            "w": w,
            "turned": v.T,
            "part": torch.randn(9, 3).to(dtype)[2:4],
            "one": w[0, 0],
            "none": w[:0],
        }
    }
    tensors = read_distributed(saved(tmp_path / "c", state | {"step": 5})).tensors
    assert sorted(tensors) == ["model.none", "model.one", "model.part", "model.turned", "model.w"]
    for name, expected in state["model"].items():
        found = tensors[f"model.{name}"]
        assert found.shape == tuple(expected.shape)
        wide = found.read() if dtype == torch.float64 else to_float32(found.read())
        np.testing.assert_array_equal(wide, expected.to(torch.promote_types(dtype, torch.float32)).numpy())
        half = found.part(1, 4)
        np.testing.assert_array_equal(half, found.read().reshape(-1)[1:4])


@pytest.mark.parametrize("axis", [0, 1])
def test_the_chunks_of_several_processes_are_put_together(tmp_path: Path, axis: int) -> None:
    parts = [torch.randn(3, 4), torch.randn(3, 4)]
    whole = torch.cat(parts, dim=axis)
    folder = saved(tmp_path / "c", {"a": parts[0], "b": parts[1]})

    def join(metadata: Any) -> None:
        about, chunks = metadata.state_dict_metadata, []
        for name, offset in (("a", [0, 0]), ("b", [3, 0] if axis == 0 else [0, 4])):
            place = torch.Size(offset)
            chunks.append(ChunkStorageMetadata(place, torch.Size([3, 4])))
            stored = metadata.storage_data.pop(MetadataIndex(name, torch.Size([0, 0]), 0))
            metadata.storage_data[MetadataIndex("w", place, 0)] = stored
        properties = about.pop("a").properties
        about.pop("b")
        about["w"] = TensorStorageMetadata(properties, whole.shape, chunks)

    change(folder, join)
    found = read_distributed(folder).tensors["w"]
    np.testing.assert_array_equal(found.read(), whole.numpy())
    np.testing.assert_array_equal(found.part(5, 21), whole.numpy().reshape(-1)[5:21])


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("/tmp/tunescope-was-here"),)


def test_nothing_that_the_index_names_is_run(tmp_path: Path) -> None:
    folder = saved(tmp_path / "c", {"w": torch.ones(2)})
    (folder / ".metadata").write_bytes(pickle.dumps({"state_dict_metadata": Evil()}))
    with pytest.raises(BadInput, match="unsafe-pickle"):
        read_distributed(folder)
    assert not Path("/tmp/tunescope-was-here").exists()


def test_nothing_that_a_chunk_names_is_run(tmp_path: Path) -> None:
    folder = saved(tmp_path / "c", {"w": torch.ones(2)})
    (data,) = folder.glob("*.distcp")
    torch.save(Evil(), data)

    def grow(metadata: Any) -> None:
        (info,) = metadata.storage_data.values()
        info.length = data.stat().st_size

    change(folder, grow)
    with pytest.raises(BadInput, match=r"unsafe-pickle|bad-pickle"):
        read_distributed(folder)
    assert not Path("/tmp/tunescope-was-here").exists()


def elsewhere(metadata: Any) -> None:
    next(iter(metadata.storage_data.values())).relative_path = "../other.distcp"


def larger(metadata: Any) -> None:
    about = metadata.state_dict_metadata["w"]
    about.chunks[0] = ChunkStorageMetadata(torch.Size([0]), torch.Size([10**9]))


def lost(metadata: Any) -> None:
    metadata.storage_data.clear()


def behind(metadata: Any) -> None:
    next(iter(metadata.storage_data.values())).offset = 10**9


@pytest.mark.parametrize(
    ("edit", "slug"),
    [
        (elsewhere, "unsafe-shard-name"),
        (larger, "bad-shape"),
        (lost, "index-mismatch"),
        (behind, "truncated"),
    ],
)
def test_an_index_that_its_files_contradict_is_refused(tmp_path: Path, edit: Any, slug: str) -> None:
    folder = saved(tmp_path / "c", {"w": torch.ones(2)})
    change(folder, edit)
    with pytest.raises(BadInput, match=slug):
        read_distributed(folder)


WRONG_SIZES = {
    "negative": [-1],
    "negative-twice": [-2, -1],
    "beyond-int64": [10**20],
    "more-digits-than-python-writes": [10**5000],
    "product-beyond-int64": [2**40, 2**40],
    "empty-and-too-large": [0, 2**59, 2**59],
    "too-many-axes": [1] * 65,
    "true": [True],
    "float": [2.0],
}


def sized(metadata: Any, size: list[int]) -> None:
    about = metadata.state_dict_metadata["w"]
    about.size = tuple(size)
    about.chunks[0].sizes = tuple(size)


def chunk_sized(metadata: Any, size: list[int]) -> None:
    metadata.state_dict_metadata["w"].chunks[0].sizes = tuple(size)


def offset(metadata: Any, place: list[int]) -> None:
    chunk = metadata.state_dict_metadata["w"].chunks[0]
    chunk.offsets = tuple(place)
    (info,) = metadata.storage_data.values()
    metadata.storage_data = {MetadataIndex("w", torch.Size([0]), 0): info}
    object.__setattr__(next(iter(metadata.storage_data)), "offset", tuple(place))


@pytest.mark.parametrize("edit", [sized, chunk_sized, offset])
@pytest.mark.parametrize("size", WRONG_SIZES.values(), ids=WRONG_SIZES)
def test_sizes_and_offsets_that_no_tensor_has_are_bad_input(
    tmp_path: Path, edit: Callable[[Any, list[int]], None], size: list[int]
) -> None:
    folder = saved(tmp_path / "c", {"w": torch.ones(2)})
    change(folder, lambda metadata: edit(metadata, size))
    with pytest.raises(BadInput) as caught:
        read_distributed(folder)
    assert caught.value.slug in ("bad-pickle", "bad-shape", "index-mismatch")
    assert caught.value.file == str(folder / ".metadata")


@pytest.mark.parametrize("value", [-1, 2**64, 10**5000], ids=["negative", "large", "enormous"])
@pytest.mark.parametrize("name", ["offset", "length"])
def test_a_place_in_a_file_that_no_file_has_is_bad_input(tmp_path: Path, name: str, value: int) -> None:
    folder = saved(tmp_path / "c", {"w": torch.ones(2)})
    change(folder, lambda metadata: setattr(next(iter(metadata.storage_data.values())), name, value))
    with pytest.raises(BadInput, match="truncated"):
        read_distributed(folder)


def test_chunks_that_overlap_and_leave_a_gap_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "c", {"a": torch.ones(2, 3), "b": torch.ones(2, 3)})

    def lay(metadata: Any) -> None:
        about, chunks = metadata.state_dict_metadata, []
        for name, place in (("a", torch.Size([0, 0])), ("b", torch.Size([1, 0]))):
            chunks.append(ChunkStorageMetadata(place, torch.Size([2, 3])))
            stored = metadata.storage_data.pop(MetadataIndex(name, torch.Size([0, 0]), 0))
            metadata.storage_data[MetadataIndex("w", place, 0)] = stored
        about["w"] = TensorStorageMetadata(about.pop("a").properties, torch.Size([4, 3]), chunks)
        about.pop("b")

    change(folder, lay)
    with pytest.raises(BadInput, match="index-mismatch"):
        read_distributed(folder)


def test_files_that_are_links_out_of_the_folder_are_followed_only_where_asked_for(tmp_path: Path) -> None:
    folder = saved(tmp_path / "c", adapter(1))
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4}))
    (data,) = folder.glob("*.distcp")
    data.rename(tmp_path / data.name)
    data.symlink_to(tmp_path / data.name)
    for opened in (open_source, open_checkpoint, read_distributed):
        with pytest.raises(BadInput, match="link-outside"):
            opened(folder)
    with pytest.raises(BadInput, match="link-outside"):
        tunescope.norms(folder, base=folder)
    assert len(open_source(folder, follow_symlinks=True).deltas) == 1


@pytest.mark.parametrize("cut", [0, 10, 200])
def test_a_damaged_index_is_refused(tmp_path: Path, cut: int) -> None:
    folder = saved(tmp_path / "c", {"w": torch.ones(2)})
    raw = (folder / ".metadata").read_bytes()
    (folder / ".metadata").write_bytes(raw[:cut])
    with pytest.raises(BadInput, match="bad-pickle"):
        read_distributed(folder)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = saved(tmp_path / "c", {"w": torch.ones(2)})
    next(folder.glob("*.distcp")).unlink()
    with pytest.raises(Missing, match="missing-shards"):
        read_distributed(folder)


def test_a_run_of_distributed_checkpoints_moves_as_the_same_run_in_safetensors(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        torch.manual_seed(step)
        weights = {f"model.layers.{i}.mlp.up_proj.weight": torch.randn(6, 4) for i in range(3)}
        sharded = tmp_path / "sharded" / f"checkpoint-{step}"
        saved(sharded / "pytorch_model_fsdp_0", {"model": weights})
        saved(sharded / "optimizer_0", {"state": torch.randn(4)})
        (tmp_path / "plain" / f"checkpoint-{step}").mkdir(parents=True)
        save_file(weights, tmp_path / "plain" / f"checkpoint-{step}" / "model.safetensors")
    runs = [trajectory(str(tmp_path / name)).table.frame.drop("model_id") for name in ("sharded", "plain")]
    assert runs[0].equals(runs[1], null_equal=True)


def test_an_adapter_in_a_distributed_checkpoint_is_one(tmp_path: Path) -> None:
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    state = {key.format("A"): torch.randn(2, 6), key.format("B"): torch.randn(4, 2)}
    found = open_checkpoint(saved(tmp_path / "c", {"model": state, "optim": {"x": torch.ones(3)}}))
    assert found.kind == "adapter"
    assert len(found.weights) == 1


LORA = "base_model.model.model.layers.{}.self_attn.q_proj"


def adapter(layers: int = 3) -> dict[str, torch.Tensor]:
    """A LoRA adapter under PEFT's names."""
    return {
        f"{LORA.format(n)}.{side}.weight": torch.randn(*shape)
        for n in range(layers)
        for side, shape in (("lora_A", (2, 6)), ("lora_B", (4, 2)))
    }


def whole(shift: float = 0.0) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {f"model.layers.{n}.self_attn.q_proj.weight": torch.randn(4, 6) + shift for n in range(3)}


@pytest.mark.parametrize("inside", ["", "pytorch_model_fsdp_0"])
def test_every_question_takes_an_adapter_that_torch_distributed_saved(tmp_path: Path, inside: str) -> None:
    state, plain = adapter(), tmp_path / "plain"
    plain.mkdir()
    save_file(state, plain / "adapter_model.safetensors")
    config = json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4})
    (plain / "adapter_config.json").write_text(config)
    folder = tmp_path / "checkpoint-7"
    saved(folder / inside, {"model": state, "optimizer": {"exp_avg": torch.ones(3)}})
    (folder / inside / "adapter_config.json").write_text(config)

    study = tunescope.norms(folder, plain)
    (row,) = study.tables["similarity"].frame.to_dicts()
    assert (row["delta_cosine"], row["components"], row["identical"]) == (pytest.approx(1.0), 3, 3)
    assert {file["file"] for file in study.sources[0]["files"]} == {".metadata", "__0_0.distcp"}
    assert tunescope.subspace(folder, plain).table.frame["delta_cosine"].to_list() == pytest.approx([1.0] * 3)
    base = tmp_path / "base.safetensors"
    save_file(whole(), base)
    found = tunescope.check(folder, base=base).readout["models"]["checkpoint-7"]
    assert (found["attached"], found["modules"]) == (3, 3)


def test_whole_models_that_torch_distributed_saved_are_sources_and_bases(tmp_path: Path) -> None:
    base, tuned = saved(tmp_path / "base", {"model": whole()}), tmp_path / "step-5"
    saved(tuned / "model", {"model": whole(0.5), "optim": {"state": torch.ones(2)}})
    study = tunescope.norms(tuned, base=base)
    assert study.table.frame["frobenius_norm"].to_list() == pytest.approx([0.5 * 24**0.5] * 3, rel=1e-6)


def test_a_folder_of_numbered_checkpoints_is_not_one_source(tmp_path: Path) -> None:
    for step in (1, 2):
        saved(tmp_path / "run" / f"checkpoint-{step}", {"model": adapter()})
    with pytest.raises(BadInput):
        tunescope.norms(tmp_path / "run")


def test_a_bug_in_the_process_that_reads_the_index_is_not_taken_for_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".metadata").write_bytes(b"x")
    (tmp_path / "planted.py").write_text("raise ValueError('planted')\n")
    monkeypatch.setattr("tunescope.source.files.distributed._SCRIPT", tmp_path / "planted.py")
    with pytest.raises(RuntimeError, match="planted"):
        read_distributed(tmp_path)
