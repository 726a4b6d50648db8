"""LoRA and its variants, read from a saved adapter, against PEFT's own ΔW."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from tunescope.delta import Delta, Factored
from tunescope.source.files.container import read_safetensors
from tunescope.source.files.tensors import Entry, Ledger
from tunescope.source.formats.peft import load_peft_config, read_peft

# PEFT warns about its own defaults; what is tested here are numbers.
pytestmark = pytest.mark.filterwarnings("ignore:::peft", "ignore:::torch")


class Experts(nn.Module):
    """Fused experts as (expert, out, in); `is_transposed` lays them out as (expert, in, out)."""

    def __init__(self, transposed: bool) -> None:
        super().__init__()
        self.is_transposed = transposed
        up, down = ((3, 8, 20), (3, 10, 8)) if transposed else ((3, 20, 8), (3, 8, 10))
        self.gate_up_proj = nn.Parameter(torch.randn(up))
        self.down_proj = nn.Parameter(torch.randn(down))


class Everything(nn.Module):
    """Two blocks with every kind of layer that LoRA adapts."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(30, 8)
        self.layers = nn.ModuleList([self._block(transposed) for transposed in (False, True)])
        self.lm_head = nn.Linear(8, 30)

    @staticmethod
    def _block(transposed: bool) -> nn.ModuleDict:
        attention = {"q_proj": nn.Linear(8, 12), "v_proj": nn.Linear(8, 6), "c_attn": Conv1D(24, 8)}
        convolutions = {
            "one": nn.Conv1d(8, 12, 3),
            "two": nn.Conv2d(8, 12, 3),
            "flat": nn.Conv2d(8, 12, 1),
            "three": nn.Conv3d(4, 6, 2),
            "grouped": nn.Conv2d(8, 12, 3, groups=2),
        }
        return nn.ModuleDict(
            {
                "self_attn": nn.ModuleDict(attention),
                "conv": nn.ModuleDict(convolutions),
                "mlp": nn.ModuleDict({"experts": Experts(transposed)}),
                "mha": nn.MultiheadAttention(8, 2),
            }
        )


def lora(**options: Any) -> Callable[[], peft.LoraConfig]:
    """A configuration of LoRA with rank 4 and alpha 6 unless said otherwise."""
    return lambda: peft.LoraConfig(**{"r": 4, "lora_alpha": 6, **options})


PATTERNS = {
    "rank_pattern": {r"layers\.1\.self_attn\.q_proj": 2, "proj": 7, ".*v_proj": 3},
    "alpha_pattern": {"q_proj": 11, "layers.0.self_attn.v_proj": 13},
}
LINEAR = ["q_proj", "v_proj"]
CASES: dict[str, tuple[str, Callable[[], peft.LoraConfig], int]] = {
    "plain": ("lora", lora(target_modules=LINEAR), 4),
    "patterns": ("lora", lora(target_modules=LINEAR, **PATTERNS), 4),
    "rslora": ("rslora", lora(target_modules=LINEAR, use_rslora=True, **PATTERNS), 4),
    "dora": ("dora", lora(target_modules=[*LINEAR, "two"], use_dora=True, **PATTERNS), 6),
    "fan_in_fan_out": ("lora", lora(target_modules=["c_attn"], fan_in_fan_out=True), 2),
    "embedding": ("lora", lora(target_modules=["embed_tokens", "q_proj"], **PATTERNS), 3),
    "convolutions": ("lora", lora(target_modules=["one", "two", "flat", "three"], use_rslora=False), 8),
    "bias": ("lora", lora(target_modules=LINEAR, bias="all", lora_bias=False), 4),
    "lora_bias": ("lora", lora(target_modules=LINEAR, lora_bias=True), 4),
    "saved modules": ("lora", lora(target_modules=LINEAR, modules_to_save=["lm_head"]), 4),
    "trainable tokens": ("lora", lora(target_modules=LINEAR,
                                      trainable_token_indices={"embed_tokens": [1, 5]}), 4),
    "multihead attention": ("lora", lora(target_modules=["mha"]), 4),
    "pissa": ("lora", lora(target_modules=LINEAR, init_lora_weights="pissa"), 4),
    "kasa": ("kasa", lora(target_modules=LINEAR, kasa_config=peft.KasaConfig()), 4),
    "monteclora": ("lora", lora(target_modules=LINEAR, monteclora_config=peft.MontecloraConfig()), 4),
    "block diagonal": ("bdlora", lora(target_modules=LINEAR, use_bdlora=peft.BdLoraConfig(
        target_modules_bd_a=["q_proj"], target_modules_bd_b=["v_proj"], nblocks=2)), 4),
}  # fmt: skip


