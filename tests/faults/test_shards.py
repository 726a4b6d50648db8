"""Broken shards and folders: the catalogue's entries 29 to 38, each by its number."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tunescope.errors import BadInput, Missing
from tunescope.source import open_source

Made = Callable[..., Path]
ONE, TWO = "adapter_model-00001-of-00002.safetensors", "adapter_model-00002-of-00002.safetensors"


def factors(module: str) -> dict[str, Any]:
    stem = f"base_model.model.model.layers.0.self_attn.{module}"
    return {
        f"{stem}.lora_A.weight": np.ones((2, 6), np.float32),
        f"{stem}.lora_B.weight": np.ones((4, 2), np.float32),
    }


@pytest.fixture
def sharded(tmp_path: Path) -> Made:
    """`sharded(weight_map=…, total_size=…)` makes a folder of two shards with an index."""

    def make(weight_map: Any = None, total_size: int = 160, shards: tuple[str, ...] = (ONE, TWO)) -> Path:
        held = dict(zip(shards, (factors("q_proj"), factors("v_proj")), strict=True))
        for name, tensors in held.items():
            save_file(tensors, tmp_path / name)
        if weight_map is None:
            weight_map = {tensor: name for name, tensors in held.items() for tensor in tensors}
        index = {"metadata": {"total_size": total_size}, "weight_map": weight_map}
        (tmp_path / "adapter_model.safetensors.index.json").write_text(json.dumps(index))
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]}
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))
        return tmp_path

    return make


def refused(folder: Path) -> BadInput:
    with pytest.raises(BadInput) as raised:
        open_source(folder)
    assert raised.value.file is not None
    assert raised.value.expected is not None
    assert raised.value.fix
    return raised.value


def test_sound_shards_are_one_source(sharded: Made) -> None:
    source = open_source(sharded())
    assert [delta.component_name for delta in source.deltas] == ["L0_ATTN_Q", "L0_ATTN_V"]
    assert [path.name for path in source.files] == [ONE, TWO]
    assert sum(entry.bytes for entry in source.coverage) == 160
    assert not source.notices


def test_all_missing_shards_are_listed_at_once(sharded: Made) -> None:
    folder = sharded()
    (folder / ONE).unlink()
    (folder / TWO).unlink()
    with pytest.raises(Missing, match="missing-shards") as raised:
        open_source(folder)
    assert ONE in str(raised.value.found)
    assert TWO in str(raised.value.found)


@pytest.mark.parametrize(
    "name",
    ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "https://x/y.safetensors", "a\\b.safetensors",
     "a\0.safetensors", "..", "adapter_model.bin"],
)  # fmt: skip
def test_shard_names_that_lead_elsewhere_are_refused(sharded: Made, name: str) -> None:
    error = refused(sharded(weight_map={"x": name}))
    assert (error.slug, error.tensor) == ("unsafe-shard-name", "x")
    assert "\0" not in str(error)


def test_a_tensor_of_the_index_that_its_shard_lacks_is_refused(sharded: Made) -> None:
    weight_map = (
        dict.fromkeys(factors("q_proj"), ONE) | dict.fromkeys(factors("v_proj"), TWO) | {"ghost": TWO}
    )
    error = refused(sharded(weight_map=weight_map))
    assert (error.slug, error.tensor) == ("index-mismatch", "ghost")


def test_a_tensor_that_the_index_lacks_is_included_with_a_notice(sharded: Made) -> None:
    weight_map = dict.fromkeys(factors("q_proj"), ONE) | {next(iter(factors("v_proj"))): TWO}
    source = open_source(sharded(weight_map=weight_map))
    assert len(source.deltas) == 2
    assert [notice.slug for notice in source.notices] == ["not-in-index"]


def test_one_tensor_in_two_shards_is_refused_unless_its_bytes_are_equal(sharded: Made) -> None:
    folder = sharded()
    other = {name: tensor + 1 for name, tensor in factors("q_proj").items()}
    save_file(factors("v_proj") | other, folder / TWO)
    assert refused(folder).slug == "tensor-in-two-shards"
    save_file(factors("v_proj") | factors("q_proj"), folder / TWO)
    assert len(open_source(folder).deltas) == 2


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_model.bin"])
def test_shards_and_another_file_together_are_refused_as_ambiguous(sharded: Made, name: str) -> None:
    folder = sharded()
    save_file(factors("q_proj"), folder / name)
    error = refused(folder)
    assert error.slug == "ambiguous-weights"
    assert name in str(error.found)


def test_safetensors_and_a_pickle_together_are_refused_as_ambiguous(adapter: Made) -> None:
    folder = adapter()
    (folder / "adapter_model.bin").write_bytes(b"PK\x03\x04")
    assert refused(folder).slug == "ambiguous-weights"
    assert len(open_source(folder / "adapter_model.safetensors").deltas) == 2


def test_shards_of_two_saves_are_refused(sharded: Made) -> None:
    shards = (ONE, "adapter_model-00002-of-00005.safetensors")
    error = refused(sharded(shards=shards))
    assert error.slug == "mixed-shards"
    assert "-of-00002, -of-00005" in str(error.found)


@pytest.mark.parametrize(
    ("text", "line"),
    [('{\n"weight_map": {,}}', 2), ('{"weight_map": ["x"]}', 1), ('{"metadata": {}}', 1)],
)
def test_a_broken_index_is_refused_with_its_line(sharded: Made, text: str, line: int) -> None:
    folder = sharded()
    (folder / "adapter_model.safetensors.index.json").write_text(text)
    error = refused(folder)
    assert error.slug == "bad-index"
    assert str(error.file).endswith(f"index.json:{line}")


def test_a_wrong_total_size_is_noticed(sharded: Made) -> None:
    source = open_source(sharded(total_size=161))
    assert [notice.slug for notice in source.notices] == ["wrong-total-size"]


def test_a_missing_index_is_rebuilt_with_a_notice(sharded: Made) -> None:
    folder = sharded()
    (folder / "adapter_model.safetensors.index.json").unlink()
    source = open_source(folder)
    assert len(source.deltas) == 2
    assert [notice.slug for notice in source.notices] == ["no-index"]


def test_a_missing_shard_is_noticed_without_an_index_too(sharded: Made) -> None:
    folder = sharded()
    (folder / "adapter_model.safetensors.index.json").unlink()
    (folder / ONE).unlink()
    with pytest.raises(Missing, match="missing numbers: 1"):
        open_source(folder)


def test_shards_that_are_links_out_of_the_folder_are_refused(sharded: Made, tmp_path: Path) -> None:
    folder = sharded()
    away = tmp_path.parent / f"{tmp_path.name}-away"
    away.mkdir()
    for name in (ONE, TWO):
        (folder / name).rename(away / name)
        (folder / name).symlink_to(away / name)
    assert refused(folder).slug == "link-outside"
    assert refused(folder / "adapter_model.safetensors.index.json").slug == "link-outside"
    assert len(open_source(folder, follow_symlinks=True).deltas) == 2
