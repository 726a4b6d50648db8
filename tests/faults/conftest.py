"""Files that are broken on purpose."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

Writer = Callable[..., Path]


@pytest.fixture
def raw(tmp_path: Path) -> Writer:
    """`raw(header, data=b"")` writes a safetensors file whose header is exactly what is given."""

    def write(
        header: bytes | dict[str, Any], data: bytes = b"", name: str = "adapter_model.safetensors"
    ) -> Path:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        path = tmp_path / name
        path.write_bytes(len(text).to_bytes(8, "little") + text + data)
        return path

    return write


@pytest.fixture
def adapter(tmp_path: Path) -> Callable[..., Path]:
    """`adapter(tensors=…, config=…)` makes a PEFT folder, by default a sound one of two modules."""

    def make(tensors: dict[str, Any] | None = None, name: str = "adapter", **config: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        save_file(two_modules() if tensors is None else tensors, folder / "adapter_model.safetensors")
        said = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]} | config
        (folder / "adapter_config.json").write_text(json.dumps(said))
        return folder

    return make


def two_modules() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    stem = "base_model.model.model.layers.0.self_attn"
    return {
        f"{stem}.{module}.lora_{factor}.weight": rng.normal(size=shape).astype(np.float32)
        for module in ("q_proj", "v_proj")
        for factor, shape in (("A", (2, 6)), ("B", (4, 2)))
    }
