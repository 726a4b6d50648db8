"""Code that a model, an adapter or a data set brings along is not run, whatever stdin holds."""

import ast
import io
import json
import pickle
import sys
from pathlib import Path

import pytest

import tunescope
from tunescope.corpus import hub
from tunescope.errors import BadInput
from tunescope.lm.foreign_code import TRUST, refuse_foreign_code
from tunescope.lm.pretrained import load_config, load_model, load_tokenizer
from tunescope.lm.verification import said_of

pytest.importorskip("transformers")

CODE = """
open({mark!r}, "w").write("run")
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
class C(PretrainedConfig):
    model_type = "extra_type"
class M(PreTrainedModel):
    config_class = C
class T(PreTrainedTokenizerFast):
    pass
"""


@pytest.fixture
def model(tmp_path, monkeypatch):
    """`model(**config)` makes a folder whose code leaves a file `mark` where it is run; stdin says yes."""
    import transformers

    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 50))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    folder = tmp_path / "model"
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=9, **sizes)).save_pretrained(folder)
    (folder / "extra.py").write_text(CODE.format(mark=str(tmp_path / "mark")))

    def make(**changes):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))
        return folder

    return make


MAPPED = {"AutoConfig": "extra.C", "AutoModelForCausalLM": "extra.M"}
CONFIGS = [
    {"auto_map": MAPPED, "model_type": "extra_type"},
    {"auto_map": MAPPED},
    {"auto_map": {"AutoModelForCausalLM": "someone/else--extra.M"}},
    {"text_config": {"auto_map": MAPPED}},
    {"_attn_implementation": "someone/kernel"},
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("load", [load_config, load_model, load_tokenizer])
def test_a_config_that_names_code_is_refused(model, config, load, tmp_path):
    with pytest.raises(BadInput) as caught:
        load(model(**config))
    assert caught.value.slug == "remote-code"
    assert not (tmp_path / "mark").exists()


def test_a_tokenizer_that_names_code_is_refused(model, tmp_path):
    folder = model()
    document = {"tokenizer_class": "T", "auto_map": {"AutoTokenizer": ["extra.T", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(document))
    with pytest.raises(BadInput) as caught:
        load_tokenizer(folder)
    assert caught.value.slug == "remote-code"
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("verb", ["importance", "attribute", "finetune"])
def test_every_command_refuses_a_model_with_code(run, model, verb, tmp_path):
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"text": f"row {i}"}) + "\n" for i in range(4)))
    folder = model(**CONFIGS[0])
    arguments = {
        "importance": (folder, "--data", data),
        "attribute": (folder, "--base", folder, "--data", data),
        "finetune": ("--model", folder, "--data", f"a={data}", "-o", tmp_path / "runs"),
    }
    ran = run(verb, *arguments[verb])
    assert ran.code == 3
    assert "[remote-code]" in ran.err
    assert not (tmp_path / "mark").exists()


def test_an_adapter_that_names_a_module_to_import_is_refused():
    with pytest.raises(BadInput, match="remote-code"):
        refuse_foreign_code({"megatron_config": {"a": 1}, "megatron_core": "extra"}, "adapter")


def test_a_data_set_that_is_a_script_is_refused(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def load_dataset(*_, trust_remote_code, **__):
        assert trust_remote_code is False
        raise RuntimeError("Dataset scripts are no longer supported, but found name.py")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(BadInput, match="remote-code"):
        list(hub.hub_records("org/name"))


# Loads that could run code of what they load, and what they are given where they take no such setting.
_LOADS = {
    "from_pretrained",
    "load_dataset",
    "load_dataset_builder",
    "pipeline",
    "from_config",
    "get_tokenizer",
}
# These run code whatever they are told, or load what is foreign without being asked whether they may.
_NEVER = {
    "exec", "eval", "get_class_from_dynamic_module", "load_from_disk", "unsafe_load", "full_load", "hub_load",
    "run_path", "run_module", "spec_from_file_location", "exec_module",
}  # fmt: skip


def test_every_load_of_the_package_says_that_foreign_code_is_off():
    """PEFT's loads take no such setting: they read configs that were refused before where they name code."""
    lacking = []
    for path in sorted(Path(tunescope.__file__).parent.rglob("*.py")):
        text = path.read_text()
        for call in ast.walk(ast.parse(text)):
            name = getattr(call.func, "attr", None) if isinstance(call, ast.Call) else None
            written = ast.get_source_segment(text, call) if name in _LOADS else None
            if written is None or written.startswith(("PeftConfig.", "PeftModel.")):
                continue
            if "**TRUST" not in written and "trust_remote_code" not in text:
                lacking.append(f"{path.name}:{call.lineno} {written}")
    assert lacking == []
    assert TRUST == {"trust_remote_code": False}


class Runs:
    """Opens a file to write when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


def test_nothing_of_the_package_runs_or_unpickles_what_it_reads():
    """By name, wherever it stands; `torch.load` and arrays say that nothing but weights is wanted."""
    root, found = Path(tunescope.__file__).parent, []
    for path in sorted(root.rglob("*.py")):
        text = path.read_text()
        for call in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)):
            name = getattr(call.func, "attr", None) or getattr(call.func, "id", None)
            on = ast.unparse(call.func)
            said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if (
                name in _NEVER - {"eval"}
                or on in ("eval", "pickle.load", "pickle.loads", "marshal.loads")
                or (on == "torch.load" and said.get("weights_only") != "True")
                or (on.startswith("yaml.") and name == "load")
                or (name in ("read_array",) and said.get("allow_pickle") != "False")
                or on in ("np.load", "numpy.load", "torch.hub.load")
            ):
                found.append(f"{path.relative_to(root)}:{call.lineno} {on}")
    assert found == []


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    ("protocol", "found"), [(0, "the instruction DICT"), (2, "io.open"), (4, "the instruction FRAME")]
)
def test_weights_of_a_model_that_are_a_pickle_with_code_are_refused(model, tmp_path, protocol, found):
    folder = model()
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"w": Runs(tmp_path / "mark")}, protocol))
    with pytest.raises(BadInput, match="unsafe-pickle") as caught:
        load_model(folder)
    assert str(caught.value.found).startswith(found)
    # What torch says would lead to loading it all the same.
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "mark").exists()


def test_code_that_settings_beside_a_model_name_is_said_and_not_run(model, tmp_path):
    folder = model()
    assert said_of(load_model(folder), folder) == []
    named = {"auto_map": {"AutoProcessor": "extra.P"}}
    (folder / "preprocessor_config.json").write_text(json.dumps(named))
    (folder / "generation_config.json").write_text(json.dumps({"inner": named}))
    (notice,) = said_of(load_model(folder), folder)
    assert notice.slug == "code-not-run"
    assert "preprocessor_config.json (extra.P), generation_config.json (extra.P)" in notice.text
    assert not (tmp_path / "mark").exists()
