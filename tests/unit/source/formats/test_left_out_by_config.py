"""Modules in the file that `exclude_modules` or `layers_to_transform` leaves out, as PEFT does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists
from safetensors.numpy import save_file

from tunescope.source.open import open_source

MODULES = [f"model.layers.{i}.self_attn.{name}_proj" for i in range(3) for name in "qv"]


@pytest.mark.parametrize(
    "stated",
    [
        {},
        {"exclude_modules": ["v_proj"]},
        {"exclude_modules": r".*\.1\..*"},
        {"layers_to_transform": [0, 2]},
        {"layers_to_transform": 1},
        {"layers_to_transform": [0, 1, 2]},
        {"target_modules": ["q_proj"], "layers_to_transform": [1]},
    ],
)
def test_modules_that_the_config_leaves_out_are_said_as_many_as_peft_would_leave_out(
    tmp_path: Path, stated: dict[str, Any]
) -> None:
    config = {"r": 2, "lora_alpha": 2, "target_modules": ["q_proj", "v_proj"], **stated}
    tensors = {
        f"base_model.model.{module}.lora_{part}.weight": np.ones(shape, np.float32)
        for module in MODULES
        for part, shape in (("A", (2, 8)), ("B", (8, 2)))
    }
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **config}))
    left = [m for m in MODULES if not check_target_module_exists(LoraConfig(**config), m)]
    said = [n.text for n in open_source(tmp_path).notices if n.slug == "targets-differ"]
    assert [text.partition(" are not")[0] for text in said] == ([f"{len(left)} of 6 modules"] if left else [])
