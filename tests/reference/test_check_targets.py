"""`check` on configs that were edited by hand, against the modules that PEFT itself then loads."""

import importlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunescope
from tunescope.questions.check.defaults import DEFAULTS, default_targets

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")
PROJECTIONS = ["q_proj", "v_proj", "up_proj"]

EDITS: dict[str, dict[str, Any]] = {
    "as saved": {},
    "excluded by name": {"exclude_modules": ["up_proj"]},
    "excluded by path": {"exclude_modules": ["layers.1.mlp.up_proj", "self_attn"]},
    "excluded by pattern": {"exclude_modules": r".*layers\.0\..*"},
    "one layer": {"layers_to_transform": [0]},
    "one layer as a number": {"layers_to_transform": 1},
    "one layer of this pattern": {"layers_to_transform": [1], "layers_pattern": "layers"},
    "one layer of several patterns": {"layers_to_transform": [1], "layers_pattern": ["h", "layers"]},
    "no layer list": {"layers_to_transform": []},
    "the architecture's own targets": {"target_modules": None},
    "fewer targets": {"target_modules": ["q_proj"]},
    "a pattern of targets": {"target_modules": r".*\.0\..*_proj"},
    "all linear layers": {"target_modules": "all-linear"},
    "a module that is kept whole": {"target_modules": [*PROJECTIONS], "exclude_modules": ["v_proj"]},
}


def llama() -> Any:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4, "vocab_size": 32}
    config = transformers.LlamaConfig(
        num_hidden_layers=2, num_key_value_heads=2, tie_word_embeddings=False, **sizes
    )
    return transformers.LlamaForCausalLM(config)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    llama().save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    model = peft.get_peft_model(llama(), peft.LoraConfig(r=2, target_modules=PROJECTIONS))
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.ones_(parameter)
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def edited(folder: Path, edits: dict[str, Any]) -> Path:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | edits))
    return folder


