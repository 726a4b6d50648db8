"""ΔW read from a saved adapter equals PEFT's own, for every PEFT method that is claimed."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from torch import nn

from tunescope.delta import Delta
from tunescope.source.files.container import read_safetensors
from tunescope.source.files.tensors import Ledger
from tunescope.source.formats.peft import load_peft_config, read_peft
from tunescope.source.open import open_source

# PEFT warns about its own defaults; what is tested here are numbers.
pytestmark = pytest.mark.filterwarnings("ignore:::peft", "ignore:::torch")

TARGETS = ["q_proj", "k_proj", "o_proj", "down_proj"]


class Tiny(nn.Module):
    """Two blocks with layers of several shapes, none of which has to run."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([self._block() for _ in range(2)])

    @staticmethod
    def _block() -> nn.ModuleDict:
        def linear(d_in: int, d_out: int) -> nn.Linear:
            return nn.Linear(d_in, d_out, bias=False)

        attention = {"q_proj": linear(16, 16), "k_proj": linear(16, 8), "o_proj": linear(16, 16)}
        mlp = {"up_proj": linear(16, 32), "down_proj": linear(32, 16)}
        return nn.ModuleDict({"self_attn": nn.ModuleDict(attention), "mlp": nn.ModuleDict(mlp)})


class Convolutions(nn.Module):
    """Convolutions of one and two dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv1d(8, 12, 3)
        self.two = nn.Conv2d(8, 12, 3)
        self.flat = nn.Conv2d(8, 12, 1)


class Odd(nn.Module):
    """One layer whose sides no wavelet divides."""

    def __init__(self) -> None:
        super().__init__()
        self.odd = nn.Linear(7, 5)


@dataclass(frozen=True)
class Case:
    """A configuration, and how many modules it must give a delta for with and without the base."""

    method: str
    config: Callable[[], Any]
    alone: int = 8
    based: int = 8
    model: type[nn.Module] = Tiny


def _pattern() -> dict[str, Any]:
    return {"rank_pattern": {r"layers\.1\..*": 2}, "alpha_pattern": {"o_proj": 7}}


CASES = {
    "adalora": Case("adalora", lambda: peft.AdaLoraConfig(target_modules=TARGETS, init_r=6, target_r=4,
                                                          lora_alpha=5, total_step=10)),
    "loha": Case("loha", lambda: peft.LoHaConfig(target_modules=TARGETS, r=3, alpha=5, **_pattern())),
    "loha low rank": Case("loha", lambda: peft.LoHaConfig(target_modules=TARGETS, r=1, alpha=5)),
    "loha conv": Case("loha", lambda: peft.LoHaConfig(target_modules=["one", "two", "flat"], r=3, alpha=5),
                      3, 3, Convolutions),
    "loha tucker": Case("loha", lambda: peft.LoHaConfig(target_modules=["one", "two"], r=3, alpha=5,
                                                        use_effective_conv2d=True), 2, 2, Convolutions),
    "lokr": Case("lokr", lambda: peft.LoKrConfig(target_modules=TARGETS, r=2, alpha=5, **_pattern())),
    "lokr both": Case("lokr", lambda: peft.LoKrConfig(target_modules=TARGETS, r=1, alpha=5,
                                                      decompose_both=True)),
    "lokr conv": Case("lokr", lambda: peft.LoKrConfig(target_modules=["one", "two", "flat"], r=1, alpha=5),
                      3, 3, Convolutions),
    "lokr conv whole": Case("lokr", lambda: peft.LoKrConfig(target_modules=["one", "two", "flat"], r=9,
                                                            alpha=5), 3, 3, Convolutions),
    # PEFT itself fails on a one-dimensional convolution with a Tucker core.
    "lokr tucker": Case("lokr", lambda: peft.LoKrConfig(target_modules=["two"], r=1, alpha=5,
                                                        use_effective_conv2d=True), 1, 1, Convolutions),
    "vera": Case("vera", lambda: peft.VeraConfig(target_modules=TARGETS, r=4)),
    "vera one kind": Case("vera", lambda: peft.VeraConfig(target_modules=["down_proj"], r=4), 2, 2),
    "vera unsaved": Case("vera", lambda: peft.VeraConfig(target_modules=TARGETS, r=4,
                                                         save_projection=False), 0),
    "pvera": Case("pvera", lambda: peft.PveraConfig(target_modules=TARGETS, r=4)),
    "randlora": Case("randlora", lambda: peft.RandLoraConfig(target_modules=TARGETS, r=4), 0),
    "randlora square": Case("randlora", lambda: peft.RandLoraConfig(target_modules=["q_proj", "o_proj"], r=5),
                            4, 4),
    "fourierft": Case("fourierft", lambda: peft.FourierFTConfig(target_modules=TARGETS, n_frequency=20), 0),
    "waveft": Case("waveft", lambda: peft.WaveFTConfig(target_modules=TARGETS, n_frequency=20), 0),
    "waveft plain": Case("waveft", lambda: peft.WaveFTConfig(target_modules=TARGETS, n_frequency=20,
                                                             use_idwt=False), 0),
    "waveft odd": Case("waveft", lambda: peft.WaveFTConfig(target_modules=["odd"], n_frequency=20,
                                                           random_loc_seed=0), 0, 1, Odd),
    "fourierft odd": Case("fourierft", lambda: peft.FourierFTConfig(target_modules=["odd"], n_frequency=20,
                                                                    random_loc_seed=0), 0, 1, Odd),
    "c3a": Case("c3a", lambda: peft.C3AConfig(target_modules=TARGETS, block_size=4)),
    "vblora": Case("vblora", lambda: peft.VBLoRAConfig(target_modules=TARGETS, r=2, num_vectors=10,
                                                       vector_length=4)),
    "vblora top": Case("vblora", lambda: peft.VBLoRAConfig(target_modules=TARGETS, r=2, num_vectors=10,
                                                           vector_length=4, save_only_topk_weights=True)),
    "unilora": Case("unilora", lambda: peft.UniLoraConfig(target_modules=TARGETS, r=2, theta_d_length=12,
                                                          save_indices=True)),
    "tinylora": Case("tinylora", lambda: peft.TinyLoraConfig(target_modules=TARGETS, r=2, u=5)),
    "tinylora tied": Case("tinylora", lambda: peft.TinyLoraConfig(target_modules=TARGETS, r=2, u=5,
                                                                  weight_tying=0.6)),
    "gralora": Case("gralora", lambda: peft.GraloraConfig(target_modules=TARGETS, r=4, hybrid_r=2, alpha=5)),
    "gralora pure": Case("gralora", lambda: peft.GraloraConfig(target_modules=TARGETS, r=4, gralora_k=4)),
    "delora": Case("delora", lambda: peft.DeloraConfig(target_modules=TARGETS, r=3)),
    "shira": Case("shira", lambda: peft.ShiraConfig(target_modules=["k_proj"], r=4), 2, 2),
    "supertuning": Case("supertuning", lambda: peft.SupertuningConfig(target_modules=TARGETS, sparsity=0.8,
                                                                      r=2, lora_alpha=5)),
    "supertuning sparse": Case("supertuning", lambda: peft.SupertuningConfig(target_modules=TARGETS,
                                                                             sparsity=0.8), 0),
    "miss": Case("miss", lambda: peft.MissConfig(target_modules=TARGETS, r=3), 6),
    "miss mini": Case("miss", lambda: peft.MissConfig(target_modules=TARGETS, r=3, mini_r=4,
                                                      init_weights="mini"), 0),
}  # fmt: skip


def live_deltas(model: nn.Module) -> dict[str, np.ndarray]:
    """PEFT's ΔW of every adapted module, as a (d_out, …) matrix; merged minus base where PEFT gives no ΔW."""
    found = {}
    for name, layer in model.named_modules():
        if isinstance(layer, BaseTunerLayer):
            found[name.removeprefix("base_model.model.")] = _live_delta(layer)
    return found


