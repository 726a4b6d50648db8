"""Merges by PEFT into models whose files name, join or order weights otherwise than the loaded model."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

import tunescope

from .loader_models import picture_to_text, sizes

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

SIZES = sizes(layers=2)


def kimi() -> Any:
    text = {**SIZES, "num_key_value_heads": 2, "vocab_size": 48, "head_dim": 8, "model_type": "llama"}
    vision = {**SIZES, "patch_size": 4, "pos_emb_height": 4, "pos_emb_width": 4, "merge_kernel_size": (2, 2)}
    config = transformers.Kimi_K25Config(text_config=text, vision_config=vision, projection_hidden_size=16)
    return transformers.Kimi_K25ForConditionalGeneration(config)


def hrm() -> Any:
    config = transformers.HrmTextConfig(**SIZES, num_key_value_heads=2, head_dim=8, vocab_size=40)
    return transformers.HrmTextForCausalLM(config)


def whisper() -> Any:
    config = transformers.WhisperConfig(
        vocab_size=40, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, num_mel_bins=8, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    return transformers.WhisperForConditionalGeneration(config)


MODELS: dict[str, Callable[[], Any]] = {
    "an encoder of pictures and a decoder whose head is its table": partial(picture_to_text, layers=2),
    "query, key and value in one tensor, rotated otherwise": kimi,
    "a gate beside query, key and value in one tensor": hrm,
    "a head under a name of its own that is the table": whisper,
}


@pytest.fixture(scope="module", params=MODELS.values(), ids=MODELS)
def merged(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """A folder of a base, an adapter of every linear layer and their merge, and ‖ΔW‖ of every layer."""
    root = tmp_path_factory.mktemp("loaded")
    torch.manual_seed(0)
    model = request.param()
    for value in model.parameters():
        value.data = 0.05 * torch.randn(value.shape)
    model.save_pretrained(root / "base")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    linear = [name for name, module in model.named_modules() if type(module) is torch.nn.Linear]
    model = peft.get_peft_model(model, peft.LoraConfig(r=2, lora_alpha=3, target_modules=linear))
    for name, value in model.named_parameters():
        if "lora_" in name:
            value.data = 0.3 * torch.randn(value.shape)
    model.save_pretrained(root / "adapter")
    model = model.merge_and_unload()
    model.save_pretrained(root / "merged")
    after = model.state_dict()
    return root, {
        name: float((after[f"{name}.weight"] - before[f"{name}.weight"]).double().norm()) for name in linear
    }


@pytest.mark.filterwarnings("ignore")
def test_a_right_merge_is_as_expected_in_every_layer(merged: Any) -> None:
    root, truth = merged
    study = tunescope.verify(root / "merged", root / "adapter", base=root / "base")
    assert study.readout["verdict"] == "as_expected"
    assert study.readout["modules"] == len(truth)
    assert [finding.kind for finding in study.findings] == ["as_expected"]


@pytest.mark.filterwarnings("ignore")
def test_the_adapter_beside_its_base_and_the_merge_have_the_changes_that_were_made(merged: Any) -> None:
    root, truth = merged
    study = tunescope.norms(f"a={root / 'adapter'}", f"m={root / 'merged'}", base=root / "base")
    frame = study.table.to_polars()
    for label in ("a", "m"):
        mine = frame.filter((frame["model_id"] == label) & (frame["frobenius_norm"] > 0))
        assert sorted(mine["frobenius_norm"]) == pytest.approx(sorted(truth.values()), rel=1e-4)
        assert mine["relative_norm"].null_count() == 0
    similarity = study.tables["similarity"].to_polars()
    assert similarity["delta_cosine"].to_list() == pytest.approx([1.0], abs=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_every_tensor_of_both_files_is_in_the_ledger_under_its_own_name(merged: Any) -> None:
    root, _ = merged
    study = tunescope.norms(root / "merged", base=root / "base")
    ledger = study.tables["coverage"].to_polars()
    for folder in ("base", "merged"):
        held = {name for file in (root / folder).glob("*.safetensors") for name in load_file(file)}
        assert held <= set(ledger["tensor"])
    assert set(ledger["status"]) == {"used"}


@pytest.mark.filterwarnings("ignore")
def test_a_layer_that_was_not_merged_is_named(merged: Any, tmp_path: Path) -> None:
    root, truth = merged
    before, after = (load_file(root / f / "model.safetensors") for f in ("base", "merged"))
    changed = [n for n in after if after[n].ndim == 2 and (before[n] != after[n]).any()]
    (tmp_path / "half").mkdir()
    save_file({**after, changed[0]: before[changed[0]]}, tmp_path / "half" / "model.safetensors")
    (tmp_path / "half" / "config.json").write_text((root / "merged" / "config.json").read_text())
    study = tunescope.verify(tmp_path / "half", root / "adapter", base=root / "base")
    assert study.readout["verdict"] == "partly_merged"
    assert 1 <= len(study.readout["differing"]) < len(truth)


class _Called(torch.nn.Module):  # type: ignore[name-defined,misc]
    """Linear layers whose names say embedding, square and not."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_action = torch.nn.ModuleDict({"inner": torch.nn.Linear(16, 16)})
        self.embeddings = torch.nn.ModuleDict({"of_time": torch.nn.Linear(16, 24)})
        self.embed_tokens = torch.nn.Embedding(16, 16)


def test_a_merge_into_linear_layers_that_are_called_embeddings_is_as_expected(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = _Called()
    names = ["embed_action.inner", "embeddings.of_time", "embed_tokens"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model = peft.get_peft_model(model, peft.LoraConfig(r=2, lora_alpha=3, target_modules=names))
    for name, value in model.named_parameters():
        if "lora_" in name:
            value.data = 0.3 * torch.randn(value.shape)
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    for folder, tensors in (("base", before), ("merged", model.merge_and_unload().state_dict())):
        (tmp_path / folder).mkdir()
        save_file({n: v.numpy() for n, v in tensors.items()}, tmp_path / folder / "model.safetensors")
    study = tunescope.verify(tmp_path / "merged", tmp_path / "adapter", base=tmp_path / "base")
    assert study.readout["verdict"] == "as_expected"
    assert study.readout["modules"] == len(names)
