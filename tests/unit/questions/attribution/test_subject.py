"""What is attributed: adapters and checkpoints from disk, live models, and what does not fit together."""

import copy

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from torch import nn
from transformers import (
    BitsAndBytesConfig,
    GPT2Config,
    GPT2LMHeadModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from tunescope.errors import BadInput, Missing, UsageError
from tunescope.questions.attribution.attribution import attribute_batches
from tunescope.questions.attribution.subject import open_subject
from tunescope.training.guards import keep_4bit_weights_unpacked

SIZES = {
    "vocab_size": 23,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 32,
    "tie_word_embeddings": False,
}
IDS = torch.tensor([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]])
BATCH = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "labels": IDS}


def small(seed=0, **sizes):
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(Qwen3Config(**{**SIZES, **sizes})).eval()


def gpt2():
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=23, n_embd=16, n_layer=1, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=0
    )
    return GPT2LMHeadModel(config).eval()


def experts():
    torch.manual_seed(0)
    sizes = {**SIZES, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(**sizes)).eval()


def randomised(base, config, size=0.2):
    """A PEFT model on a copy of the base with every one of its own numbers random."""
    model = get_peft_model(copy.deepcopy(base), config)
    torch.manual_seed(7)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data + torch.randn_like(parameter) * size
    return model.eval()


def loss(model):
    """Token-mean loss by torch's own cross-entropy."""
    with torch.no_grad():
        logits = model(input_ids=IDS).logits[:, :-1]
    return nn.functional.cross_entropy(logits.flatten(0, 1), IDS[:, 1:].flatten()).item()


