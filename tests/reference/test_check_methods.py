"""`check` on what PEFT itself saves of every method whose file alone has no update of a weight."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

import tunescope

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
TARGETS = ["q_proj", "down_proj"]
WIDTH, INNER, LAYERS = 16, 24, 2


def config(name: str, **more: Any) -> Any:
    return getattr(peft, name)(target_modules=TARGETS, **more)


CONFIGS = {
    "IA3": lambda: config("IA3Config", feedforward_modules=["down_proj"]),
    "OFT": lambda: config("OFTConfig", r=4, oft_block_size=0),
    "OFT, shared": lambda: config("OFTConfig", r=4, oft_block_size=0, block_share=True),
    "BOFT": lambda: config("BOFTConfig", boft_block_size=4),
    "HRA": lambda: config("HRAConfig", r=4),
    "HiRA": lambda: config("HiraConfig", r=4),
    "DEFT": lambda: config("DeftConfig", r=4),
    "OSF": lambda: config("OSFConfig"),
    "RoAd": lambda: config("RoadConfig", variant="road_2", group_size=8),
    "RoAd, one": lambda: config("RoadConfig", variant="road_1", group_size=8),
    "LN tuning": lambda: peft.LNTuningConfig(target_modules=["input_layernorm"]),
    "tokens": lambda: peft.TrainableTokensConfig(target_modules=["embed_tokens"], token_indices=[1, 2]),
    "prompt": lambda: peft.PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
    "prefix": lambda: peft.PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
    "P-tuning": lambda: peft.PromptEncoderConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
    "adaption": lambda: peft.AdaptionPromptConfig(adapter_layers=1, adapter_len=3, task_type="CAUSAL_LM"),
    "Poly": lambda: config("PolyConfig", r=4, n_tasks=2, n_skills=2),
}
MODULES = {"LN tuning": 2, "tokens": 1, "prompt": 1, "prefix": 1, "P-tuning": 1, "adaption": 1}


def llama(width: int = WIDTH) -> Any:
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            hidden_size=width, intermediate_size=INNER * width // WIDTH, num_hidden_layers=LAYERS,
            num_attention_heads=4, num_key_value_heads=2, vocab_size=32,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The right base, one twice as wide, and the right one under a wrapper's prefix."""
    root = tmp_path_factory.mktemp("bases")
    for name, width in (("right", WIDTH), ("wide", 2 * WIDTH)):
        llama(width).save_pretrained(root / name)
    weights = load_file(root / "right" / "model.safetensors")
    (root / "wrapped").mkdir()
    save_file({f"language_model.{k}": w for k, w in weights.items()}, root / "wrapped" / "model.safetensors")
    return {name: root / name for name in ("right", "wide", "wrapped")}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", CONFIGS)
def test_every_method_attaches_to_its_base_and_to_no_other(
    method: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "tuned"
    peft.get_peft_model(llama(), CONFIGS[method]()).save_pretrained(folder)
    modules = MODULES.get(method, 4)

    found = tunescope.check(folder, base=bases["right"]).readout["models"]["tuned"]
    assert (found["attached"], found["modules"]) == (modules, modules)
    assert found["methods"] == [json.loads((folder / "adapter_config.json").read_text())["peft_type"].lower()]

    wide = tunescope.check(folder, base=bases["wide"])
    # An attention block's prompt and one rotation that all blocks share say nothing of a width.
    assert wide.readout["attaches"] is (method in ("adaption", "OFT, shared"))

    wrapped = tunescope.check(folder, base=bases["wrapped"])
    by_name = method not in ("prompt", "prefix", "P-tuning")
    assert wrapped.readout["attaches"] is not by_name
    if by_name:
        assert all("'language_model.'" in remedy for remedy in wrapped.table.frame["remedy"])


RANKED = {
    "LoRA": lambda: config("LoraConfig", r=4),
    "LoRA of an embedding": lambda: peft.LoraConfig(target_modules=["embed_tokens"], r=4),
    "LoRA with a pattern": lambda: config("LoraConfig", r=8, rank_pattern={"q_proj": 4, "down_proj": 4}),
    "LoHa": lambda: config("LoHaConfig", r=4),
    "DeLoRA": lambda: config("DeloraConfig", r=4),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", RANKED)
def test_peft_refuses_the_ranks_that_do_not_attach_and_takes_the_remedy(
    method: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "tuned"
    peft.get_peft_model(llama(), RANKED[method]()).save_pretrained(folder)
    assert tunescope.check(folder, base=bases["right"]).readout["attaches"]
    stated = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(stated | {"r": 16, "rank_pattern": {}}))

    study = tunescope.check(folder, base=bases["right"])
    assert set(study.table.frame["status"]) == {"shape_differs"}
    row = study.table.frame.row(0, named=True)
    with pytest.raises(RuntimeError, match="size mismatch") as refused:
        peft.PeftModel.from_pretrained(llama(), folder)
    for shape in (row["expected_shape"], row["found_shape"]):
        assert f"torch.Size([{shape.replace('×', ', ')}])" in str(refused.value)

    assert row["remedy"].startswith("set r to 4 in adapter_config.json")
    (folder / "adapter_config.json").write_text(json.dumps(stated | {"r": 4, "rank_pattern": {}}))
    assert tunescope.check(folder, base=bases["right"]).readout["attaches"]
    peft.PeftModel.from_pretrained(llama(), folder)


@pytest.mark.parametrize("targets", [TARGETS, r".*\.(q_proj|down_proj)", "all-linear"])
def test_the_modules_named_as_absent_are_those_that_peft_misses(
    targets: Any, bases: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "tuned"
    peft.get_peft_model(llama(), peft.LoraConfig(target_modules=["q_proj"], r=4)).save_pretrained(folder)
    stated = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(stated | {"target_modules": targets}))
    study = tunescope.check(folder, base=bases["right"])
    (finding,) = study.findings
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        peft.PeftModel.from_pretrained(llama(), folder)
    missed = " ".join(m for m in (str(w.message) for w in warned) if "missing adapter keys" in m)
    assert missed.count("lora_A") == len(finding.evidence["modules"])
    assert all(f"{module}.lora_A" in missed for module in finding.evidence["modules"])
    assert study.readout["attaches"]