def _live_delta(layer: Any) -> np.ndarray:
    try:
        delta = layer.get_delta_weight("default")
    except TypeError:
        before = layer.get_base_layer().weight.detach().clone()
        layer.merge()
        delta = layer.get_base_layer().weight.detach() - before
        layer.unmerge()
    dense = delta.to_dense() if delta.is_sparse else delta
    return dense.detach().double().numpy().reshape(dense.shape[0], -1)


def save_tiny(case: Case, folder: Path, base: Path | None) -> nn.Module:
    """A model with random adapter weights, saved with PEFT."""
    torch.manual_seed(0)
    plain = case.model()
    if base is not None:
        save_file(plain.state_dict(), base / "model.safetensors")
    model = peft.get_peft_model(plain, case.config())
    model.peft_config["default"].base_model_name_or_path = None if base is None else str(base)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = torch.randn(parameter.shape) * 0.5 + 0.1
    model.save_pretrained(folder)
    return model


def read_saved(folder: Path) -> tuple[list[Delta], Ledger]:
    """What the reader makes of a saved adapter."""
    file = folder / "adapter_model.safetensors"
    ledger = Ledger(read_safetensors(file).tensors)
    config = load_peft_config(folder / "adapter_config.json")
    return read_peft(ledger.tensors, config, ledger, file=str(file)), ledger


