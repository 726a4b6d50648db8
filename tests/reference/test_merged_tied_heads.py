"""Merges by PEFT into heads that are tied to the table of embeddings, which files hold once."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tunescope

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4, "num_hidden_layers": 2}
KINDS = {
    "bert": ("BertForMaskedLM", SIZES, ["query", "cls.predictions.decoder"]),
    "biogpt": ("BioGptForCausalLM", SIZES, ["q_proj", "output_projection"]),
    # Its table is called `w`.
    "ctrl": (
        "CTRLLMHeadModel",
        {"n_embd": 16, "n_head": 4, "n_layer": 2, "n_positions": 32, "dff": 24},
        ["Wq", "lm_head"],
    ),
    # As many places as tokens: the head is the table of tokens.
    "gpt2": (
        "GPT2LMHeadModel",
        {"n_embd": 16, "n_head": 4, "n_layer": 2, "n_positions": 32},
        ["c_attn", "lm_head"],
    ),
    "qwen3": (
        "Qwen3ForCausalLM",
        {**SIZES, "head_dim": 4, "tie_word_embeddings": True},
        ["q_proj", "lm_head"],
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def tied(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A base, an adapter of its head too, and their merge."""
    name, sizes, targets = KINDS[request.param]
    root = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(request.param, vocab_size=32, **sizes)
    model = getattr(transformers, name)(config)
    model.save_pretrained(root / "base")
    with warnings.catch_warnings():
        # PEFT's own warnings about tied layers in an adapter.
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(model, peft.LoraConfig(r=2, lora_alpha=3, target_modules=targets))
        _save(model, root)
    return root / "base", root / "adapter", root / "merged"


def _save(model: Any, root: Path) -> None:
    for key, value in model.named_parameters():
        if "lora_" in key:
            value.data = 0.3 * torch.randn(value.shape)
    model.save_pretrained(root / "adapter")
    model.merge_and_unload().save_pretrained(root / "merged")


def test_a_right_merge_into_a_tied_head_is_as_expected(tied: Any) -> None:
    base, adapter, merged = tied
    study = tunescope.verify(merged, adapter, base=base)
    assert study.readout["verdict"] == "as_expected"
    assert study.readout["modules"] == 3
    assert [f["kind"] for f in study.readout["findings"]] == ["as_expected"]


def test_a_head_that_was_not_merged_is_named(tied: Any, tmp_path: Path) -> None:
    """The table as it was in the base."""
    base, adapter, merged = tied
    before, after = (load_file(folder / "model.safetensors") for folder in (base, merged))
    tables = [name for name, values in before.items() if values.shape == (32, 16)]
    save_file({**after, **{name: before[name] for name in tables}}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((merged / "config.json").read_bytes())
    study = tunescope.verify(tmp_path, adapter, base=base)
    assert study.readout["verdict"] == "partly_merged"
    rows = study.table.to_polars()
    (name,) = rows.filter(rows["verdict"] != "as_expected")["component_name"]
    assert name.endswith("EMBED")


@pytest.mark.filterwarnings("ignore")
def test_the_bias_of_a_head_that_is_saved_with_its_layer_is_no_update(tmp_path: Path) -> None:
    """PEFT saves an adapted head with its layer as it was, which a merge adds nothing to."""
    torch.manual_seed(0)
    config = transformers.GPTJConfig(vocab_size=32, n_embd=16, n_head=2, n_layer=1, rotary_dim=4)
    model = transformers.GPTJForCausalLM(config)
    model.save_pretrained(tmp_path / "base")
    targets = ["q_proj", "lm_head"]
    _save(peft.get_peft_model(model, peft.LoraConfig(r=2, lora_alpha=3, target_modules=targets)), tmp_path)
    assert any(
        name.endswith("base_layer.bias") for name in load_file(tmp_path / "adapter/adapter_model.safetensors")
    )
    study = tunescope.verify(tmp_path / "merged", tmp_path / "adapter", base=tmp_path / "base")
    assert [f["kind"] for f in study.readout["findings"]] == ["as_expected"]
    assert study.readout["modules"] == 2


def _of_files(root: Path, **options: Any) -> tuple[Any, Path, Path, Path]:
    """A tied base, an adapter of its table or its head, and PEFT's merge of the files."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model("qwen3", vocab_size=32, **KINDS["qwen3"][1])
    model = transformers.Qwen3ForCausalLM(config)
    model.save_pretrained(root / "base")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(model, peft.LoraConfig(r=2, **{"target_modules": ["q_proj"], **options}))
        for _, value in model.named_parameters():
            if value.requires_grad:
                with torch.no_grad():
                    value.add_(0.1 * torch.randn(value.shape))
        model.save_pretrained(root / "adapter")
        again = transformers.AutoModelForCausalLM.from_pretrained(root / "base")
        merged = peft.PeftModel.from_pretrained(again, root / "adapter").merge_and_unload()
    merged.save_pretrained(root / "merged")
    return merged, root / "base", root / "adapter", root / "merged"


def test_a_head_of_files_is_compared_with_the_table_that_it_was(tmp_path: Path) -> None:
    """Its norm is that of PEFT's merge, and a right merge tells of no other change."""
    saved = ["embed_tokens", "lm_head"]
    merged, base, adapter, folder = _of_files(tmp_path, modules_to_save=saved)
    table = load_file(base / "model.safetensors")["model.embed_tokens.weight"]
    rows = tunescope.norms(adapter, base=base).table.to_polars()
    found = dict(zip(rows["component_name"], rows["frobenius_norm"], strict=True))
    for name, layer in {"EMBED": merged.model.embed_tokens, "LM_HEAD": merged.lm_head}.items():
        change = layer.weight.detach().double().numpy() - table
        assert found[name] == pytest.approx(np.linalg.norm(change), rel=1e-6)
    study = tunescope.verify(folder, adapter, base=base)
    assert [f["kind"] for f in study.readout["findings"]] == ["as_expected"]
    assert study.readout["modules"] == 4


def test_a_head_of_files_is_new_where_the_base_says_that_it_is_not_tied(tmp_path: Path) -> None:
    """What it was before, nobody knows."""
    _, base, adapter, _ = _of_files(tmp_path, modules_to_save=["lm_head"])
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    rows = tunescope.norms(adapter, base=base).table.to_polars()
    assert "LM_HEAD" not in set(rows["component_name"])


@pytest.mark.parametrize(
    ("options", "coefficient"),
    [({"modules_to_save": ["embed_tokens"]}, 1.0), ({"target_modules": ["embed_tokens"]}, 2.0)],
)
def test_one_update_of_a_table_and_its_tied_head_is_looked_for_once(
    options: dict[str, Any], coefficient: float, tmp_path: Path
) -> None:
    """PEFT's merge adds the factors to the one table for each of both layers, and a saved table once."""
    merged, base, adapter, folder = _of_files(tmp_path, ensure_weight_tying=True, **options)
    rows = tunescope.norms(adapter, base=base).table.to_polars()
    (norm,) = rows.filter(rows["component_name"] == "EMBED")["frobenius_norm"]
    table = load_file(base / "model.safetensors")["model.embed_tokens.weight"]
    change = np.linalg.norm(merged.model.embed_tokens.weight.detach().double().numpy() - table)
    assert change / norm == pytest.approx(coefficient, rel=1e-5)
    study = tunescope.verify(folder, adapter, base=base)
    rows = study.table.to_polars()
    (found,) = rows.filter(rows["component_name"] == "EMBED")["coefficient"]
    assert found == pytest.approx(coefficient, rel=1e-2)
    assert "unread" not in {f["kind"] for f in study.readout["findings"]}
