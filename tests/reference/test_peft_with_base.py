"""Updates that need the base, against the weights that PEFT itself merges."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import tunescope
from tunescope.errors import BadInput
from tunescope.source.against import opener
from tunescope.source.formats.leftovers import NEEDS_BASE
from tunescope.source.whole import open_whole

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
D_IN, D_OUT = 24, 16
LORA: dict[str, Any] = {"r": 4, "lora_alpha": 6}
CONFIGS: dict[str, Any] = {
    "dora": lambda: peft.LoraConfig(use_dora=True, init_lora_weights=False, **LORA),
    "dora_rslora": lambda: peft.LoraConfig(use_dora=True, use_rslora=True, init_lora_weights=False, **LORA),
    "ia3": lambda: peft.IA3Config(feedforward_modules=["down_proj"], init_ia3_weights=False),
    "oft": lambda: peft.OFTConfig(oft_block_size=4, use_cayley_neumann=False, init_weights=False),
    "boft": lambda: peft.BOFTConfig(boft_block_size=4, init_weights=False),
    "hra": lambda: peft.HRAConfig(r=4, init_weights=False),
    "road": lambda: peft.RoadConfig(init_weights=False, group_size=8),
    "deft": lambda: peft.DeftConfig(init_weights=False),
    "frod": lambda: peft.FrodConfig(progressbar=False),
    "glora": lambda: peft.GloraConfig(init_weights=False),
    "hira": lambda: peft.HiraConfig(init_weights=False),
    "osf": peft.OSFConfig,
    "peanut": peft.PeanutConfig,
    "psoft": lambda: peft.PsoftConfig(r=4),
}


class Block(torch.nn.Module):
    """Two layers, one of each direction."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj = torch.nn.Linear(D_IN, D_OUT)
        self.down_proj = torch.nn.Linear(D_OUT, D_IN)
        self.norm = torch.nn.LayerNorm(D_IN)

    def forward(self, x: Any) -> Any:
        return self.norm(self.down_proj(self.q_proj(x)))