def module_of(delta: Delta, names: list[str]) -> str:
    """The live module that a delta's tensors came from."""
    return max((n for n in names if any(f".{n}." in t for t in delta.tensors)), key=len)


@pytest.mark.parametrize("based", [False, True], ids=["alone", "with base"])
@pytest.mark.parametrize("name", CASES)
def test_delta_equals_pefts_own(name: str, based: bool, tmp_path: Path) -> None:
    """Dense ΔW, its norm and its shape agree with PEFT to 1e-5; the file's every tensor has its reason."""
    case = CASES[name]
    model = save_tiny(case, tmp_path / "adapter", tmp_path if based else None)
    deltas, ledger = read_saved(tmp_path / "adapter")
    live = live_deltas(model)
    assert len(deltas) == (case.based if based else case.alone)
    for delta in deltas:
        expected = live[module_of(delta, list(live))]
        found = delta.open().dense()
        assert found.shape == (delta.d_out, delta.d_in) == expected.shape
        assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)
        assert delta.method == case.method
    entries = ledger.close()
    assert [e.tensor for e in entries if e.reason == "not understood"] == []
    assert {e.tensor for e in entries if e.status == "used"} == {t for d in deltas for t in d.tensors}
    assert sum(e.bytes for e in entries) == sum(t.nbytes for t in ledger.tensors.values())


NEEDING = {
    "IA³": lambda: peft.IA3Config(target_modules=TARGETS, feedforward_modules=["down_proj"]),
    "OFT": lambda: peft.OFTConfig(target_modules=TARGETS, oft_block_size=4),
    "BOFT": lambda: peft.BOFTConfig(target_modules=TARGETS, boft_block_size=4),
    "HRA": lambda: peft.HRAConfig(target_modules=TARGETS, r=4),
    "HiRA": lambda: peft.HiraConfig(target_modules=TARGETS, r=4),
    "GLoRA": lambda: peft.GloraConfig(target_modules=TARGETS),
    "OSF": lambda: peft.OSFConfig(target_modules=TARGETS),
    "PSOFT": lambda: peft.PsoftConfig(target_modules=TARGETS, r=4),
    "DEFT": lambda: peft.DeftConfig(target_modules=TARGETS, r=4),
    "PEANuT": lambda: peft.PeanutConfig(target_modules=TARGETS, r=4),
    "RoAd": lambda: peft.RoadConfig(target_modules=TARGETS, group_size=4),
    "LN tuning": lambda: peft.LNTuningConfig(target_modules=TARGETS),
}


