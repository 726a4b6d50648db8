"""`check --deep` of several files says where they hold one update."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import tunescope


def kohya(path: Path, scale: float = 1.0, alpha: float = 4.0, dtype: type = np.float32) -> Path:
    rng = np.random.default_rng(3)
    tensors = {}
    for i in range(3):
        stem = f"lora_unet_mid_block_attentions_0_transformer_blocks_{i}_attn1_to_q"
        tensors[f"{stem}.lora_down.weight"] = rng.normal(size=(2, 6)).astype(dtype)
        tensors[f"{stem}.lora_up.weight"] = (scale * rng.normal(size=(5, 2))).astype(dtype)
        tensors[f"{stem}.alpha"] = np.asarray(alpha, np.float32)
    save_file(tensors, path)
    return path


def test_one_update_in_two_files_is_said(tmp_path: Path) -> None:
    files = [kohya(tmp_path / f"{name}.safetensors") for name in ("first", "second")]
    other = kohya(tmp_path / "third.safetensors", scale=2.0)
    study = tunescope.check(*files, other, deep=True)
    (finding,) = [f for f in study.findings if f.kind == "duplicate"]
    assert finding.models == ("first", "second")
    assert finding.text == "first and second hold exactly the same update in all 3 modules."
    assert "duplicate" not in {f.kind for f in tunescope.check(*files).findings}


@pytest.mark.parametrize("other", [{"scale": -1.0}, {"alpha": 2.0}, {"dtype": np.float16}])
def test_another_sign_scale_or_precision_is_another_update(tmp_path: Path, other: dict[str, object]) -> None:
    files = [kohya(tmp_path / "a.safetensors"), kohya(tmp_path / "b.safetensors", **other)]  # type: ignore[arg-type]
    assert "duplicate" not in {f.kind for f in tunescope.check(*files, deep=True).findings}