def build(config: peft.LoraConfig) -> nn.Module:
    """The model with random numbers in every trainable parameter."""
    torch.manual_seed(0)
    model = peft.get_peft_model(Everything(), config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = torch.randn(parameter.shape) * 0.5 + 0.1
    return model


def saved(model: nn.Module, folder: Path) -> tuple[list[Delta], tuple[Entry, ...], Ledger]:
    """What the reader makes of the model once it is saved."""
    model.save_pretrained(folder)
    file = folder / "adapter_model.safetensors"
    ledger = Ledger(read_safetensors(file).tensors)
    config = load_peft_config(folder / "adapter_config.json")
    return read_peft(ledger.tensors, config, ledger, file=str(file)), ledger.close(), ledger


def live(model: nn.Module) -> dict[str, Any]:
    """PEFT's layers by the name that their tensors have."""
    layers = {n.removeprefix("base_model.model."): m for n, m in model.named_modules()}
    return {n: m for n, m in layers.items() if isinstance(m, BaseTunerLayer)}


def live_delta(layer: Any) -> np.ndarray:
    """PEFT's ΔW as the layer applies it, flattened to (d_out, …); embeddings as (d, vocabulary)."""
    variant = type(getattr(layer, "lora_variant", {}).get("default"))
    own = getattr(variant, "_get_delta_weight", None) or getattr(variant, "_get_bdlora_delta_weight", None)
    delta = (own(layer, "default") if own else layer.get_delta_weight("default")).detach().double().numpy()
    if getattr(layer, "fan_in_fan_out", False) or isinstance(layer.get_base_layer(), nn.Embedding):
        return delta.T
    return delta.reshape(delta.shape[0], -1)


def assert_equal(delta: Delta, expected: np.ndarray) -> None:
    """Shape, norm and every entry agree, the norm and the difference to 1e-5."""
    update = delta.open()
    assert isinstance(update, Factored)
    assert (update.B.shape[0], update.A.shape[1]) == (delta.d_out, delta.d_in) == expected.shape
    assert np.linalg.norm(update.dense() - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("name", CASES)
def test_lora_equals_pefts_own(name: str, tmp_path: Path) -> None:
    """Every adapted module's ΔW agrees, with its own rank, alpha and scale; nothing stays unexplained."""
    method, config, count = CASES[name]
    model = build(config())
    deltas, entries, _ = saved(model, tmp_path)
    layers = live(model)
    assert len(deltas) == count
    for delta in deltas:
        tensor = delta.tensors[0].removeprefix("base_model.model.").partition(".lora_")[0]
        layer = layers[tensor]
        assert_equal(delta, live_delta(layer))
        assert (delta.method, delta.rank) == (method, layer.r["default"])
        assert delta.alpha == layer.lora_alpha["default"]
        assert delta.scale == pytest.approx(layer.scaling["default"], rel=1e-12)
    assert [e.tensor for e in entries if e.reason == "not understood"] == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("dora", "DoRA magnitude, needs base"),
        ("bias", "bias, needs base"),
        ("lora_bias", "bias of lora_B: changes the layer's bias, not its weight"),
        ("monteclora", "used in training only"),
        ("saved modules", "saved module, needs base"),
        ("trainable tokens", "trainable tokens, needs base"),
    ],
)
def test_what_is_not_in_the_update_says_why(name: str, reason: str, tmp_path: Path) -> None:
    """Tensors beside the factors are named with their reason."""
    _, entries, _ = saved(build(CASES[name][1]()), tmp_path)
    assert reason in {e.reason for e in entries if e.status == "not used"}


def test_embedding_is_reported_as_it_is_applied(tmp_path: Path) -> None:
    """An embedding maps a one-hot token to a vector: d_out is the vector, d_in the vocabulary."""
    deltas, _, _ = saved(build(lora(target_modules=["embed_tokens"])()), tmp_path)
    assert [(d.address.module_type, d.d_out, d.d_in) for d in deltas] == [("embed_tokens", 8, 30)]


