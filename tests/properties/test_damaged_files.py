"""Damage of any kind ends in an error of ours or in sound tensors, never in anything else."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from tunescope.errors import TunescopeError
from tunescope.source import open_source
from tunescope.source.files.container import read_safetensors
from tunescope.source.files.npz import read_npz

RNG = np.random.default_rng(0)
STEM = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
TENSORS: dict[str, Any] = {
    STEM.format(layer, name): RNG.normal(size=shape).astype(np.float32)
    for layer in range(3)
    for name, shape in (("A", (2, 6)), ("B", (4, 2)))
}
SOUND = save(TENSORS)
HEADER = 8 + int.from_bytes(SOUND[:8], "little")

positions = st.integers(0, HEADER - 1)
damage = st.lists(st.tuples(positions, st.integers(0, 255)), min_size=1, max_size=3)


def damaged(data: bytes, changes: list[tuple[int, int]], cut: int | None) -> bytes:
    changed = bytearray(data)
    for position, value in changes:
        changed[position % len(changed)] = value
    return bytes(changed[:cut])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@settings(max_examples=300, deadline=None)
@given(changes=damage, cut=st.none() | st.integers(0, len(SOUND)))
def test_damaged_safetensors(folder: Path, changes: list[tuple[int, int]], cut: int | None) -> None:
    path = folder / "a.safetensors"
    path.write_bytes(damaged(SOUND, changes, cut))
    with contextlib.suppress(TunescopeError):
        for tensor in read_safetensors(path).tensors.values():
            assert not tensor.supported or tensor.read().shape == tensor.shape


@settings(max_examples=200, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4),
       cut=st.none() | st.integers(0, 2000), squeeze=st.booleans())  # fmt: skip
def test_damaged_npz(folder: Path, changes: list[tuple[int, int]], cut: int | None, squeeze: bool) -> None:
    buffer = io.BytesIO()
    (np.savez_compressed if squeeze else np.savez)(
        buffer, **{k.replace("lora_", "l"): v for k, v in TENSORS.items()}
    )
    path = folder / "a.npz"
    path.write_bytes(damaged(buffer.getvalue(), changes, cut))
    with contextlib.suppress(TunescopeError):
        for tensor in read_npz(path).tensors.values():
            if tensor.supported:
                assert tensor.read().shape == tensor.shape


SPELLED = (
    "x.lora_down.weight x.lora_up.weight x.alpha x.lora_a x.lora_b unet:0:up unet:0:down w_a_0 w_b_0 "
    "x.lokr_w1 x.lokr_w2_a x.hada_w1_a unet.y.lora_A.weight unet.y.lora_B.weight x.diff"
)
names = st.text(max_size=12) | st.sampled_from([*TENSORS, *SPELLED.split()])


@settings(max_examples=150, deadline=None)
@given(
    tensors=st.dictionaries(
        names,
        st.tuples(
            st.lists(st.integers(0, 5), max_size=4),
            st.sampled_from([np.float32, np.float16, np.float64, np.int8, np.bool_]),
        ),
        max_size=8,
    ),
    config=st.sampled_from([None, "LORA", "LOHA", "LOKR", "VERA", "ADALORA", "IA3"]),
)
def test_any_tensors_are_refused_or_accounted_for(
    folder: Path, tensors: dict[str, tuple[list[int], Any]], config: str | None
) -> None:
    made = {n: np.ones(shape, dtype) for n, (shape, dtype) in tensors.items() if n != "__metadata__"}
    (folder / "adapter_model.safetensors").write_bytes(save(made))
    said = folder / "adapter_config.json"
    said.unlink(missing_ok=True)
    if config is not None:
        said.write_text(json.dumps({"peft_type": config, "r": 2}))
    with contextlib.suppress(TunescopeError):
        source = open_source(folder / "adapter_model.safetensors")
        assert {entry.tensor for entry in source.coverage} == set(made)
        for delta in source.deltas:
            assert delta.open().dense().shape == (delta.d_out, delta.d_in)
        used = {t for delta in source.deltas for t in delta.tensors}
        assert used <= {entry.tensor for entry in source.coverage if entry.status == "used"}


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(list(TENSORS)))
def test_the_order_in_the_file_does_not_matter(folder: Path, order: list[str]) -> None:
    header, data = {}, b""
    for name in order:
        raw = TENSORS[name].tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": "F32", "shape": list(TENSORS[name].shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 4}')
    deltas = {delta.component_name: delta.open().dense() for delta in open_source(folder).deltas}
    assert set(deltas) == {"L0_ATTN_Q", "L1_ATTN_Q", "L2_ATTN_Q"}
    for layer in range(3):
        a, b = (TENSORS[STEM.format(layer, name)].astype(np.float64) for name in "AB")
        np.testing.assert_allclose(deltas[f"L{layer}_ATTN_Q"], 2 * b @ a)


def test_a_method_of_drawn_projections_without_a_module_has_no_update(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_bytes(save({"x": np.ones((), np.float32)}))
    (folder / "adapter_config.json").write_text('{"peft_type": "VERA", "r": 2}')
    with contextlib.suppress(TunescopeError):
        assert open_source(folder / "adapter_model.safetensors").deltas == ()
