"""float8 codes with a scale are read as the weights that they stand for, whatever the scale is called."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import tunescope
from tunescope.source.dequantised import dequantised
from tunescope.source.files.tensors import LazyTensor, is_float
from tunescope.source.whole import open_whole

FLOAT8 = ml_dtypes.float8_e4m3fn


def lazy(name: str, array: np.ndarray, dtype: str) -> LazyTensor:
    return LazyTensor(name, dtype, array.shape, array.nbytes, lambda: array)


def codes(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32).astype(FLOAT8)


@pytest.mark.parametrize(
    ("shape", "scales", "sides"),
    [
        ((6, 8), (), (6, 8)),
        ((6, 8), (1,), (6, 8)),
        ((6, 8), (6,), (1, 8)),
        ((6, 8), (6, 1), (1, 8)),
        ((6, 8), (1, 8), (6, 1)),
        ((200, 300), (2, 3), (128, 128)),
        ((6, 8), (3, 2), (2, 4)),
        ((3, 6, 8), (3, 1, 1), (1, 6, 8)),
        ((3, 6, 8), (3,), (1, 6, 8)),
        ((2, 200, 300), (2, 2, 3), (1, 128, 128)),
    ],
)
def test_every_value_has_the_scale_of_its_block(
    shape: tuple[int, ...], scales: tuple[int, ...], sides: tuple[int, ...]
) -> None:
    held, scale = codes(*shape), np.random.default_rng(9).uniform(0.1, 2, scales).astype(np.float32)
    count = [-(-n // side) for n, side in zip(shape, sides, strict=True)]
    wide = scale.astype(np.float64).reshape(count)
    for axis, side in enumerate(sides):
        wide = np.repeat(wide, side, axis=axis)
    right = held.astype(np.float64) * wide[tuple(slice(n) for n in shape)]
    tensors = {"a.weight": lazy("a.weight", held, "F8_E4M3"), "a.weight_scale": lazy("s", scale, "F32")}
    found = dequantised(tensors, "here")["a.weight"]
    assert (found.dtype, found.shape) == ("F32", shape)
    np.testing.assert_allclose(found.read(), right, rtol=1e-6)
    for start, stop in ((0, 5), (7, 23), (right.size - 3, right.size), (4, 4)):
        np.testing.assert_allclose(found.part(start, stop), right.reshape(-1)[start:stop], rtol=1e-6)


@pytest.mark.parametrize(
    ("weight", "scale"),
    [
        ("a.weight", "a.weight_scale_inv"),
        ("a.weight", "a.weight_scale"),
        ("a.weight", "a.scale_weight"),
        ("a.weight", "a.scale"),
        ("experts.gate_up_proj", "experts.gate_up_proj_scale_inv"),
        ("experts.gate_up_proj", "experts.gate_up_proj_scale"),
    ],
)
def test_scales_of_every_public_name_are_taken_and_are_no_weights(weight: str, scale: str) -> None:
    held = codes(4, 4)
    tensors = {
        weight: lazy(weight, held, "F8_E4M3"),
        scale: lazy(scale, np.array(0.5, np.float32), "F32"),
        "scaled_fp8": lazy("scaled_fp8", codes(2), "F8_E4M3"),
    }
    found = dequantised(tensors, "here")
    np.testing.assert_allclose(found[weight].read(), 0.5 * held.astype(np.float32))
    assert [name for name, tensor in found.items() if is_float(tensor)] == [weight]


def test_codes_whose_scales_do_not_fit_have_no_weight_and_float8_alone_is_one() -> None:
    bad = {
        "a.weight": lazy("a", codes(4, 4), "F8_E4M3"),
        "a.weight_scale": lazy("s", np.ones((3, 3), "f4"), "F32"),
    }
    assert "quantised" in dequantised(bad, "here")["a.weight"].lacking
    alone = {"a.weight": lazy("a", codes(4, 4), "F8_E4M3")}
    assert dequantised(alone, "here")["a.weight"].dtype == "F8_E4M3"


def model(folder: Path, tensors: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "num_hidden_layers": 1}))
    return folder


def test_changes_of_and_against_scaled_weights_are_of_the_weights(tmp_path: Path) -> None:
    rng, name = np.random.default_rng(1), "model.layers.0.mlp.up_proj"
    held, scale = codes(6, 8), np.array(0.01, np.float32)
    before = held.astype(np.float32) * scale
    after = (before + rng.normal(size=before.shape) * 0.01).astype(np.float32)
    base = model(tmp_path / "base", {f"{name}.weight": held, f"{name}.scale_weight": scale})
    tuned = model(tmp_path / "tuned", {f"{name}.weight": after})
    row = tunescope.norms(tuned, base=base).table.to_polars().row(0, named=True)
    assert row["frobenius_norm"] == pytest.approx(np.linalg.norm(after - before), rel=1e-6)
    assert open_whole(base).tensors[f"{name}.scale_weight"].lacking == "part of a quantised weight"
    b, a = rng.normal(size=(6, 2)).astype(np.float32), rng.normal(size=(2, 8)).astype(np.float32)
    pair = {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b, f"{name}.alpha": np.array(2, np.float32)}
    save_file(pair, tmp_path / "x.safetensors")
    found = tunescope.norms(tmp_path / "x.safetensors", base=base).table.to_polars().row(0, named=True)
    right = np.linalg.norm(b.astype(np.float64) @ a) / np.linalg.norm(before.astype(np.float64))
    assert found["relative_norm"] == pytest.approx(right, rel=1e-6)
