"""The base checkpoint: single or sharded, only the touched tensors read, catalogue cases 29-38."""

import json
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from tunescope.address import parse
from tunescope.delta import Delta, Factored
from tunescope.errors import BadInput, Missing
from tunescope.source.checkpoint import open_checkpoint
from tunescope.source.files.disk import Snapshot

Q = "model.layers.0.self_attn.q_proj"
V = "model.layers.1.self_attn.v_proj"


def delta(name: str = Q, d_out: int = 6, d_in: int = 4) -> Delta:
    update = Factored(np.ones((d_out, 1)), np.ones((1, d_in)))
    return Delta(parse(name), "W", "lora", d_out, d_in, 1, None, 1.0, (name,), open=lambda: update)


def weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        f"{name}.{kind}": random.standard_normal(shape).astype(np.float32)
        for name in (Q, V)
        for kind, shape in (("weight", (6, 4)), ("bias", (6,)))
    }


def sharded(folder: Path, total: int | None = None, index: bool = True) -> Path:
    tensors = weights()
    parts = {f"model-0000{k}-of-00002.safetensors": name for k, name in ((1, Q), (2, V))}
    weight_map, size = {}, 0
    for file, module in parts.items():
        held = {name: t for name, t in tensors.items() if name.startswith(module)}
        save_file(held, folder / file)
        weight_map |= dict.fromkeys(held, file)
        size += sum(t.nbytes for t in held.values())
    if index:
        document = {"metadata": {"total_size": size if total is None else total}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(document))
    return folder


def read(place: Path, name: str = Q) -> np.ndarray:
    found = open_checkpoint(place).weight(delta(name))
    assert isinstance(found, np.ndarray)
    return found


def test_a_single_file_and_a_folder_with_one(tmp_path: Path) -> None:
    save_file(weights(), tmp_path / "model.safetensors")
    for place in (tmp_path, tmp_path / "model.safetensors"):
        np.testing.assert_array_equal(read(place), weights()[f"{Q}.weight"])


def test_only_the_touched_tensor_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = open_checkpoint(sharded(tmp_path))
    ranges: list[int] = []
    plain = Snapshot.read

    def counted(self: Snapshot, offset: int, nbytes: int) -> np.ndarray:
        ranges.append(nbytes)
        return plain(self, offset, nbytes)

    monkeypatch.setattr(Snapshot, "read", counted)
    base.weight(delta(V))
    assert ranges == [6 * 4 * 4]


def test_shards_with_their_index(tmp_path: Path) -> None:
    base = open_checkpoint(sharded(tmp_path))
    assert base.notices == ()
    np.testing.assert_array_equal(base.weight(delta(V)), weights()[f"{V}.weight"])
    base.verify_unchanged()


def test_29_missing_shards_are_all_named(tmp_path: Path) -> None:
    sharded(tmp_path)
    for path in tmp_path.glob("model-*.safetensors"):
        path.unlink()
    with pytest.raises(Missing, match="missing-shards") as told:
        open_checkpoint(tmp_path)
    assert "00001" in str(told.value)
    assert "00002" in str(told.value)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/x.safetensors", "https://x/y.safetensors"])