def loaded(folder: Path, base: Path) -> set[str]:
    """The modules whose tensors PEFT takes from the file; those that it makes anew start from zero."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = transformers.AutoModelForCausalLM.from_pretrained(base)
        model = peft.PeftModel.from_pretrained(plain, folder)
    return {
        name.removeprefix("base_model.model.").partition(".lora_B")[0]
        for name, parameter in model.named_parameters()
        if ".lora_B" in name and bool(parameter.any())
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("edits", EDITS.values(), ids=EDITS)
def test_those_modules_attach_that_peft_loads(edits: dict[str, Any], adapter: Path, base: Path) -> None:
    study = tunescope.check(edited(adapter, edits), base=base)
    attached = study.table.to_polars().filter(status="attached")["weight"]
    assert {weight.removesuffix(".weight") for weight in attached} == loaded(adapter, base)
    whole = len(attached) == 6
    assert study.readout["attaches"] is whole
    assert ("left_out_by_config" in {finding.kind for finding in study.findings}) is not whole


def test_the_remedy_makes_the_module_attach_and_the_exit_is_1_before(
    adapter: Path, base: Path, run: Callable[..., Any]
) -> None:
    folder = edited(adapter, {"target_modules": ["q_proj"], "exclude_modules": ["up_proj"]})
    assert run("check", folder, "--base", base).code == 1
    table = tunescope.check(folder, base=base).table.to_polars()
    remedies = dict(zip(table["weight"], table["remedy"], strict=True))
    assert "out of exclude_modules" in remedies["model.layers.0.mlp.up_proj.weight"]
    assert "name 'v_proj' in target_modules" in remedies["model.layers.0.self_attn.v_proj.weight"]
    edited(adapter, {"target_modules": PROJECTIONS, "exclude_modules": None})
    assert tunescope.check(folder, base=base).readout["attaches"]


@pytest.mark.filterwarnings("ignore")
def test_a_module_to_save_that_the_file_lacks_is_missing_where_peft_stops(adapter: Path, base: Path) -> None:
    edited(adapter, {"modules_to_save": ["lm_head"]})
    with pytest.raises(KeyError, match="lm_head"):
        loaded(adapter, base)
    table = tunescope.check(adapter, base=base).table.to_polars()
    (row,) = table.filter(status="missing").to_dicts()
    assert row["weight"] == "lm_head.weight"
    assert "modules_to_save" in row["remedy"]


@pytest.mark.filterwarnings("ignore")
def test_a_module_to_save_that_the_file_has_is_none_that_is_missing(tmp_path: Path, base: Path) -> None:
    config = peft.LoraConfig(r=2, target_modules=PROJECTIONS, modules_to_save=["lm_head"])
    peft.get_peft_model(llama(), config).save_pretrained(tmp_path / "whole")
    assert tunescope.check(tmp_path / "whole", base=base).readout["attaches"]


def test_what_an_architecture_targets_by_itself_is_what_peft_has() -> None:
    mapping = peft.utils.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    assert {name: of if isinstance(of, str) else list(of) for name, of in DEFAULTS.items()} == mapping


METHODS = (
    "LORA", "LOHA", "LOKR", "OFT", "BOFT", "HRA", "MISS", "RANDLORA", "ROAD", "DELORA", "GLORA", "GRALORA",
    "HIRA", "LILY", "PEANUT", "POLY", "PSOFT", "TINYLORA", "UNILORA", "DEFT", "SUPERTUNING", "VERA", "SHIRA",
    "FROD", "PVERA", "ADAMSS", "C3A", "FOURIERFT", "WAVEFT",
)  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_default_targets_of_every_method_are_pefts(method: str) -> None:
    constants = importlib.import_module("peft.utils.constants")
    mapping = getattr(constants, f"TRANSFORMERS_MODELS_TO_{method}_TARGET_MODULES_MAPPING")
    for kind in {*mapping, *DEFAULTS, "unheard-of"}:
        theirs, ours = mapping.get(kind, ()), default_targets(method, kind)
        assert (ours if isinstance(ours, str) else list(ours or ())) == (
            theirs if isinstance(theirs, str) else list(theirs)
        )


@pytest.mark.filterwarnings("ignore")
def test_a_parameter_that_the_config_targets_and_the_file_lacks_is_said(adapter: Path, base: Path) -> None:
    edited(adapter, {"target_parameters": ["mlp.down_proj.weight"]})
    study = tunescope.check(adapter, base=base)
    (said,) = [f for f in study.readout["findings"] if f["kind"] == "targets_absent"]
    assert said["evidence"]["absent"] == 2
    assert "target_parameters" in said["text"]


@pytest.mark.filterwarnings("ignore")
def test_a_kernels_factors_do_not_fit_a_matrix_as_peft_says(adapter: Path, base: Path) -> None:
    safetensors = importlib.import_module("safetensors.torch")
    file = adapter / "adapter_model.safetensors"
    tensors = safetensors.load_file(file)
    safetensors.save_file({name: t[..., None, None].contiguous() for name, t in tensors.items()}, file)
    with pytest.raises(RuntimeError, match="size mismatch"):
        loaded(adapter, base)
    table = tunescope.check(adapter, base=base).table.to_polars()
    assert table["status"].unique().to_list() == ["shape_differs"]
    assert "reshape" in table["remedy"][0]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("spans", "absent"), [([[0, 2]], 0), ([[0, 2], [0, 2]], 6)])
def test_layers_that_are_replicated_and_not_in_the_file_are_those_that_peft_finds_missing(
    spans: list[list[int]], absent: int, adapter: Path, base: Path
) -> None:
    folder = edited(adapter, {"layer_replication": spans})
    assert len(loaded(folder, base)) == 6
    kinds = {finding.kind: finding for finding in tunescope.check(folder, base=base).findings}
    assert ("targets_absent" in kinds) is bool(absent)
    if absent:
        modules = kinds["targets_absent"].evidence["modules"]
        assert len(modules) == absent
        assert all(f".layers.{2 if '.2.' in module else 3}." in module for module in modules)
