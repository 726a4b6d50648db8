"""LoRA adapters of llama.cpp, written here byte by byte as the format's description has it."""

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import tunescope
from tunescope.errors import BadInput
from tunescope.source import open_source
from tunescope.source.against import opener
from tunescope.source.whole import open_whole

RNG = np.random.default_rng(0)
TYPES = {"float32": 0, "float16": 1, "bfloat16": 30}


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def pair_of(key: str, kind: int, packed: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + packed


METADATA = [
    pair_of("general.architecture", 8, text("llama")),
    pair_of("general.type", 8, text("adapter")),
    pair_of("adapter.lora.alpha", 6, struct.pack("<f", 16.0)),
    pair_of("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + text("a") + text("bc")),
    pair_of("some.numbers", 9, struct.pack("<IQ3i", 5, 3, 1, 2, 3)),
]


def written(path: Path, tensors: dict[str, Any], metadata: list[bytes] = METADATA, version: int = 3) -> Path:
    """A GGUF file of plain arrays, dimensions fastest first, data aligned to 32 bytes."""
    infos, data = b"", b""
    for name, array in tensors.items():
        data += bytes(-len(data) % 32)
        shape = array.shape[::-1]
        infos += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        infos += struct.pack("<IQ", TYPES[array.dtype.name], len(data))
        data += array.tobytes()
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata)) + b"".join(metadata) + infos
    path.write_bytes(head + bytes(-len(head) % 32) + data)
    return path


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_a_pair_is_its_product_with_the_scale_of_the_metadata(tmp_path: Path, dtype: Any) -> None:
    a, b = RNG.normal(size=(4, 10)).astype(dtype), RNG.normal(size=(6, 4)).astype(dtype)
    stem = "blk.3.attn_v.weight"
    source = open_source(written(tmp_path / "x.gguf", {f"{stem}.lora_a": a, f"{stem}.lora_b": b}))
    (delta,) = source.deltas
    assert (source.format, delta.component_name, delta.scale, delta.alpha) == ("gguf", "L3_ATTN_V", 4.0, 16.0)
    np.testing.assert_allclose(delta.open().dense(), 4 * b.astype(np.float64) @ a.astype(np.float64))
    assert not source.notices


def test_stacked_experts_give_one_update_each(tmp_path: Path) -> None:
    a, b = RNG.normal(size=(3, 2, 8)).astype("f4"), RNG.normal(size=(3, 6, 2)).astype("f4")
    stem = "blk.0.ffn_down_exps.weight"
    source = open_source(written(tmp_path / "x.gguf", {f"{stem}.lora_a": a, f"{stem}.lora_b": b}))
    assert [d.address.expert for d in source.deltas] == [0, 1, 2]
    np.testing.assert_allclose(source.deltas[1].open().dense(), 8 * b[1].astype(float) @ a[1])


def test_without_alpha_the_scale_is_unknown(tmp_path: Path) -> None:
    a, b = np.ones((2, 8), np.float32), np.ones((6, 2), np.float32)
    source = open_source(written(tmp_path / "x.gguf", {"output.lora_a": a, "output.lora_b": b}, METADATA[:2]))
    assert source.deltas[0].scale is None
    assert [notice.slug for notice in source.notices] == ["scale-unknown"]


def whole(path: Path) -> bytes:
    a, b = np.ones((2, 8), np.float32), np.ones((6, 2), np.float32)
    return written(path, {"blk.0.attn_q.weight.lora_a": a, "blk.0.attn_q.weight.lora_b": b}).read_bytes()


def test_a_file_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    raw = whole(path)
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        with pytest.raises(BadInput):
            open_source(path)


def test_a_file_with_any_byte_of_its_header_changed_is_read_or_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    raw = whole(path)
    refused = 0
    for i in range(len(raw) - 112):
        path.write_bytes(raw[:i] + bytes([raw[i] ^ 0xFF]) + raw[i + 1 :])
        with contextlib.suppress(BadInput):
            refused += 1
            refused -= bool(open_source(path).coverage)
    assert refused > 100


def test_an_old_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="bad-gguf"):
        open_source(written(tmp_path / "x.gguf", {"a": np.ones(2, np.float32)}, version=1))


def number(key: str, value: int) -> bytes:
    return pair_of(key, 4, struct.pack("<I", value))


def permuted(rows: Any, heads: int) -> Any:
    """What llama.cpp's converter does to query and key weights."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


HEADS, KEYS, SIZE, WIDTH = 4, 2, 6, 20
PROJECTIONS = {"attn_q": ("self_attn.q_proj", HEADS * SIZE), "attn_k": ("self_attn.k_proj", KEYS * SIZE),
               "attn_v": ("self_attn.v_proj", KEYS * SIZE), "ffn_up": ("mlp.up_proj", 40)}  # fmt: skip


def both(tmp_path: Path, metadata: list[bytes], architecture: str = "llama", turn: bool = True) -> list[Any]:
    """One adapter as llama.cpp writes it and under transformers' names."""
    ours, theirs = {}, {}
    for layer in range(2):
        for short, (name, rows) in PROJECTIONS.items():
            a, b = RNG.normal(size=(3, WIDTH)).astype("f4"), RNG.normal(size=(rows, 3)).astype("f4")
            heads = {"attn_q": HEADS, "attn_k": KEYS}.get(short)
            ours[f"blk.{layer}.{short}.weight.lora_a"] = a
            ours[f"blk.{layer}.{short}.weight.lora_b"] = permuted(b, heads) if heads and turn else b
            stem = f"model.layers.{layer}.{name}"
            theirs |= {f"{stem}.lora_A.weight": a, f"{stem}.lora_B.weight": b}
    head = [pair_of("general.architecture", 8, text(architecture)), METADATA[2], *metadata]
    return [open_source(written(tmp_path / "x.gguf", ours, head)), open_source(theirs, scale=16 / 3)]


