"""Whether an adapter attaches to a base: names, shapes, prefixes, and what stands in the way."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import tunescope
from tunescope import check
from tunescope.errors import BadInput, Missing
from tunescope.study.report import report

RNG = np.random.default_rng(0)
LAYERS = 8
SHAPES = {"self_attn.q_proj": (32, 32), "self_attn.k_proj": (16, 32), "self_attn.v_proj": (16, 32),
          "mlp.up_proj": (64, 32), "mlp.down_proj": (32, 64)}  # fmt: skip
WEIGHTS = {f"model.layers.{i}.{m}": s for i in range(LAYERS) for m, s in SHAPES.items()}
FUSED = "model.layers.0.mlp.experts.down_proj"
Made = Callable[..., Path]


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def pair(
    stem: str, shape: tuple[int, int], parts: tuple[str, str] = ("lora_A.weight", "lora_B.weight")
) -> Any:
    return {f"{stem}.{parts[0]}": normal(2, shape[1]), f"{stem}.{parts[1]}": normal(shape[0], 2)}


@pytest.fixture
def adapter(tmp_path: Path) -> Made:
    """`adapter(shapes, **config)` makes a PEFT folder with a pair for each module."""

    def make(shapes: Mapping[str, tuple[int, int]] = WEIGHTS, tensors: Any = None, **config: Any) -> Path:
        folder = tmp_path / "tuned"
        folder.mkdir(exist_ok=True)
        pairs = (pair(f"base_model.model.{module}", shape) for module, shape in shapes.items())
        held = tensors or {name: tensor for one in pairs for name, tensor in one.items()}
        save_file(held, folder / "adapter_model.safetensors")
        targets = sorted({module.rpartition(".")[2] for module in shapes})
        said = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": targets, **config}
        (folder / "adapter_config.json").write_text(json.dumps(said))
        return folder

    return make


@pytest.fixture
def base(tmp_path: Path) -> Made:
    """`base(shapes)` makes a model's folder with weights of these shapes."""

    def make(shapes: Mapping[str, tuple[int, ...]]) -> Path:
        folder = tmp_path / "base"
        folder.mkdir(exist_ok=True)
        weights = {n if n == FUSED else f"{n}.weight": np.zeros(s, np.float16) for n, s in shapes.items()}
        save_file(weights, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
        return folder

    return make


def statuses(study: Any) -> list[str]:
    return study.table.frame["status"].to_list()


def remedies(study: Any) -> set[str | None]:
    return set(study.table.frame["remedy"].to_list())


def kinds(study: Any) -> set[str]:
    return {finding.kind for finding in study.findings}


def test_the_right_base_takes_every_module(adapter: Made, base: Made) -> None:
    study = check(adapter(), base=base(WEIGHTS))
    assert statuses(study) == ["attached"] * 40
    assert (study.readout["attaches"], study.readout["models"]["tuned"]["attached"]) == (True, 40)
    assert not study.findings
    row = study.table.frame.row(0, named=True)
    assert (row["scale"], row["scale_rule"]) == (2.0, "alpha/rank, both from adapter_config.json")
    assert row["expected_shape"] == row["found_shape"]


@pytest.mark.parametrize("prefix", ["language_model.", "model.language_model.", "wrapped.by.someone."])
def test_a_base_under_a_prefix_takes_none_and_the_prefix_is_named(
    adapter: Made, base: Made, prefix: str
) -> None:
    wrapped = {f"{prefix}{name}": shape for name, shape in WEIGHTS.items()}
    study = check(adapter(), base=base(wrapped | {"vision.x": (3, 3)}))
    assert statuses(study) == ["missing"] * 40
    (remedy,) = remedies(study)
    assert repr(prefix) in str(remedy)
    assert not study.readout["attaches"]


def test_a_prefix_that_the_adapter_has_and_the_base_has_not_is_taken_off(adapter: Made, base: Made) -> None:
    study = check(adapter({f"thinker.{n}": s for n, s in WEIGHTS.items()}), base=base(WEIGHTS))
    assert remedies(study) == {"take 'thinker.' off the adapter's names"}


@pytest.mark.parametrize("theirs", ["", "language_model.", "thinker.", "a.b.c.d.e.", "model."])
@pytest.mark.parametrize(
    "ours", ["", "language_model.", "model.language_model.", "_orig_mod.", "module.", "base_model.model."]
)
def test_what_the_remedy_says_makes_every_module_attach(
    adapter: Made, base: Made, theirs: str, ours: str
) -> None:
    names = {f"{theirs}{name}": shape for name, shape in WEIGHTS.items()}
    held = {f"{ours}{name}": shape for name, shape in WEIGHTS.items()}
    if theirs == ours:
        return
    (remedy,) = remedies(check(adapter(names), base=base(held)))
    for step in str(remedy).split(", and "):
        first, second = [*re.findall("'([^']*)'", step), ""][:2]
        if "off the base's names" in step:
            held = {name.removeprefix(first): shape for name, shape in held.items()}
        elif step.startswith("take"):
            names = {name.removeprefix(first): shape for name, shape in names.items()}
        else:
            names = {first + name.removeprefix(second): shape for name, shape in names.items()}
    assert set(statuses(check(adapter(names), base=base(held)))) == {"attached"}


def test_two_towers_that_fit_are_both_listed(adapter: Made, base: Made) -> None:
    towers = {f"{t}.{n}": s for t in ("text", "vision") for n, s in WEIGHTS.items()}
    (remedy,) = remedies(check(adapter(), base=base(towers)))
    assert "'text.'" in str(remedy)
    assert "'vision.'" in str(remedy)


def test_a_prefix_under_which_one_shape_differs_is_not_named(adapter: Made, base: Made) -> None:
    shapes = {f"language_model.{n}": s for n, s in WEIGHTS.items()}
    shapes["language_model.model.layers.3.mlp.up_proj"] = (60, 32)
    assert remedies(check(adapter(), base=base(shapes))) == {None}


def test_a_base_of_another_width_is_called_so(adapter: Made, base: Made) -> None:
    study = check(adapter(), base=base({n: (2 * o, 2 * i) for n, (o, i) in WEIGHTS.items()}))
    assert statuses(study) == ["shape_differs"] * 40
    assert kinds(study) == {"not_attached", "wrong_width"}


def test_a_base_of_another_width_and_depth_is_called_both(adapter: Made, base: Made) -> None:
    small = {n: (2 * o, 2 * i) for n, (o, i) in WEIGHTS.items() if int(n.split(".")[2]) < 2}
    study = check(adapter(), base=base(small))
    assert statuses(study).count("shape_differs") == 10
    assert kinds(study) == {"not_attached", "wrong_depth", "wrong_width"}


def test_layers_beyond_the_base_are_called_a_deeper_model(adapter: Made, base: Made) -> None:
    study = check(adapter(), base=base({n: s for n, s in WEIGHTS.items() if int(n.split(".")[2]) < 6}))
    assert statuses(study).count("missing") == 10
    (deeper,) = [f for f in study.findings if f.kind == "wrong_depth"]
    assert deeper.evidence["layers"] == [6, 7]


@pytest.mark.parametrize("prefix", ["language_model.", "model.language_model.", "text_model.", "thinker."])
def test_a_base_under_a_prefix_is_no_other_architecture(adapter: Made, base: Made, prefix: str) -> None:
    wrapped = {f"{prefix}{n}": s for n, s in WEIGHTS.items()}
    assert kinds(check(adapter(), base=base(wrapped))) == {"not_attached"}
    shallow = {n: s for n, s in wrapped.items() if "layers.6" not in n and "layers.7" not in n}
    study = check(adapter(), base=base(shallow))
    assert kinds(study) == {"not_attached", "wrong_depth"}
    assert [f.evidence["layers"] for f in study.findings if f.kind == "wrong_depth"] == [[6, 7]]


def test_a_resized_vocabulary_has_its_remedy(adapter: Made, base: Made) -> None:
    head, q = {"lm_head": (105, 32)}, {"model.layers.0.self_attn.q_proj": (32, 32)}
    study = check(adapter({**q, **head}), base=base({**q, "lm_head": (100, 32)}))
    found = dict(study.table.frame.select("component_name", "status").iter_rows())
    assert found == {"L0_ATTN_Q": "attached", "LM_HEAD": "shape_differs"}
    assert remedies(study) == {None, "resize the base's vocabulary to 105 before loading"}
    assert "vocabulary_resized" in kinds(study)


def test_layers_that_are_stored_turned_attach(adapter: Made, base: Made) -> None:
    name = "transformer.h.0.mlp.c_fc"
    study = check(adapter({name: (64, 32)}, fan_in_fan_out=True), base=base({name: (32, 64)}))
    assert statuses(study) == ["attached"]


def test_fused_experts_attach_up_to_the_experts_that_the_base_has(adapter: Made, base: Made) -> None:
    stem = "base_model.model.model.layers.0.mlp.experts"
    tensors = {f"{stem}.lora_A.weight": normal(4 * 2, 8), f"{stem}.lora_B.weight": normal(6, 4 * 2)}
    folder = adapter(tensors=tensors, target_parameters=["mlp.experts.down_proj"], peft_version="0.21.2")
    study = check(folder, base=base({FUSED: (3, 6, 8)}))
    assert statuses(study) == ["attached"] * 3 + ["missing"]
    assert study.table.frame["remedy"].to_list()[3] == "the base has 3 experts"
    assert kinds(study) == {"not_attached", "experts_out_of_range"}


def test_experts_with_numbers_beyond_those_of_the_base_are_named(adapter: Made, base: Made) -> None:
    experts = {f"model.layers.0.mlp.experts.{i}.up_proj": (6, 8) for i in range(6)}
    study = check(adapter(experts), base=base(dict(list(experts.items())[:4])))
    assert statuses(study).count("missing") == 2
    (beyond,) = [f for f in study.findings if f.kind == "experts_out_of_range"]
    assert (beyond.evidence["experts"], beyond.evidence["base_experts"]) == ([4, 5], 4)


def test_kohya_names_attach_by_their_place(tmp_path: Path, base: Made) -> None:
    flat = "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q"
    tensors = pair(flat, (32, 32), ("lora_down.weight", "lora_up.weight"))
    save_file({**tensors, f"{flat}.alpha": np.ones(1, np.float32)}, tmp_path / "style.safetensors")
    place = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    study = check(tmp_path / "style.safetensors", base=base({place: (32, 32)}))
    assert statuses(study) == ["attached"]
    assert study.table.frame["weight"][0] == f"{place}.weight"


def test_without_a_base_the_file_is_described_from_its_header_alone(adapter: Made) -> None:
    folder = adapter(peft_version="0.18.0", base_model_name_or_path="org/model")
    study = check(folder)
    said = study.readout["models"]["tuned"]
    assert (said["modules"], said["ranks"], said["attached"]) == (40, [2], None)
    assert (said["tuner_version"], said["base_named"]) == ("0.18.0", "org/model")
    raw = (folder / "adapter_model.safetensors").read_bytes()
    assert said["bytes_read"] == 8 + int.from_bytes(raw[:8], "little") < said["bytes"] == len(raw)
    assert study.sources[0]["digest"]["kind"] == "sha256_of_head_and_size"
    assert statuses(study) == [None] * 40
    assert study.readout["attaches"]


def test_deep_reads_the_values_too(adapter: Made) -> None:
    stem = "base_model.model.model.layers.{}.mlp.up_proj".format
    tensors = {n: t for i in range(5) for n, t in pair(stem(i), (8, 6)).items()}
    tensors[f"{stem(0)}.lora_B.weight"][:] = 0
    tensors[f"{stem(1)}.lora_B.weight"][0, 0] = np.nan
    for factor in "AB":
        tensors[f"{stem(2)}.lora_{factor}.weight"] = tensors[f"{stem(3)}.lora_{factor}.weight"].copy()
    folder = adapter(tensors=tensors)
    assert not check(folder).findings
    found = {f.kind: f.components for f in check(folder, deep=True).findings}
    assert found == {
        "untrained": ("L0_MLP_UP",), "non_finite": ("L1_MLP_UP",), "duplicate": ("L2_MLP_UP", "L3_MLP_UP")
    }  # fmt: skip


def test_the_study_is_read_back_as_it_was(adapter: Made, base: Made, tmp_path: Path) -> None:
    study = check(adapter(), base=base({f"language_model.{n}": s for n, s in WEIGHTS.items()}))
    study.save(tmp_path / "out")
    again = tunescope.read(tmp_path / "out")
    assert (again.readout, again.sources) == (study.readout, study.sources)
    assert all(table.equals(again.tables[name]) for name, table in study.tables.items())
    assert (tmp_path / "out" / "tables" / "attach.csv").is_file()


def test_a_base_that_is_not_there(adapter: Made, tmp_path: Path) -> None:
    with pytest.raises(Missing):
        check(adapter(), base=tmp_path / "nothing")


def test_without_a_connection_a_base_on_the_hub_is_refused_with_the_way_out(
    adapter: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Missing, match="hub-offline"):
        check(adapter(), base="org/model-that-nobody-has")


@pytest.mark.parametrize("fused_in_the_base", [True, False])
def test_a_projection_attaches_whether_file_or_base_fuses_it(
    base: Made, tmp_path: Path, fused_in_the_base: bool
) -> None:
    authors, diffusers = "double_blocks.{n}.img_attn.qkv", "transformer_blocks.{n}.attn.to_{side}"
    fused = {authors.format(n=n): (96, 32) for n in range(4)}
    apart = {diffusers.format(n=n, side=side): (32, 32) for n in range(4) for side in "qkv"}
    lora = tmp_path / "mine.safetensors"
    if fused_in_the_base:
        parts = (pair(f"transformer.{module}", shape) for module, shape in apart.items())
        folder = base(fused)
    else:
        names = ("lora_down.weight", "lora_up.weight")
        parts = (pair("lora_unet_" + m.replace(".", "_"), shape, names) for m, shape in fused.items())
        folder = base(apart)
    save_file({name: tensor for one in parts for name, tensor in one.items()}, lora)
    study = check(lora, base=folder, scale={"mine": 1.0})
    assert set(statuses(study)) == {"attached"}
    weights = study.table.frame["weight"].to_list()
    assert all(("to_k.weight" in weight) is not fused_in_the_base for weight in weights)


def test_a_projection_of_another_width_attaches_in_no_spelling(base: Made, tmp_path: Path) -> None:
    names = ("lora_down.weight", "lora_up.weight")
    lora = tmp_path / "mine.safetensors"
    save_file(pair("lora_unet_double_blocks_0_img_attn_qkv", (96, 48), names), lora)
    study = check(lora, base=base({f"transformer_blocks.0.attn.to_{side}": (32, 32) for side in "qkv"}))
    assert statuses(study) == ["missing"]


@pytest.mark.parametrize(
    ("saved", "remedy"),
    [
        ("lm_head.weight", "resize the base's vocabulary to 70 before loading"),
        ("model.embed_tokens.weight", "resize the base's vocabulary to 70 before loading"),
        ("lm_head.modules_to_save.default.weight", "resize the base's vocabulary to 70 before loading"),
        ("score.weight", "load the base with 70 labels (num_labels=70)"),
    ],
)
def test_a_weight_saved_whole_of_other_rows_than_the_base_has_is_named(
    adapter: Made, base: Made, saved: str, remedy: str
) -> None:
    pairs = (pair(f"base_model.model.{module}", shape) for module, shape in WEIGHTS.items())
    tensors = {name: tensor for one in pairs for name, tensor in one.items()}
    module = saved.removesuffix(".weight").removesuffix(".modules_to_save.default")
    folder = base(WEIGHTS | {module: (64, 32)})
    source = adapter(
        tensors={**tensors, f"base_model.model.{saved}": normal(70, 32)}, modules_to_save=[module]
    )
    study = check(source, base=folder)
    (row,) = study.table.frame.filter(study.table.frame["status"] != "attached").to_dicts()
    shown = {
        "weight": f"{module}.weight",
        "expected_shape": "70×32",
        "found_shape": "64×32",
        "remedy": remedy,
    }
    assert row | shown == row
    assert ("vocabulary_resized" in kinds(study)) is (module != "score")
    assert not study.readout["attaches"]


def test_heads_that_fit_or_that_the_base_has_not_are_no_hindrance(adapter: Made, base: Made) -> None:
    pairs = (pair(f"base_model.model.{module}", shape) for module, shape in WEIGHTS.items())
    tensors = {name: tensor for one in pairs for name, tensor in one.items()}
    heads = {
        "base_model.model.lm_head.weight": normal(64, 32),
        "base_model.model.score.weight": normal(3, 32),
    }
    folder = base(WEIGHTS | {"lm_head": (64, 32)})
    study = check(adapter(tensors=tensors | heads, modules_to_save=["lm_head", "score"]), base=folder)
    assert statuses(study) == ["attached"] * len(WEIGHTS)
    assert study.readout["attaches"]


@pytest.mark.parametrize("table", ["wte", "word_embeddings"])
def test_files_of_gpt2_and_bloom_are_held_against_the_names_they_are_loaded_under(
    adapter: Made, base: Made, table: str
) -> None:
    shapes = {f"h.{n}.attn.c_proj": (32, 32) for n in range(3)}
    folder = base(shapes | {table: (64, 32)})
    study = check(adapter({f"transformer.{module}": shape for module, shape in shapes.items()}), base=folder)
    assert statuses(study) == ["attached"] * 3


def test_a_rank_that_is_not_the_configs_does_not_attach(adapter: Made, base: Made) -> None:
    study = check(adapter(r=16), base=base(WEIGHTS))
    assert statuses(study) == ["shape_differs"] * 40
    assert not study.readout["attaches"]
    row = study.table.frame.filter(study.table.frame["component_name"] == "L0_MLP_DOWN").row(0, named=True)
    assert (row["expected_shape"], row["found_shape"]) == ("16×64", "2×64")
    assert "set r to 2 in adapter_config.json" in row["remedy"]
    (finding,) = study.findings
    assert (finding.kind, finding.severity, len(finding.components)) == ("rank_mismatch", "warning", 40)


def test_the_rank_of_a_pattern_is_the_rank_stated(adapter: Made, base: Made) -> None:
    folder = base(WEIGHTS)
    study = check(adapter(r=16, rank_pattern={r"layers\.\d+\.(self_attn|mlp)\..*": 2}), base=folder)
    assert statuses(study) == ["attached"] * 40


def test_one_module_of_another_rank_has_its_pattern_as_the_remedy(adapter: Made, base: Made) -> None:
    pairs = [pair(f"base_model.model.{module}", shape) for module, shape in WEIGHTS.items()]
    tensors = {name: tensor for one in pairs for name, tensor in one.items()}
    odd = "model.layers.3.mlp.up_proj"
    tensors[f"base_model.model.{odd}.lora_A.weight"] = normal(5, 32)
    tensors[f"base_model.model.{odd}.lora_B.weight"] = normal(64, 5)
    study = check(adapter(tensors=tensors), base=base(WEIGHTS))
    (row,) = study.table.frame.filter(study.table.frame["status"] != "attached").to_dicts()
    assert (row["component_name"], row["status"]) == ("L3_MLP_UP", "shape_differs")
    assert row["remedy"] == f"put {odd!r}: 5 first in rank_pattern of adapter_config.json"


@pytest.mark.parametrize("deep", [False, True])
def test_an_unknown_key_of_the_config_is_said_and_what_measures_refuses_it(
    deep: bool, adapter: Made, base: Made
) -> None:
    """PEFT warns of it and attaches every module."""
    folder = adapter(use_novelty={"depth": 3})
    study = check(folder, base=base(WEIGHTS), deep=deep)
    (finding,) = [f for f in study.findings if f.kind == "unknown_config_key"]
    assert "'use_novelty' = {'depth': 3}" in finding.text
    assert study.readout["attaches"]
    with pytest.raises(BadInput, match="check works with it") as caught:
        tunescope.norms(folder)
    assert caught.value.slug == "unknown-config-key"


def test_half_saved_modules_are_missing(adapter: Made, base: Made) -> None:
    pairs = [pair(f"base_model.model.{module}", shape) for module, shape in WEIGHTS.items()]
    tensors = {name: tensor for one in pairs for name, tensor in one.items()}
    for layer in range(6):
        for module in ("q_proj", "v_proj"):
            del tensors[f"base_model.model.model.layers.{layer}.self_attn.{module}.lora_B.weight"]
    study = check(adapter(tensors=tensors), base=base(WEIGHTS))
    said = study.readout["models"]["tuned"]
    assert (said["modules"], said["attached"], said["missing"]) == (40, 28, 12)
    assert not study.readout["attaches"]
    assert kinds(study) == {"half_saved"}
    assert remedies(study) == {None, "save the adapter again: the module has no lora_B"}


def test_half_saved_modules_of_kohya_are_missing(tmp_path: Path, base: Made) -> None:
    flat = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_{}".format
    tensors = {
        n: t for k in "qk" for n, t in pair(flat(k), (32, 32), ("lora_down.weight", "lora_up.weight")).items()
    }
    del tensors[f"{flat('k')}.lora_up.weight"]
    save_file(tensors, tmp_path / "style.safetensors")
    place = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_{}".format
    folder = base({place(k): (32, 32) for k in "qk"})
    study = check(tmp_path / "style.safetensors", base=folder, scale={"style": 1.0})
    assert statuses(study) == ["attached", "missing"]


@pytest.mark.parametrize(
    ("stated", "targeted", "absent"),
    [
        ({"target_modules": ["q_proj", "up_proj"]}, 16, {"L0_MLP_UP", "L7_MLP_UP"}),
        ({"target_modules": r".*\.(q_proj|up_proj)"}, 16, {"L0_MLP_UP", "L7_MLP_UP"}),
        ({"target_modules": "all-linear"}, 40, {"L0_ATTN_K", "L7_MLP_DOWN"}),
        ({"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [0]}, 2, {"L0_MLP_UP"}),
        ({"target_modules": ["q_proj", "up_proj"], "exclude_modules": ["up_proj"]}, 8, set()),
        ({"target_modules": ["proj", "q_proj"]}, 8, set()),
    ],
)
def test_modules_that_the_config_targets_and_the_file_lacks_are_named(
    adapter: Made, base: Made, stated: Any, targeted: int, absent: set[str]
) -> None:
    held = {name: shape for name, shape in WEIGHTS.items() if "q_proj" in name}
    study = check(adapter(held, **stated), base=base(WEIGHTS | {"lm_head": (50, 32)}))
    # The file has all layers, and PEFT passes over those that the config leaves out.
    assert study.readout["attaches"] is ("layers_to_transform" not in stated)
    found = [finding for finding in study.findings if finding.kind == "targets_absent"]
    assert {name for finding in found for name in finding.components} >= absent
    assert [finding.evidence["targeted"] for finding in found] == ([targeted] if absent else [])
    in_config = study.readout["models"]["tuned"]["targets_named"]
    assert (study.readout["models"]["tuned"]["targets"], in_config) == (
        ["self_attn.q_proj"],
        stated["target_modules"],
    )


def test_deep_states_that_the_values_were_read(adapter: Made) -> None:
    folder = adapter()
    study = check(folder, deep=True)
    said = study.readout["models"]["tuned"]
    assert said["bytes_read"] == said["bytes"] == (folder / "adapter_model.safetensors").stat().st_size
    whole = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    assert study.sources[0]["digest"] == {"kind": "sha256", "value": whole}
    assert "Read from headers, configs and values" in study.markdown()
    assert "Read from headers and configs" in check(folder).markdown()


def test_the_page_names_the_base(adapter: Made, base: Made) -> None:
    folder = base(WEIGHTS)
    page = report([check(adapter(), base=folder)])
    assert f"The base is {folder}." in page
    assert "No source names its base model" not in page
    assert "Nothing stands in the way of loading." in page


def test_the_page_does_not_say_that_nothing_stands_in_the_way_below_a_warning(
    adapter: Made, base: Made
) -> None:
    page = report([check(adapter(r=16), base=base(WEIGHTS))])
    assert "Nothing stands in the way" not in page
    assert "size mismatch" in page


def test_a_rank_that_is_not_the_configs_is_the_same_finding_without_a_base(adapter: Made, base: Made) -> None:
    folder = adapter(r=16)
    alone, against = check(folder), check(folder, base=base(WEIGHTS))
    (first,), (second,) = alone.findings, against.findings
    assert (first.kind, first.text, first.evidence) == (second.kind, second.text, second.evidence)
    assert alone.readout["attaches"]
    assert statuses(alone) == [None] * 40
    assert remedies(alone) == remedies(against)


@pytest.mark.parametrize(("method", "root"), [("LORA", True), ("ADALORA", False)])
def test_the_scale_of_adalora_is_said_without_a_root_whatever_the_config_says(
    tmp_path: Path, method: str, root: bool
) -> None:
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = {f"{module}.lora_A": normal(4, 32), f"{module}.lora_B": normal(32, 4)}
    tensors = {n if method == "ADALORA" else f"{n}.weight": t for n, t in tensors.items()}
    if method == "ADALORA":
        tensors[f"{module}.lora_E"] = normal(4, 1)
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    said = {"peft_type": method, "r": 4, "init_r": 4, "lora_alpha": 8, "use_rslora": True,
            "target_modules": ["q_proj"]}  # fmt: skip
    if method == "LORA":
        del said["init_r"]
    (tmp_path / "adapter_config.json").write_text(json.dumps(said))
    (row,) = check(tmp_path).table.to_polars().to_dicts()
    assert ("√" in row["scale_rule"]) is root


def test_one_remedy_for_many_modules_is_said_once(adapter: Made, base: Made) -> None:
    targets = ["q_proj", "k_proj", "v_proj", "down_proj"]
    found = check(adapter(target_modules=targets), base=base(WEIGHTS)).findings
    (text,) = [finding.text for finding in found if finding.kind == "left_out_by_config"]
    assert text.startswith("8 of 40 modules of tuned are not loaded by its config (L0_MLP_UP, ")
    assert text.endswith("Remedy: name 'up_proj' in target_modules.")