def test_30_shard_names_that_lead_away_are_refused(tmp_path: Path, name: str) -> None:
    sharded(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(BadInput, match="unsafe-shard-name"):
        open_checkpoint(tmp_path)


def test_31_a_tensor_that_its_shard_lacks(tmp_path: Path) -> None:
    index = sharded(tmp_path) / "model.safetensors.index.json"
    document = json.loads(index.read_text())
    document["weight_map"]["lost.weight"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(document))
    with pytest.raises(BadInput, match=r"lost\.weight"):
        open_checkpoint(tmp_path)


def test_32_a_tensor_outside_the_index_is_included_with_a_warning(tmp_path: Path) -> None:
    index = sharded(tmp_path) / "model.safetensors.index.json"
    document = json.loads(index.read_text())
    del document["weight_map"][f"{Q}.weight"]
    index.write_text(json.dumps(document))
    base = open_checkpoint(tmp_path)
    assert "not-in-index" in [notice.slug for notice in base.notices]
    assert isinstance(base.weight(delta()), np.ndarray)


def test_33_one_tensor_in_two_shards_with_different_bytes(tmp_path: Path) -> None:
    sharded(tmp_path, index=False)
    save_file({f"{Q}.weight": np.zeros((6, 4), np.float32)}, tmp_path / "model-00002-of-00002.safetensors")
    with pytest.raises(BadInput, match="tensor-in-two-shards"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("other", ["model.safetensors", "pytorch_model.bin"])
def test_34_two_sets_of_weights_are_ambiguous(tmp_path: Path, other: str) -> None:
    sharded(tmp_path)
    if other.endswith(".bin"):
        (tmp_path / other).write_bytes(b"x")
    else:
        save_file(weights(), tmp_path / other)
    with pytest.raises(BadInput, match="ambiguous-weights"):
        open_checkpoint(tmp_path)


def test_35_shards_of_two_saves(tmp_path: Path) -> None:
    sharded(tmp_path, index=False)
    (tmp_path / "model-00002-of-00002.safetensors").rename(tmp_path / "model-00002-of-00005.safetensors")
    with pytest.raises(BadInput, match="mixed-shards"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("text", ["{", '{"weight_map": [1]}', "[]"])
def test_36_a_broken_index(tmp_path: Path, text: str) -> None:
    (sharded(tmp_path) / "model.safetensors.index.json").write_text(text)
    with pytest.raises(BadInput, match="bad-index"):
        open_checkpoint(tmp_path)


def test_37_a_wrong_total_is_a_warning(tmp_path: Path) -> None:
    base = open_checkpoint(sharded(tmp_path, total=7))
    assert [notice.slug for notice in base.notices] == ["wrong-total-size"]


def test_38_shards_without_an_index(tmp_path: Path) -> None:
    base = open_checkpoint(sharded(tmp_path, index=False))
    assert [notice.slug for notice in base.notices] == ["no-index"]
    assert isinstance(base.weight(delta(V)), np.ndarray)


def test_bfloat16_is_widened_and_a_convolution_flattened(tmp_path: Path) -> None:
    kernel = np.arange(48, dtype=np.float32).reshape(6, 2, 2, 2)
    save_file({f"{Q}.weight": kernel.astype(ml_dtypes.bfloat16)}, tmp_path / "model.safetensors")
    found = open_checkpoint(tmp_path).weight(delta(d_in=8))
    np.testing.assert_array_equal(found, kernel.reshape(6, 8))


def test_a_layer_stored_transposed_comes_out_in_the_layers_own_shape(tmp_path: Path) -> None:
    save_file(
        {"transformer.h.0.attn.c_attn.weight": weights()[f"{Q}.weight"].T.copy()}, tmp_path / "m.safetensors"
    )
    found = open_checkpoint(tmp_path).weight(delta("transformer.h.0.attn.c_attn"), transposed=True)
    np.testing.assert_array_equal(found, weights()[f"{Q}.weight"])


def test_a_quantised_or_absent_weight_is_said_not_guessed(tmp_path: Path) -> None:
    save_file({f"{Q}.weight": np.ones((6, 4), np.uint8)}, tmp_path / "model.safetensors")
    base = open_checkpoint(tmp_path)
    assert base.weight(delta()) == "the base holds it as U8, quantised"
    assert base.weight(delta(V)) == "not in the base"


def test_another_bases_weights_are_refused_with_names_of_both(tmp_path: Path) -> None:
    save_file(weights(), tmp_path / "model.safetensors")
    base = open_checkpoint(tmp_path)
    with pytest.raises(BadInput, match="other-base"):
        base.weight(delta(d_in=5))
    with pytest.raises(BadInput, match=r"layers\.7(.|\n)*layers\.0"):
        base.check([delta("model.layers.7.self_attn.q_proj")])


def test_nothing_there_and_nothing_inside(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="not-found"):
        open_checkpoint(tmp_path / "absent")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadInput, match="no-weights"):
        open_checkpoint(tmp_path)


def test_57_an_embeddings_table_is_read_as_the_layer_applies_it(tmp_path: Path) -> None:
    table = np.arange(24, dtype=np.float32).reshape(6, 4)
    save_file({"model.embed_tokens.weight": table}, tmp_path / "model.safetensors")
    embedding = delta("model.embed_tokens", d_out=4, d_in=6)
    tensors = ("base_model.model.model.embed_tokens.lora_embedding_A",)
    found = open_checkpoint(tmp_path).weight(replace(embedding, tensors=tensors))
    np.testing.assert_array_equal(found, table.T)


def test_62_the_first_three_mismatches_are_shown_before_anything_is_read(tmp_path: Path) -> None:
    names = [f"model.layers.{k}.self_attn.q_proj" for k in range(5)]
    save_file(
        {f"{name}.weight": np.zeros((6, 4), np.float32) for name in names}, tmp_path / "model.safetensors"
    )
    base = open_checkpoint(tmp_path)
    base.check([delta(name) for name in names])
    with pytest.raises(BadInput, match=r"5 shapes differ(.|\n)*layers\.2\.\S+ and 2 more") as refused:
        base.check([delta(name, d_in=5) for name in names] * 2)
    assert refused.value.found == "6×4, 6×4, 6×4"


def test_a_base_under_a_wrapper_prefix_holds_the_weights_of_an_adapter_without(tmp_path: Path) -> None:
    wrapped = {f"language_model.{name}": value for name, value in weights().items()}
    save_file(wrapped | {"vision.patch.weight": np.ones((3, 3), np.float32)}, tmp_path / "model.safetensors")
    deltas = [delta(Q), delta(V)]
    base = open_checkpoint(tmp_path).fitted(deltas)
    base.check(deltas)
    np.testing.assert_array_equal(base.weight(deltas[1]), weights()[f"{V}.weight"])
