"""LoRA adapters of llama.cpp, written here byte by byte as the format's description has it."""

import contextlib
import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tunescope.errors import BadInput
from tunescope.source import open_source

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
    stem = "blk.3.attn_q.weight"
    source = open_source(written(tmp_path / "x.gguf", {f"{stem}.lora_a": a, f"{stem}.lora_b": b}))
    (delta,) = source.deltas
    assert (source.format, delta.component_name, delta.scale, delta.alpha) == ("gguf", "L3_ATTN_Q", 4.0, 16.0)
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