def test_grouped_convolution_is_block_diagonal_in_b(tmp_path: Path) -> None:
    """PEFT cannot merge a grouped convolution; its forward is the judge."""
    model = build(lora(target_modules=["grouped"])())
    deltas, _, _ = saved(model, tmp_path)
    layer = live(model)["layers.0.conv.grouped"]
    x = torch.randn(5, 8, 3, 3)
    with torch.no_grad():
        a, b = layer.lora_A["default"], layer.lora_B["default"]
        expected = (b(a(x)) * layer.scaling["default"]).reshape(5, 12)
    found = x.reshape(5, -1).double().numpy() @ deltas[0].open().dense().T
    np.testing.assert_allclose(found, expected.double().numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "targets",
    [["experts.down_proj", "experts.gate_up_proj"], ["mlp.experts.down_proj"], ["down_proj", "gate_up_proj"]],
)
def test_fused_experts_give_one_delta_each(targets: list[str], tmp_path: Path) -> None:
    """One ΔW for each expert of each parameter, under the parameter's name, with its patterns."""
    config = lora(target_parameters=targets, rank_pattern={".*down_proj": 2}, target_modules=["q_proj"])
    model = build(config())
    deltas, entries, _ = saved(model, tmp_path)
    assert len(deltas) == 2 * 3 * len(targets) + 2
    assert {e.status for e in entries} == {"used"}
    for name, layer in live(model).items():
        if "experts" not in name:
            continue
        block, kind = int(name.split(".")[1]), f"mlp.experts.{layer.parameter_name}"
        own = [d for d in deltas if (d.address.layer, d.address.module_type) == (block, kind)]
        assert [d.address.expert for d in own] == [0, 1, 2]
        expected = layer.get_delta_weight("default").detach().double().numpy()
        expected = expected.transpose(0, 2, 1) if block == 1 else expected
        for delta, matrix in zip(own, expected, strict=True):
            assert_equal(delta, matrix)
            assert delta.rank == (2 if "down" in kind else 4)


def test_a_targeted_linear_weight_keeps_its_own_name(tmp_path: Path) -> None:
    """`target_parameters` may name a plain weight; it has no experts."""
    model = build(lora(target_parameters=["q_proj.weight"], target_modules=[])())
    deltas, _, _ = saved(model, tmp_path)
    assert [(d.address.module_type, d.address.expert) for d in deltas] == [("self_attn.q_proj", None)] * 2
    assert_equal(deltas[0], live_delta(live(model)["layers.0.self_attn.q_proj"]))


@pytest.mark.parametrize("name", ["dora", "kasa", "pissa"])
def test_a_partial_update_says_which_part_it_is(name: str, tmp_path: Path) -> None:
    """What is not the whole ΔW against the original base is not called ok."""
    deltas, _, _ = saved(build(CASES[name][1]()), tmp_path)
    assert all(d.status != "ok" for d in deltas)


def test_bfloat16_factors_stay_as_stored(tmp_path: Path) -> None:
    """The factors come in the file's own type, so that nothing is widened before it has to be."""
    model = build(lora(target_modules=LINEAR)())
    for layer in live(model).values():
        layer.lora_A.bfloat16()
        layer.lora_B.bfloat16()
    deltas, _, _ = saved(model, tmp_path)
    update = deltas[0].open()
    assert (update.A.dtype.name, update.B.dtype.name) == ("bfloat16", "bfloat16")


def test_qalora_pools_its_input(tmp_path: Path) -> None:
    """PEFT applies QA-LoRA on GPTQ layers only and gives no ΔW; its forward is the judge."""
    from peft.tuners.lora.variants import QALoraLinearVariant

    model = build(lora(target_modules=["q_proj"])())
    for layer in live(model).values():
        layer.lora_A["default"] = nn.Linear(2, 4, bias=False)
        layer.qalora_group_size = {"default": 4}
    config = model.peft_config["default"]
    config.use_qalora, config.qalora_group_size = True, 4
    deltas, _, _ = saved(model, tmp_path)
    x = torch.randn(5, 8)
    with torch.no_grad():
        expected = QALoraLinearVariant.forward(live(model)["layers.0.self_attn.q_proj"], "default", x, 0)
    found = x.double().numpy() @ deltas[0].open().dense().T
    np.testing.assert_allclose(found, expected.double().numpy(), rtol=1e-5, atol=1e-5)
    assert (deltas[0].method, deltas[0].d_in) == ("qalora", 8)