ADAPTERS = {
    "rslora with patterns": (
        small,
        LoraConfig(r=2, use_rslora=True, rank_pattern={"v_proj": 4}, target_modules=["q_proj", "v_proj"]),
    ),
    "saved head and norm": (
        small,
        LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head", "input_layernorm"]),
    ),
    "embedding and head": (small, LoraConfig(r=2, target_modules=["embed_tokens", "lm_head"])),
    "conv1d": (gpt2, LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True)),
    "biases": (gpt2, LoraConfig(r=2, target_modules=["c_fc"], fan_in_fan_out=True, bias="all")),
    "dora": (small, LoraConfig(r=2, use_dora=True, target_modules=["q_proj", "up_proj"])),
    "ia3": (small, IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"])),
    "fused experts": (
        experts,
        LoraConfig(r=2, target_modules=["q_proj"], target_parameters=["mlp.experts.down_proj"]),
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning:peft.*")
@pytest.mark.parametrize("place", ["disk", "live", "live on its own base"])
@pytest.mark.parametrize("kind", ADAPTERS)
def test_the_path_ends_at_peft_s_own_model(kind, place, tmp_path):
    """Base and tuned loss are those of the base and of the PEFT model, and the cells add up between them."""
    make, config = ADAPTERS[kind]
    base = make()
    model = randomised(base, config)
    if place == "disk":
        model.save_pretrained(tmp_path)
    elif place == "live on its own base" and kind == "biases":
        with pytest.raises(UsageError, match="in the base itself"):
            attribute_batches(model, [BATCH])
        return
    tuned, given = (tmp_path if place == "disk" else model), (None if "own" in place else base)
    table = attribute_batches(tuned, [BATCH], base=given, nodes=32)
    summary = table.summary
    assert summary["base_loss"] == pytest.approx(loss(base), abs=2e-6)
    assert summary["tuned_loss"] == pytest.approx(loss(model), abs=2e-5)
    assert abs(summary["gain"]) > 1e-4
    assert abs(summary["residual"]) < 3e-5
    assert summary["not_attributed"] == {}


@pytest.mark.filterwarnings("ignore::UserWarning:peft.*")
def test_what_the_cells_of_special_adapters_are_called(tmp_path):
    """Saved modules and biases are cells beside the LoRA updates; fused experts are one cell each."""
    expected = {
        "saved head and norm": {"self_attn.q_proj", "lm_head", "input_layernorm"},
        "biases": {"mlp.c_fc", "mlp.c_fc.bias", "attn.c_attn.bias", "attn.c_proj.bias", "mlp.c_proj.bias",
                   "ln_1.bias", "ln_2.bias", "ln_f.bias"},
    }  # fmt: skip
    for kind, modules in expected.items():
        make, config = ADAPTERS[kind]
        base = make()
        randomised(base, config).save_pretrained(tmp_path / kind)
        changes = open_subject(tmp_path / kind, base).changes
        assert {cell.address.module_type for cell in changes.cells} == modules
    make, config = ADAPTERS["fused experts"]
    base = make()
    randomised(base, config).save_pretrained(tmp_path / "moe")
    cells = open_subject(tmp_path / "moe", base).changes.cells
    assert [c.address.expert for c in cells if c.address.module_type.endswith("down_proj")] == [0, 1, 2, 3]


def test_whole_checkpoints_are_opened_from_disk(tmp_path):
    """Two model folders, their losses those of the models; dtype and depth come from the files."""
    base, tuned = small(), small(seed=1)
    base.save_pretrained(tmp_path / "base")
    tuned.save_pretrained(tmp_path / "tuned")
    table = attribute_batches(tmp_path / "tuned", [BATCH], base=tmp_path / "base", nodes=16)
    assert table.summary["base_loss"] == pytest.approx(loss(base), abs=1e-5)
    assert table.summary["tuned_loss"] == pytest.approx(loss(tuned), abs=1e-5)
    # Norm weights start at one in both.
    assert not set(table.frame["module_type"]) & {"input_layernorm", "norm"}
    assert table.summary["unchanged_tensors"] == 5


@pytest.mark.parametrize(
    ("sizes", "found"),
    [
        ({"num_hidden_layers": 2}, r"layers\.1"),
        ({"intermediate_size": 32}, r"\[32, 16\] on a base of \[24, 16\]"),
    ],
)
def test_another_architecture_is_refused_with_its_mismatches(sizes, found):
    """Another depth names tensors, another width the shapes; three of them and a count."""
    with pytest.raises(BadInput, match=found) as caught:
        attribute_batches(small(**sizes), [BATCH], base=small())
    assert caught.value.slug == "other-base"
    with pytest.raises(BadInput, match="no parameter in common"):
        attribute_batches(nn.Linear(2, 2), [BATCH], base=small())


def test_an_adapter_for_another_base_is_refused(tmp_path):
    """A wider or deeper model's adapter is refused with the modules that do not fit."""
    config = LoraConfig(r=2, target_modules=["q_proj", "up_proj"])
    for name, sizes, found in (
        ("wide", {"hidden_size": 32}, r"ΔW \[16, 32\] on a weight of \[16, 16\]"),
        ("deep", {"num_hidden_layers": 2}, "L1_.* is not in the base"),
    ):
        get_peft_model(small(**sizes), config).save_pretrained(tmp_path / name)
        with pytest.raises(BadInput, match=found) as caught:
            attribute_batches(tmp_path / name, [BATCH], base=small())
        assert caught.value.slug == "other-base"


@pytest.mark.filterwarnings("ignore::UserWarning:peft.*")
def test_prompts_have_no_weight_to_attribute(tmp_path):
    """A method that changes no weight is refused, not shown as an empty map."""
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    get_peft_model(small(), config).save_pretrained(tmp_path)
    with pytest.raises(BadInput, match="no fixed update"):
        attribute_batches(tmp_path, [BATCH], base=small())


def test_missing_and_broken_models_are_named(tmp_path):
    """A path that is not there is missing; a checkpoint that lacks weights is not made up."""
    with pytest.raises(Missing, match="not a hub lookup"):
        attribute_batches(tmp_path / "tuned", [BATCH], base=tmp_path / "absent")
    model = small()
    state = {name: value for name, value in model.state_dict().items() if "q_proj" not in name}
    model.save_pretrained(tmp_path / "partial", state_dict=state)
    with pytest.raises(BadInput, match="lacks 1 weight"):
        attribute_batches(small(), [BATCH], base=tmp_path / "partial")


def test_a_nan_is_refused_by_name():
    """A tuned weight that is not a number is named; no sum is taken."""
    tuned = small(seed=1)
    tuned.lm_head.weight.data[0, 0] = float("nan")
    with pytest.raises(BadInput, match="not finite") as caught:
        attribute_batches(tuned, [BATCH], base=small())
    assert caught.value.tensor == "lm_head.weight"


def test_an_adapter_on_a_4_bit_base_is_attributed(tmp_path):
    """Branches need no gradient of the quantised weights; the losses are those of PEFT's own model."""
    small(hidden_size=64, head_dim=32, intermediate_size=64).save_pretrained(tmp_path / "base")
    four_bit = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
    options = {"quantization_config": four_bit, "dtype": torch.float32, "device_map": {"": "cpu"}}
    base = Qwen3ForCausalLM.from_pretrained(tmp_path / "base", **options).eval()
    keep_4bit_weights_unpacked(base)
    config = LoraConfig(r=2, target_modules=["q_proj", "down_proj"])
    randomised(small(hidden_size=64, head_dim=32, intermediate_size=64), config).save_pretrained(
        tmp_path / "lora"
    )
    before = loss(base)
    summary = attribute_batches(tmp_path / "lora", [BATCH], base=base, nodes=64).summary
    assert summary["base_loss"] == pytest.approx(before, abs=1e-5)
    assert loss(base) == before
    assert abs(summary["gain"]) > 1e-3
    assert abs(summary["residual"]) < 1e-3 * abs(summary["gain"])
    tuned = PeftModel.from_pretrained(base, tmp_path / "lora").eval()
    assert summary["tuned_loss"] == pytest.approx(loss(tuned), abs=1e-4)