class Model(torch.nn.Module):
    """A stack of two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([Block(), Block()])

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x


def trained(name: str, tmp_path: Path, **more: Any) -> tuple[dict[str, np.ndarray], Path]:
    """Weights that PEFT merged, beside a saved base and adapter in `tmp_path`."""
    torch.manual_seed(0)
    model = Model()
    (tmp_path / "base").mkdir()
    save_file({k: v.numpy() for k, v in model.state_dict().items()}, tmp_path / "base" / "model.safetensors")
    config = CONFIGS[name]()
    config.target_modules = {"q_proj", "down_proj"}
    for key, value in more.items():
        setattr(config, key, value)
    wrapped = peft.get_peft_model(model, config)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    wrapped.save_pretrained(tmp_path / "adapter")
    merged = wrapped.merge_and_unload()
    return {k: v.numpy() for k, v in merged.state_dict().items()}, tmp_path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CONFIGS)
def test_the_update_is_what_pefts_merge_added(name: str, tmp_path: Path) -> None:
    merged, folder = trained(name, tmp_path)
    base = open_whole(folder / "base")
    (source,) = opener(base)(str(folder / "adapter"))
    assert len(source.deltas) == 4
    for delta in source.deltas:
        key = f"layers.{delta.address.layer}.{delta.address.module_type}.weight"
        wanted = merged[key].astype(float) - base.tensors[key].read().astype(float)
        np.testing.assert_allclose(delta.open().dense(), wanted, atol=1e-5)
        assert delta.status == "ok"
    assert {entry.status for entry in source.coverage} == {"used"}


@pytest.mark.filterwarnings("ignore")
def test_norms_that_were_tuned_alone_are_rows(tmp_path: Path) -> None:
    CONFIGS["ln"] = lambda: peft.LNTuningConfig(target_modules=["norm"])
    try:
        merged, folder = trained("ln", tmp_path, target_modules={"norm"})
    finally:
        del CONFIGS["ln"]
    base = open_whole(folder / "base")
    (source,) = opener(base)(str(folder / "adapter"))
    assert len(source.deltas) == 4, "weight and bias of two norms"
    for delta in source.deltas:
        end = "bias" if delta.address.module_type.endswith("bias") else "weight"
        key = f"layers.{delta.address.layer}.norm.{end}"
        wanted = merged[key].astype(float) - base.tensors[key].read().astype(float)
        np.testing.assert_allclose(delta.open().dense().ravel(), wanted, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_bases_that_frod_did_not_save_are_refused_rather_than_guessed(tmp_path: Path) -> None:
    _, folder = trained("frod", tmp_path, save_projection=False)
    (source,) = opener(open_whole(folder / "base"))(str(folder / "adapter"))
    with pytest.raises(BadInput) as caught:
        source.deltas[0].open()
    assert caught.value.slug == "not-merged"
    assert "save_projection" in str(caught.value.found)


def test_every_method_that_needs_the_base_is_compared_with_peft() -> None:
    """AdaMSS asks for scikit-learn to be trained at all; tokens have tests of their own."""
    compared = {name.upper() for name in CONFIGS} | {"LN_TUNING", "TRAINABLE_TOKENS", "ADAMSS"}
    assert compared >= set(NEEDS_BASE)


@pytest.mark.filterwarnings("ignore")
def test_saved_modules_and_biases_are_rows(tmp_path: Path) -> None:
    merged, folder = trained("ia3", tmp_path, modules_to_save=["norm"])
    study = tunescope.norms(folder / "adapter", base=folder / "base")
    rows = {(r["layer"], r["module_type"]): r for r in study.table.frame.iter_rows(named=True)}
    base = open_whole(folder / "base")
    for layer in (0, 1):
        for kind in ("norm", "norm.bias"):
            key = f"layers.{layer}.norm.{'bias' if kind.endswith('bias') else 'weight'}"
            wanted = np.linalg.norm(merged[key].astype(float) - base.tensors[key].read().astype(float))
            assert rows[layer, kind]["frobenius_norm"] == pytest.approx(wanted, rel=1e-6)
    coverage = study.tables["coverage"].frame
    assert set(coverage.filter(coverage["model_id"] == "adapter")["status"]) == {"used"}


@pytest.mark.filterwarnings("ignore")
def test_relative_norm_cosine_and_merge_columns(tmp_path: Path) -> None:
    merged, folder = trained("dora", tmp_path)
    study = tunescope.norms(folder / "adapter", base=folder / "base")
    base = open_whole(folder / "base")
    for row in study.table.frame.iter_rows(named=True):
        key = f"layers.{row['layer']}.{row['module_type']}.weight"
        W, after = base.tensors[key].read().astype(float), merged[key].astype(float)
        delta = after - W
        assert row["relative_norm"] == pytest.approx(np.linalg.norm(delta) / np.linalg.norm(W), rel=1e-5)
        cosine = (W * after).sum() / np.linalg.norm(W) / np.linalg.norm(after)
        assert row["cosine_to_base"] == pytest.approx(cosine, abs=1e-6)
        moved = after.astype("f2").astype(float) - W
        error = np.linalg.norm(moved - delta) / np.linalg.norm(delta)
        assert row["merge_error_fp16"] == pytest.approx(error, rel=0.02)
        assert row["merge_error_bf16"] < row["merge_error_fp8"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["dora", "ia3", "oft"])
def test_verify_finds_what_peft_merged(name: str, tmp_path: Path) -> None:
    merged, folder = trained(name, tmp_path)
    (folder / "merged").mkdir()
    save_file(merged, folder / "merged" / "model.safetensors")
    study = tunescope.verify(folder / "merged", folder / "adapter", base=folder / "base")
    assert study.readout["verdict"] == "as_expected"