@pytest.mark.parametrize("name", NEEDING)
def test_methods_that_need_the_base_are_named(name: str, tmp_path: Path) -> None:
    """Such an adapter opens with no delta, a notice, and `<method>: needs the base` at every tensor."""
    save_tiny(Case(name, NEEDING[name]), tmp_path / "adapter", None)
    deltas, ledger = read_saved(tmp_path / "adapter")
    assert deltas == []
    assert {e.reason for e in ledger.close()} == {f"{name}: needs the base"}
    assert [n.slug for n in ledger.notices] == ["needs-base"]


@pytest.mark.parametrize("name", ["fourierft", "vera unsaved"])
def test_seeded_numbers_are_not_made_up_without_torch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where torch is not installed, such a module is left out and says why."""
    save_tiny(CASES[name], tmp_path / "adapter", tmp_path)
    for family in ("spectral", "vera"):
        monkeypatch.setattr(f"tunescope.source.tuners.{family}.torch_is_there", lambda: False)
    deltas, ledger = read_saved(tmp_path / "adapter")
    assert deltas == []
    assert all("need torch, which is not installed" in e.reason for e in ledger.close())


def test_unilora_without_indices_names_no_module(tmp_path: Path) -> None:
    """θ alone does not say which weights it adapts."""
    config = peft.UniLoraConfig(target_modules=TARGETS, r=2, theta_d_length=12)
    save_tiny(Case("unilora", lambda: config), tmp_path / "adapter", None)
    deltas, ledger = read_saved(tmp_path / "adapter")
    assert deltas == []
    assert "which weights it adapts is not in the file" in ledger.close()[0].reason


def test_adalora_pruned_to_different_ranks(tmp_path: Path) -> None:
    """After pruning, the scale keeps the initial rank, as in the adapter that PEFT loads again."""
    case = CASES["adalora"]
    model = save_tiny(case, tmp_path / "first", None)
    masks = {}
    for name, layer in model.named_modules():
        if isinstance(layer, BaseTunerLayer):
            kept = [True, False, True, True, False, "layers.1" in name]
            masks[f"{name.removeprefix('base_model.model.')}.lora_E"] = kept
            layer.lora_E["default"].data[~torch.tensor(kept)] = 0
    model.peft_config["default"].rank_pattern = {f"{k}.default": v for k, v in masks.items()}
    live = live_deltas(model)
    model.save_pretrained(tmp_path / "pruned")
    deltas, _ = read_saved(tmp_path / "pruned")
    assert sorted({d.rank for d in deltas}) == [3, 4]
    for delta in deltas:
        expected = live[module_of(delta, list(live))]
        assert np.linalg.norm(delta.open().dense() - expected) <= 1e-5 * np.linalg.norm(expected)


def test_a_scale_given_by_the_user_replaces_the_configs(tmp_path: Path) -> None:
    """`scale=` rules over the config for every method."""
    save_tiny(CASES["loha"], tmp_path, None)
    file = tmp_path / "adapter_model.safetensors"
    ledger = Ledger(read_safetensors(file).tensors)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    plain = read_peft(ledger.tensors, config, ledger, file=str(file))[0]
    doubled = read_peft(ledger.tensors, config, ledger, scale=2 * plain.scale, file=str(file))[0]
    assert doubled.scale == 2 * plain.scale
    np.testing.assert_allclose(doubled.open().dense(), 2 * plain.open().dense())


@pytest.mark.parametrize("name", ["fourierft", "vera", "randlora", "miss mini"])
def test_a_live_model_tells_the_shapes_that_files_do_not(name: str, tmp_path: Path) -> None:
    """The same adapter that is incomplete on disk is whole when the model itself is the source."""
    model = save_tiny(CASES[name], tmp_path, None)
    live = live_deltas(model)
    source = open_source(model)
    assert len(source.deltas) == CASES[name].based
    for delta in source.deltas:
        expected = live[module_of(delta, list(live))]
        assert np.linalg.norm(delta.open().dense() - expected) <= 1e-5 * np.linalg.norm(expected)
