"""`verify` of what PEFT itself merged, in the precision and the order that its users choose."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

import tunescope

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
SIDE = 96
ADAPTERS = {"a": 1, "b": 2}


class Block(torch.nn.Module):
    """Two square layers."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj = torch.nn.Linear(SIDE, SIDE, bias=False)
        self.down_proj = torch.nn.Linear(SIDE, SIDE, bias=False)


class Model(torch.nn.Module):
    """One layer of a model, with the names of one."""

    def __init__(self, dtype: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.ModuleList([Block()])
        self.norm = torch.nn.LayerNorm(SIDE, bias=False)
        self.to(dtype)


def saved_base(folder: Path, dtype: Any) -> Path:
    folder.mkdir()
    tensors = {f"model.{name}": t.contiguous() for name, t in Model(dtype).state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    return folder


def saved_adapters(folder: Path, ratio: float) -> None:
    """Adapters with ‖ΔW‖ = ratio·‖W‖, as PEFT writes them; base names are under `model.`."""
    for label, seed in ADAPTERS.items():
        base = wrapped(torch.float32)
        torch.manual_seed(seed)
        config = peft.LoraConfig(
            r=4, lora_alpha=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False
        )
        model = peft.get_peft_model(base, config)
        for module in model.modules():
            if isinstance(module, peft.tuners.lora.Linear):
                size = module.get_delta_weight("default").norm() / module.base_layer.weight.norm()
                module.lora_B["default"].weight.data *= ratio / float(size.detach())
        model.save_pretrained(folder / label)


def wrapped(dtype: Any) -> Any:
    outer = torch.nn.Module()
    outer.model = Model(dtype)
    return outer


def loaded(folder: Path, dtype: Any, cast: bool) -> Any:
    model = peft.PeftModel.from_pretrained(
        wrapped(dtype), folder / "a", adapter_name="a", autocast_adapter_dtype=cast
    )
    model.load_adapter(folder / "b", adapter_name="b", autocast_adapter_dtype=cast)
    if not cast:
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = parameter.data.to(dtype)
    return model


def merged(model: Any, way: str) -> Any:
    if way == "cat":
        model.add_weighted_adapter(["a", "b"], [1.0, 1.0], "both", combination_type="cat")
        return model.merge_and_unload(adapter_names=["both"])
    return model.merge_and_unload(safe_merge=way == "safe", adapter_names=["a", "b"])


@pytest.mark.parametrize("ratio", [1e-2, 1e-4])
@pytest.mark.parametrize(
    ("way", "cast"),
    [("one by one", True), ("one by one", False), ("safe", True), ("cat", True), ("cat", False)],
)
@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float32])
def test_two_adapters_that_peft_merged_in_bfloat16_are_as_expected(
    tmp_path: Path, ratio: float, way: str, cast: bool, stored: Any
) -> None:
    base = saved_base(tmp_path / "base", torch.float32 if stored == torch.float32 else torch.bfloat16)
    saved_adapters(tmp_path, ratio)
    made = merged(loaded(tmp_path, torch.bfloat16, cast), way)
    (tmp_path / "merged").mkdir()
    tensors = {name: t.to(stored).contiguous() for name, t in made.state_dict().items()}
    save_file(tensors, tmp_path / "merged" / "model.safetensors")
    study = tunescope.verify(tmp_path / "merged", f"a={tmp_path}/a", f"b={tmp_path}/b", base=base)
    found = study.readout["coefficients"]
    assert (study.readout["verdict"], study.readout["changed_elsewhere"]) == ("as_expected", [])
    for label in ADAPTERS:
        assert abs(found[label]["value"] - 1) <= 3 * found[label]["stderr"]
        assert found[label]["stderr"] < 0.05
    assert np.isfinite(study.table.frame["stderr"].to_numpy()).all()
