"""safetensors files of every dtype, against the library that defines the format."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save, save_file

from tunescope.source.files.container import NUMPY_DTYPES, read_safetensors

PLAIN = [np.bool_, np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
FLOATS = [np.float16, np.float32, np.float64]


def test_every_plain_dtype_reads_as_the_library_reads_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = {np.dtype(t).name: (rng.normal(size=(3, 5)) * 9).astype(t) for t in (*PLAIN, *FLOATS)}
    path = tmp_path / "a.safetensors"
    save_file(tensors, path, metadata={"format": "np"})
    file, reference = read_safetensors(path), load_file(path)
    assert file.metadata == {"format": "np"}
    assert set(file.tensors) == set(reference)
    for name, expected in reference.items():
        read = file.tensors[name].read()
        assert read.dtype == expected.dtype
        assert np.array_equal(read, expected)
        assert not read.flags.writeable
    assert sum(t.nbytes for t in file.tensors.values()) == sum(t.nbytes for t in reference.values())


def test_metadata_that_is_null_is_no_metadata(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    raw = save({"x": np.ones(3, np.float32)}, metadata={"format": "np"})
    length = int.from_bytes(raw[:8], "little")
    header = {**json.loads(raw[8 : 8 + length]), "__metadata__": None}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])
    file = read_safetensors(path)
    assert (file.metadata, file.tensors["x"].read().tolist()) == ({}, [1, 1, 1])


def test_small_floats_read_as_torch_reads_them(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_torch

    kinds = {"BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}
    base = torch.linspace(-3, 3, 24).reshape(4, 6)
    save_torch({name: base.to(kind) for name, kind in kinds.items()}, tmp_path / "a.safetensors")
    file = read_safetensors(tmp_path / "a.safetensors")
    for name, kind in kinds.items():
        tensor = file.tensors[name]
        assert tensor.dtype == name
        assert np.array_equal(tensor.read().astype(np.float32), base.to(kind).to(torch.float32).numpy())


def test_every_supported_dtype_has_its_size() -> None:
    assert NUMPY_DTYPES["BF16"] == ml_dtypes.bfloat16
    for name, dtype in NUMPY_DTYPES.items():
        bits = "".join(c for c in name.split("_")[0] if c.isdigit())
        assert dtype.itemsize * 8 == int(bits or 8)


def test_tensors_come_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    header = (
        b'{"late":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},'
        b'"early":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    )
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\x07\x09")
    file = read_safetensors(path)
    assert {name: int(t.read()[0]) for name, t in file.tensors.items()} == {"early": 7, "late": 9}
    assert list(file.tensors) == ["early", "late"]


@settings(max_examples=40, deadline=None)
@given(
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=1, max_size=5),
    names=st.lists(st.text(min_size=1, max_size=8), min_size=5, max_size=5, unique=True),
)
def test_any_shapes_and_names_survive(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[list[int]], names: list[str]
) -> None:
    names = [name for name in names if name != "__metadata__"]
    rng = np.random.default_rng(0)
    tensors = {n: rng.normal(size=s).astype(np.float32) for n, s in zip(names, shapes, strict=False)}
    path = tmp_path_factory.mktemp("any") / "a.safetensors"
    path.write_bytes(save(tensors))
    file = read_safetensors(path)
    assert set(file.tensors) == set(tensors)
    for name, expected in tensors.items():
        assert np.array_equal(file.tensors[name].read(), expected)
