"""Adapters held against files whose names a loader changes: stacked experts, renamed towers, bare models."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tunescope import check

Shapes = Mapping[str, tuple[int, ...]]
WIDTH, INNER, EXPERTS, RANK = 8, 6, 4, 2
STACKED = {"gate_up_proj": (EXPERTS, 2 * INNER, WIDTH), "down_proj": (EXPERTS, WIDTH, INNER)}
NUMBERED = {"gate_proj": (INNER, WIDTH), "up_proj": (INNER, WIDTH), "down_proj": (WIDTH, INNER)}
OWNER = "model.layers.{}.mlp.experts"


def made(folder: Path, tensors: Shapes, **config: Any) -> Path:
    folder.mkdir()
    name = "adapter_model" if "peft_type" in config else "model"
    save_file({n: np.ones(s, np.float32) for n, s in tensors.items()}, folder / f"{name}.safetensors")
    (folder / f"{name.replace('model', 'config') if 'adapter' in name else 'config'}.json").write_text(
        json.dumps(config)
    )
    return folder


def pairs(modules: Shapes) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for module, (rows, columns) in modules.items():
        found[f"base_model.model.{module}.lora_A.weight"] = (RANK, columns)
        found[f"base_model.model.{module}.lora_B.weight"] = (rows, RANK)
    return found


def lora(folder: Path, modules: Shapes, **config: Any) -> Path:
    return made(folder, pairs(modules), peft_type="LORA", r=RANK, lora_alpha=4, **config)


def numbered(
    names: Shapes = NUMBERED, experts: int = EXPERTS, prefix: str = ""
) -> dict[str, tuple[int, ...]]:
    return {
        f"{prefix}{OWNER.format(layer)}.{e}.{name}": shape
        for layer in range(2) for e in range(experts) for name, shape in names.items()
    }  # fmt: skip


def weights(modules: Shapes) -> dict[str, tuple[int, ...]]:
    return {f"{module}.weight": shape for module, shape in modules.items()}


def stacked() -> dict[str, tuple[int, ...]]:
    return {f"{OWNER.format(layer)}.{n}": s for layer in range(2) for n, s in STACKED.items()}


def fused_lora(folder: Path) -> Path:
    tensors: dict[str, tuple[int, ...]] = {}
    rows = EXPERTS * RANK
    for layer in range(2):
        stem = f"base_model.model.{OWNER.format(layer)}"
        tensors |= {f"{stem}.base_layer.lora_A.weight": (rows, WIDTH),
                    f"{stem}.base_layer.lora_B.weight": (2 * INNER, rows),
                    f"{stem}.lora_A.weight": (rows, INNER),
                    f"{stem}.lora_B.weight": (WIDTH, rows)}  # fmt: skip
    targets = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    return made(folder, tensors, peft_type="LORA", r=RANK, lora_alpha=4, target_parameters=targets,
                peft_version="0.21.2")  # fmt: skip


def rows(study: Any) -> set[tuple[Any, ...]]:
    return set(study.table.frame.select("status", "remedy").iter_rows())


def rules(study: Any) -> list[str]:
    return [str(f.evidence["rule"]) for f in study.findings if f.kind == "names_of_the_loader"]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (OWNER, ("gate_proj", "up_proj", "down_proj")),
        ("model.layers.{}.block_sparse_moe.experts", ("w1", "w3", "w2")),
    ],
)
def test_stacked_experts_attach_to_files_that_number_them(
    tmp_path: Path, files: str, names: tuple[str, ...]
) -> None:
    spelled = dict(zip(names, NUMBERED.values(), strict=True))
    held = {
        f"{files.format(layer)}.{e}.{name}.weight": shape
        for layer in range(2) for e in range(EXPERTS) for name, shape in spelled.items()
    }  # fmt: skip
    study = check(fused_lora(tmp_path / "a"), base=made(tmp_path / "base", held, model_type="any_moe"))
    assert rows(study) == {("attached", None)}
    assert len(rules(study)) == 1
    first = study.table.frame.row(0, named=True)
    assert first["weight"] == ", ".join(f"{files.format(0)}.0.{name}.weight" for name in names[:2])
    assert first["found_shape"] == f"{2 * INNER}×{WIDTH}"


def test_stacked_experts_beyond_the_numbers_of_the_base_are_missing(tmp_path: Path) -> None:
    base = made(tmp_path / "base", weights(numbered(experts=3)), model_type="any_moe")
    study = check(fused_lora(tmp_path / "a"), base=base)
    beyond = study.table.frame.filter(study.table.frame["expert"] == 3)
    assert set(beyond["status"]) == {"missing"}
    assert set(beyond["remedy"]) == {"the base has no expert of that number"}
    assert "experts_out_of_range" in {finding.kind for finding in study.findings}


def test_stacked_experts_under_a_prefix_have_it_as_their_remedy(tmp_path: Path) -> None:
    base = made(tmp_path / "base", weights(numbered(prefix="thinker.")), model_type="any_moe")
    study = check(fused_lora(tmp_path / "a"), base=base)
    assert rows(study) == {("missing", "put 'thinker.' in front of the adapter's names")}


def test_numbered_experts_attach_to_a_stack_where_peft_joins_them(tmp_path: Path) -> None:
    base = made(tmp_path / "base", stacked(), model_type="qwen3_moe")
    study = check(lora(tmp_path / "a", numbered()), base=base)
    assert rows(study) == {("attached", None)}
    assert "PEFT" in rules(study)[0]
    frame = study.table.frame
    first = frame.filter(frame["component_name"] == "L0_MLP_UP_E2").row(0, named=True)
    assert first["weight"] == f"{OWNER.format(0)}.gate_up_proj"
    assert first["found_shape"] == f"{EXPERTS}×{2 * INNER}×{WIDTH}"


@pytest.mark.parametrize(
    ("modules", "kind", "status", "why"),
    [
        (numbered(), "gpt_oss", "missing", "experts are modules of their own"),
        (numbered({"gate_proj": (INNER, WIDTH)}), "qwen3_moe", "missing", "only together with up_proj"),
        (numbered(experts=3), "qwen3_moe", "missing", "all 4 experts"),
        (numbered({"down_proj": (WIDTH, 2 * INNER)}), "qwen3_moe", "shape_differs", None),
    ],
)
def test_numbered_experts_that_cannot_be_joined_say_why(
    tmp_path: Path, modules: Shapes, kind: str, status: str, why: str | None
) -> None:
    study = check(lora(tmp_path / "a", modules), base=made(tmp_path / "base", stacked(), model_type=kind))
    ((found, remedy),) = rows(study)
    assert found == status
    assert remedy is None if why is None else why in remedy
    assert not study.readout["attaches"]


def test_a_numbered_expert_beyond_the_stack_is_missing(tmp_path: Path) -> None:
    base = made(tmp_path / "base", stacked(), model_type="qwen3_moe")
    study = check(lora(tmp_path / "a", numbered(experts=6)), base=base)
    beyond = study.table.frame.filter(study.table.frame["expert"] > 3)
    assert set(beyond["remedy"]) == {"the base has 4 experts"}


def test_lists_of_projections_meet_a_stack_and_say_what_they_need(tmp_path: Path) -> None:
    modules = {f"{OWNER.format(0)}.down_projs.{e}": (WIDTH, INNER) for e in range(EXPERTS)}
    study = check(
        lora(tmp_path / "a", modules), base=made(tmp_path / "base", stacked(), model_type="gpt_oss")
    )
    ((status, remedy),) = rows(study)
    assert status == "missing"
    assert "modules of their own" in remedy


@pytest.mark.parametrize(
    ("kind", "stored", "loaded"),
    [
        ("gemma3", "language_model.model.layers.{}.self_attn.q_proj",
         "model.language_model.layers.{}.self_attn.q_proj"),
        ("llava", "language_model.model.layers.{}.mlp.up_proj", "model.language_model.layers.{}.mlp.up_proj"),
        ("llava", "vision_tower.vision_model.encoder.layers.{}.self_attn.v_proj",
         "model.vision_tower.vision_model.encoder.layers.{}.self_attn.v_proj"),
        ("qwen2_5_vl", "model.layers.{}.self_attn.q_proj", "model.language_model.layers.{}.self_attn.q_proj"),
        ("qwen2_vl", "visual.blocks.{}.attn.qkv", "model.visual.blocks.{}.attn.qkv"),
        ("mixtral", "model.layers.{}.block_sparse_moe.gate", "model.layers.{}.mlp.gate"),
    ],
)  # fmt: skip
def test_names_of_the_loaded_model_and_of_its_files_both_attach(
    tmp_path: Path, kind: str, stored: str, loaded: str
) -> None:
    shapes = [{name.format(n): (WIDTH, WIDTH) for n in range(3)} for name in (stored, loaded)]
    base = made(tmp_path / "base", weights(shapes[0]), model_type=kind)
    old, new = (check(lora(tmp_path / f"a{i}", of), base=base) for i, of in enumerate(shapes))
    assert rows(old) == rows(new) == {("attached", None)}
    assert (rules(old), len(rules(new))) == ([], 1)
    assert kind in rules(new)[0]


@pytest.mark.parametrize(
    ("task", "adapter", "base", "attaches"),
    [
        ("FEATURE_EXTRACTION", "", "model.", True),
        ("CAUSAL_LM", "model.", "", True),
        ("SEQ_CLS", "bert.", "", True),
        ("CAUSAL_LM", "", "model.", False),
        (None, "", "model.", False),
        (None, "model.", "", False),
    ],
)
def test_the_class_that_the_task_loads_puts_its_prefix_on_or_takes_it_off(
    tmp_path: Path, task: str | None, adapter: str, base: str, attaches: bool
) -> None:
    names = [f"{prefix}layers.0.self_attn.q_proj" for prefix in (adapter, base)]
    source, held = ({name: (WIDTH, WIDTH)} for name in names)
    files = weights(held) | {f"{base}embed_tokens.weight": (16, WIDTH)}
    study = check(
        lora(tmp_path / "a", source, task_type=task), base=made(tmp_path / "base", files, model_type="llama")
    )
    assert study.readout["attaches"] is attaches
    ((status, remedy),) = rows(study)
    assert (status == "attached", remedy is None) == (attaches, attaches)


def test_numbered_factors_load_into_a_stacked_model_as_check_says(tmp_path: Path) -> None:
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    config = transformers.Qwen3MoeConfig(
        vocab_size=32, hidden_size=WIDTH, intermediate_size=INNER, moe_intermediate_size=INNER,
        num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, head_dim=4,
        num_experts=EXPERTS, num_experts_per_tok=2, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    transformers.Qwen3MoeForCausalLM(config).save_pretrained(tmp_path / "base")
    targets = list(NUMBERED)
    source = lora(tmp_path / "a", numbered(), target_modules=targets, task_type="CAUSAL_LM")
    names = load_file(tmp_path / "base" / "model.safetensors")
    assert f"{OWNER.format(1)}.3.up_proj.weight" in names
    assert check(source, base=tmp_path / "base").readout["attaches"]
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    before = {name: value.clone() for name, value in base.named_parameters()}
    with warnings.catch_warnings():
        # PEFT warns of patterns that it made itself.
        warnings.simplefilter("ignore")
        model = peft.PeftModel.from_pretrained(base, source)
    after = dict(model.merge_and_unload().named_parameters())
    for layer in range(2):
        moved = after[f"{OWNER.format(layer)}.gate_up_proj"] - before[f"{OWNER.format(layer)}.gate_up_proj"]
        assert torch.allclose(moved, torch.full_like(moved, 2.0 * RANK), atol=1e-5)


@pytest.mark.parametrize("stored", [stacked, lambda: weights(numbered(experts=EXPERTS + 2))])
def test_stacked_factors_of_fewer_experts_than_the_base_has_are_missing(tmp_path: Path, stored: Any) -> None:
    more = {name: (EXPERTS + 2, *shape[1:]) if len(shape) == 3 else shape for name, shape in stored().items()}
    base = made(tmp_path / "base", more, model_type="any_moe")
    study = check(fused_lora(tmp_path / "a"), base=base)
    assert rows(study) == {("missing", "the base has 6 experts, the factors are of 4 experts")}
    assert {finding.kind for finding in study.findings} == {"not_attached"}


def test_peft_refuses_stacked_factors_of_fewer_experts_as_check_says(tmp_path: Path) -> None:
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    sizes = {
        "vocab_size": 32, "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 4, "num_experts_per_tok": 2,
    }  # fmt: skip
    source = fused_lora(tmp_path / "a")
    for experts, attaches in ((EXPERTS, True), (EXPERTS + 2, False)):
        config = transformers.Qwen3MoeConfig(moe_intermediate_size=INNER, num_experts=experts, **sizes)
        base = tmp_path / f"base-{experts}"
        transformers.Qwen3MoeForCausalLM(config).save_pretrained(base)
        assert check(source, base=base).readout["attaches"] is attaches
        model = transformers.AutoModelForCausalLM.from_pretrained(base)
        if attaches:
            peft.PeftModel.from_pretrained(model, source)
            continue
        with pytest.raises(RuntimeError, match="size mismatch"):
            peft.PeftModel.from_pretrained(model, source)


@pytest.mark.parametrize(
    ("front", "end", "remedy"),
    [
        ("model.", "weight", "put 'base_model.model.' in front of the adapter's names"),
        ("base_model.model.base_model.model.model.", "weight", "write 'base_model.model.' for"),
        ("base_model.model._orig_mod.model.", "weight", "write 'base_model.model.' for"),
        ("base_model.model.model.", "mine.weight", "take '.mine' out of the adapter's names"),
        ("base_model.model.model.", "weight", ""),
    ],
)
def test_names_that_peft_does_not_look_for_attach_nothing(
    tmp_path: Path, front: str, end: str, remedy: str
) -> None:
    """As PEFT itself loads them: it takes none of their factors, and says nothing."""
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    module = "layers.0.self_attn.q_proj"
    base = made(tmp_path / "base", {f"model.{module}.weight": (WIDTH, WIDTH)}, model_type="llama")
    tensors = {f"{front}{module}.lora_A.{end}": (RANK, WIDTH), f"{front}{module}.lora_B.{end}": (WIDTH, RANK)}
    adapter = made(
        tmp_path / "adapter", tensors, peft_type="LORA", r=RANK, lora_alpha=4, target_modules=["q_proj"]
    )
    row = check(adapter, base=base).table.frame.row(0, named=True)
    assert row["status"] == ("missing" if remedy else "attached")
    assert (row["remedy"] or "").startswith(remedy)
    layer = torch.nn.Module()
    layer.self_attn = torch.nn.Module()
    layer.self_attn.q_proj = torch.nn.Linear(WIDTH, WIDTH, bias=False)
    model = torch.nn.Module()
    model.model = torch.nn.Module()
    model.model.layers = torch.nn.ModuleList([layer])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = peft.PeftModel.from_pretrained(model, str(adapter))
    factor = loaded.get_submodule(f"base_model.model.model.{module}").lora_B["default"].weight
    assert bool((factor == 1).all()) == (not remedy)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("fuyu", {"language_model.model.layers.0.mlp.up_proj": "model.language_model.layers.0.mlp.up_proj"}),
        ("fuyu", {"vision_embed_tokens": "model.vision_embed_tokens"}),
        (
            "video_llava",
            {"image_tower.encoder.layers.0.mlp.fc1": "model.image_tower.encoder.layers.0.mlp.fc1"},
        ),
        ("granite_speech", {"projector.linear": "model.projector.linear"}),
        ("emu3", {"text_model.model.layers.0.mlp.up_proj": "model.text_model.layers.0.mlp.up_proj"}),
        ("paddleocr_vl", {"model.layers.0.mlp.up_proj": "model.language_model.layers.0.mlp.up_proj"}),
        ("paddleocr_vl", {"mlp_AR.linear_1": "model.projector.linear_1"}),
        (
            "qwen2_5_omni_thinker",
            {
                "audio_tower.layers.0.fc1": "model.audio_tower.layers.0.fc1",
                "model.layers.0.mlp.up_proj": "model.language_model.layers.0.mlp.up_proj",
                "visual.blocks.0.mlp.up_proj": "model.visual.blocks.0.mlp.up_proj",
            },
        ),
        (
            "vit",
            {
                "vit.encoder.layer.0.attention.attention.query": "vit.layers.0.attention.q_proj",
                "vit.encoder.layer.0.attention.output.dense": "vit.layers.0.attention.o_proj",
                "vit.encoder.layer.0.intermediate.dense": "vit.layers.0.mlp.fc1",
                "vit.encoder.layer.0.output.dense": "vit.layers.0.mlp.fc2",
            },
        ),
        (
            "vision-encoder-decoder",
            {
                "encoder.encoder.layer.0.attention.attention.key": "encoder.layers.0.attention.k_proj",
                "decoder.bert.layer.0.attention.key": "decoder.bert.layer.0.attention.key",
            },
        ),
    ],
)
def test_names_that_transformers_gives_as_it_loads_a_type_attach(
    tmp_path: Path, kind: str, names: Mapping[str, str]
) -> None:
    place = made(tmp_path / "base", weights(dict.fromkeys(names, (8, 6))), model_type=kind)
    study = check(lora(tmp_path / "tuned", dict.fromkeys(names.values(), (8, 6))), base=place)
    assert study.table.frame["status"].to_list() == ["attached"] * len(names)


TABLE = "bert.embeddings.word_embeddings.weight"


@pytest.mark.parametrize(
    ("module", "config", "status"),
    [
        ("cls.predictions.decoder", {}, "attached"),
        ("lm_head", {"tie_word_embeddings": True}, "attached"),
        ("lm_head", {"tie_word_embeddings": False}, "missing"),
        ("lm_head.dense", {}, "missing"),
    ],
)
def test_a_head_that_the_base_ties_to_its_table_meets_the_table(
    tmp_path: Path, module: str, config: dict[str, bool], status: str
) -> None:
    place = made(tmp_path / "base", {TABLE: (20, 8)}, model_type="bert", **config)
    row = check(lora(tmp_path / "tuned", {module: (20, 8)}), base=place).table.frame.row(0, named=True)
    assert row["status"] == status
    assert (row["weight"] == TABLE) == (status == "attached")


@pytest.mark.parametrize("kind", ["kohya", "peft"])
def test_a_base_in_its_makers_own_names_meets_adapters_of_both_spellings(tmp_path: Path, kind: str) -> None:
    names = [f"layers.{k}.attention.{part}" for k in range(2) for part in ("qkv", "out")]
    beside = {"noise_refiner.0.attention.qkv.weight": (24, 8), "cap_embedder.1.weight": (8, 8)}
    base = made(tmp_path / "base", {**weights(dict.fromkeys(names, (8, 8))), **beside})
    if kind == "peft":
        adapter = lora(tmp_path / "tuned", dict.fromkeys(names, (8, 8)))
    else:
        adapter = tmp_path / "x.safetensors"
        flat = {f"lora_unet_{name.replace('.', '_')}": name for name in names}
        factors = {f"{n}.lora_{side}.weight": np.ones((8, 2) if side == "up" else (2, 8), np.float32)
                   for n in flat for side in ("up", "down")}  # fmt: skip
        save_file(factors | {f"{n}.alpha": np.array(2, np.float32) for n in flat}, adapter)
    study = check(adapter, base=base)
    assert study.table.frame["status"].to_list() == ["attached"] * 4
    assert study.readout["attaches"]
