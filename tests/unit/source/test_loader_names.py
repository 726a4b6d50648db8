"""Transformers' own rules for names, applied to the names of files."""

import json
from importlib.resources import files
from typing import Any

import pytest

from tunescope.source.loader_names import loaded_names

KIMI = {"architectures": ["Kimi_K25ForConditionalGeneration"], "model_type": "kimi_k25"}
BLOCK = "vision_tower.encoder.blocks.3."
LAYER = "model.vision_tower.layers.3."


def table() -> Any:
    return json.loads((files("tunescope.source") / "loader_names.json").read_text(encoding="utf-8"))


def test_a_class_without_rules_has_no_other_names() -> None:
    assert loaded_names({"model.norm.weight": (4,)}, {"architectures": ["LlamaForCausalLM"]}) == {}
    assert loaded_names({"model.norm.weight": (4,)}, {"architectures": 3, "model_type": None}) == {}


def test_a_fused_weight_that_the_loader_cuts_has_the_names_and_shapes_of_its_parts() -> None:
    found = loaded_names({f"{BLOCK}wqkv.weight": (12, 4)}, KIMI)
    assert found == {f"{LAYER}attn.{part}_proj.weight": (4, 4) for part in "qkv"}


def test_names_that_move_up_do_so_only_where_the_file_has_the_first_of_them() -> None:
    older = loaded_names({f"{BLOCK}norm{n}.weight": (4,) for n in (0, 1)}, KIMI)
    assert list(older) == [f"{LAYER}norm1.weight", f"{LAYER}norm2.weight"]
    newer = loaded_names({f"{BLOCK}norm{n}.weight": (4,) for n in (1, 2)}, KIMI)
    assert list(newer) == list(older)


def test_rules_of_a_tower_leave_names_outside_of_it_alone() -> None:
    kind = {"model_type": "t5gemma2"}
    names = ("model.encoder.layers.0.mlp.up_proj.weight", "model.decoder.layers.0.mlp.up_proj.weight")
    found = list(loaded_names(dict.fromkeys(names, (4, 4)), kind))
    assert sorted(found) == sorted(["model.encoder.text_model.layers.0.mlp.up_proj.weight", names[1]])


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("fuyu", "FuyuForCausalLM"),
        ("t5gemma2", "T5Gemma2ForConditionalGeneration"),
        # A rule of the tower inside, and a class that its own config cannot build.
        ("aria", "AriaForConditionalGeneration"),
        ("beit", "BeitForSemanticSegmentation"),
    ],
)
def test_the_rules_are_those_of_the_installed_library(kind: str, name: str) -> None:
    pytest.importorskip("torch")
    made, held = pytest.importorskip("scripts.make_loader_names"), table()
    known = [([scope, prefix], held["rules"][at]) for scope, prefix, at in held["models"][name]]
    assert known == [(where, json.loads(json.dumps(rule))) for where, rule in made.rules_of_class(name, kind)]