STATED = {
    "key_length": [number("llama.attention.key_length", SIZE)],
    "head counts": [
        number("llama.attention.head_count", HEADS),
        number("llama.attention.head_count_kv", KEYS),
    ],
    "rotary": [number("llama.rope.dimension_count", SIZE)],
}


@pytest.mark.parametrize("stated", STATED)
def test_query_and_key_rows_are_those_of_transformers_where_the_file_states_the_heads(
    tmp_path: Path, stated: str
) -> None:
    ours, theirs = both(tmp_path, STATED[stated])
    assert [d.address for d in ours.deltas] == [d.address for d in theirs.deltas]
    for mine, other in zip(ours.deltas, theirs.deltas, strict=True):
        np.testing.assert_allclose(mine.open().dense(), other.open().dense(), rtol=1e-6)
    (row,) = tunescope.norms(ours, theirs).tables["similarity"].frame.to_dicts()
    assert row["delta_cosine"] == pytest.approx(1.0, abs=1e-9)
    assert not [n for n in ours.notices if n.slug == "rows-of-llama-cpp"]


@pytest.mark.parametrize("stated", [[], [number("llama.attention.key_length", 7)]])
def test_rows_that_cannot_be_turned_back_are_said_to_be_as_they_were(tmp_path: Path, stated: Any) -> None:
    ours, theirs = both(tmp_path, stated)
    (notice,) = [n for n in ours.notices if n.slug == "rows-of-llama-cpp"]
    assert notice.text.startswith("4 query and key updates")
    for mine, other in zip(ours.deltas, theirs.deltas, strict=True):
        same = np.allclose(mine.open().dense(), other.open().dense(), rtol=1e-6)
        assert same is not mine.address.module_type.endswith(("q_proj", "k_proj"))
        assert np.isclose(np.linalg.norm(mine.open().dense()), np.linalg.norm(other.open().dense()))


def test_architectures_whose_rows_are_not_turned_are_left_alone(tmp_path: Path) -> None:
    ours, theirs = both(tmp_path, [number("qwen2.attention.key_length", SIZE)], "qwen2", turn=False)
    for mine, other in zip(ours.deltas, theirs.deltas, strict=True):
        np.testing.assert_allclose(mine.open().dense(), other.open().dense(), rtol=1e-6)
    assert not [n for n in ours.notices if n.slug == "rows-of-llama-cpp"]


def test_an_unknown_architecture_keeps_the_names_of_the_file(tmp_path: Path) -> None:
    ours, _ = both(tmp_path, [], "mamba", turn=False)
    assert {d.address.module_type for d in ours.deltas} == set(PROJECTIONS)


def test_the_base_tells_the_size_of_a_head_that_the_file_leaves_open(tmp_path: Path) -> None:
    W = RNG.normal(size=(12, 5)).astype(np.float32)
    for folder, model in (("told", {"head_dim": 6}), ("silent", {"model_type": "llama"})):
        (tmp_path / folder).mkdir()
        save_file({"model.layers.0.self_attn.q_proj.weight": W}, tmp_path / folder / "model.safetensors")
        (tmp_path / folder / "config.json").write_text(json.dumps(model))
    a, b = RNG.normal(size=(2, 5)).astype(np.float32), RNG.normal(size=(12, 2)).astype(np.float32)
    alternating = b.reshape(2, 2, 3, 2).swapaxes(1, 2).reshape(12, 2)
    stem = "blk.0.attn_q.weight"
    path = written(
        tmp_path / "x.gguf", {f"{stem}.lora_a": a, f"{stem}.lora_b": np.ascontiguousarray(alternating)}
    )
    said = {}
    for folder in ("told", "silent"):
        (source,) = opener(open_whole(tmp_path / folder))(str(path))
        said[folder] = [notice.slug for notice in source.notices]
        same = np.allclose(source.deltas[0].open().dense(), 8 * b.astype(np.float64) @ a)
        assert same == (folder == "told")
    assert said == {"told": [], "silent": ["rows-of-llama-cpp"]}
    frame = tunescope.norms(path, base=tmp_path / "told").table.frame
    after = W + 8 * b.astype(np.float64) @ a
    cosine = (after * W).sum() / np.linalg.norm(after) / np.linalg.norm(W)
    assert frame["cosine_to_base"].to_list() == pytest.approx([cosine], abs=1e-6)
