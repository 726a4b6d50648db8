"""The readout in words: short enough to be read, and every number compared with something."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

import tunescope
from tunescope.measure.towers import Tower
from tunescope.questions.norms.findings import place_findings
from tunescope.questions.norms.measure import frame
from tunescope.questions.norms.question import QUESTION
from tunescope.questions.norms.sentences import model_sentences, shared_sentence
from tunescope.questions.norms.sight import looked_at, nothing_in_others, nothing_stands_out
from tunescope.questions.norms.summary import readout


def adapter(folder: Path, seed: int, layers: int = 12, slope: float = 1.0) -> Path:
    """A small LoRA in which layers differ by 10 % at random, on a slope over depth."""
    random = np.random.default_rng(seed)
    tensors: dict[str, Any] = {}
    for layer in range(layers):
        size = (1 + (slope - 1) * layer / layers) * np.exp(0.1 * random.standard_normal())
        for kind in ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj"):
            A, B = random.standard_normal((2, 8)), random.standard_normal((8, 2))
            B *= size * (1 + seed / 10) / np.linalg.norm(B @ A)
            stem = f"base_model.model.model.layers.{layer}.{kind}"
            tensors |= {f"{stem}.lora_A.weight": A.astype("f4"), f"{stem}.lora_B.weight": B.astype("f4")}
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 2}')
    return folder


def words(markdown: str) -> int:
    """Words of a readout, tables and the methods paragraph apart."""
    text = markdown.split("## Methods")[0]
    return sum(len(line.split()) for line in text.splitlines() if not line.startswith("|"))


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory) -> tunescope.Study:
    root = tmp_path_factory.mktemp("twelve")
    specs = [f"run-{i}={adapter(root / str(i), i, slope=2.0 + i % 2)}" for i in range(12)]
    return tunescope.norms(*specs, focus_layer=3)


def test_twelve_models_are_read_out_in_seven_hundred_words(twelve: tunescope.Study) -> None:
    assert 100 < words(twelve.markdown()) <= 700


def test_twelve_models_of_many_kinds_are_read_out_in_seven_hundred_words(tmp_path: Path) -> None:
    """Every model with a fact of its own or of two: thirds, tilts, hot and dead weights, fewer kinds."""
    changes: list[dict[str, float]] = [
        {"layers.9.mlp.up_proj": 8}, {"layers.2.self_attn.q_proj": 8}, {"mlp": 3},
        {"layers.7.self_attn.v_proj": 1e-4}, {"layers.6.": 5}, {"layers.4.self_attn.q_proj": 0},
    ]  # fmt: skip
    specs = []
    for i in range(12):
        folder = adapter(tmp_path / f"customer-support-dialogue-{i:02d}", i, slope=(3.0, 0.3, 1.0)[i % 3])
        tensors = load_file(folder / "adapter_model.safetensors")
        for part, factor in changes[i % 6].items():
            tensors |= {k: np.float32(factor) * v for k, v in tensors.items() if part in k and "lora_B" in k}
        if i == 9:
            tensors = {k: v for k, v in tensors.items() if "self_attn" in k}
        save_file(tensors, folder / "adapter_model.safetensors")
        specs.append(folder)
    text = tunescope.norms(*specs).markdown()
    assert 300 < words(text) <= 700
    assert text.split("## Findings")[1].split("<details>")[0].count("\n- ") == 5
    assert "over the weights that both have; most in layers" in text


def test_running_text_has_no_column_names_or_slugs(twelve: tunescope.Study) -> None:
    text = twelve.markdown().split("## Methods")[0]
    prose = "\n".join(line for line in text.splitlines() if not line.startswith(("|", "#")))
    assert not re.findall(r"\b[a-z]+_[a-z_]+\b", prose.replace("d_out", ""))


def test_one_fact_in_twelve_models_is_one_finding(twelve: tunescope.Study) -> None:
    (late,) = [f for f in twelve.findings if f.kind == "late_layers"]
    assert len(late.models) == 12
    assert twelve.markdown().count("changed most in their late layers") == 1


def test_every_model_has_its_sentence_against_the_first(twelve: tunescope.Study) -> None:
    sentences = model_sentences(twelve.readout["models"], twelve.readout["metric"], twelve.readout["ratios"])
    assert len(sentences) == 12
    ratio = twelve.readout["ratios"]["run-4/run-0"]
    assert f"{ratio:.2f}× that of run-0" in sentences[4]
    assert "largest third" not in sentences[0]
    assert "largest in the late third" in str(shared_sentence(twelve.readout["models"]))


def test_the_focus_layer_is_told_in_words(twelve: tunescope.Study) -> None:
    focus = twelve.readout["models"]["run-2"]["focus_layer"]
    text = f"run-2: rank {focus['rank']} of 12 (percentile {focus['percentile']:.1f})"
    assert text in twelve.markdown()


def test_where_nothing_stands_out_it_says_what_would_have(tmp_path: Path) -> None:
    study = tunescope.norms(f"a={adapter(tmp_path / 'a', 3, layers=24)}")
    assert study.findings == ()
    text = nothing_stands_out(study.readout["looked_at"])
    assert text in study.markdown()
    assert "one model of 24 layers and 4 kinds of weight" in text
    assert f"a third of the layers {study.readout['looked_at']['third']:.2f}× another" in text
    assert study.readout["looked_at"]["third"] < 1.5


def test_too_few_layers_are_said_to_be_too_few(tmp_path: Path) -> None:
    study = tunescope.norms(f"a={adapter(tmp_path / 'a', 3, layers=4)}")
    text = study.markdown()
    depth = "Not tested: depth and whole layers (fewer than 7 layers have the same kinds of weight)."
    assert text.index(depth) < text.index("would have been found")
    assert shared_sentence(study.readout["models"]) is None


def model_of(early: float, middle: float, late: float, layers: int = 12) -> dict[str, Any]:
    """What the readout says of the thirds of a model."""
    edges = [0, layers // 3, 2 * layers // 3, layers]
    return {
        "layer_stack": "model", "overall_mean": 1.0, "n_layers": layers,
        "thirds": {"early": early, "middle": middle, "late": late},
        "third_layers": {
            name: [edges[i], edges[i + 1] - 1] for i, name in enumerate(("early", "middle", "late"))
        },
    }  # fmt: skip


MIDDLE = [{"kind": "middle_layers", "models": ["a", "b"]}]


@pytest.mark.parametrize(
    ("findings", "said"),
    [
        (MIDDLE, "early (0–3)."),
        ([], "early (0–3); no test tells that from chance."),
        ([{"kind": "middle_layers", "models": ["b"]}], "early (0–3); told from chance in b alone."),
        ([{"kind": "late_layers", "models": ["a", "b"]}], "early (0–3); no test tells that from chance."),
    ],
)
def test_thirds_that_no_test_tells_apart_are_said_to_be_so(findings: list[Any], said: str) -> None:
    text = shared_sentence({"a": model_of(1, 3, 2), "b": model_of(1, 4, 3)}, findings)
    assert str(text).endswith(said)


def test_an_order_of_the_thirds_that_all_share_is_told_with_their_layers() -> None:
    assert shared_sentence({"a": model_of(1, 3, 2), "b": model_of(1, 4, 3)}, MIDDLE) == (
        "In both models the mean is largest in the middle third of the layers (4–7), then the late (8–11), "
        "and smallest in the early (0–3)."
    )


def test_where_only_the_largest_third_is_shared_no_more_is_said() -> None:
    assert shared_sentence({"a": model_of(1, 3, 2), "b": model_of(2, 3, 1)}, MIDDLE) == (
        "In both models the mean is largest in the middle third of the layers (4–7)."
    )
    assert shared_sentence({"a": model_of(1, 3, 2), "b": model_of(1, 2, 3)}) is None


def test_thirds_that_are_alike_or_too_short_to_be_tested_are_not_spoken_of() -> None:
    assert shared_sentence({"a": model_of(1, 1.01, 1)}) is None
    assert shared_sentence({"a": model_of(1, 5, 1, layers=4)}) is None


def test_models_without_thirds_are_not_counted_among_both() -> None:
    models = {"a": model_of(1, 3, 2), "b": model_of(1, 3, 2), "still": model_of(0, 0, 0)}
    assert str(shared_sentence(models)).startswith("In a and b the mean is largest")


def test_of_a_model_that_did_not_move_no_layer_leads(tmp_path: Path) -> None:
    moved = adapter(tmp_path / "moved", 0)
    still = adapter(tmp_path / "still", 1)
    tensors = load_file(still / "adapter_model.safetensors")
    save_file({k: v * ("lora_A" in k) for k, v in tensors.items()}, still / "adapter_model.safetensors")
    study = tunescope.norms([f"moved={moved}", f"still={still}"])
    told = [
        s
        for s in model_sentences(study.readout["models"], study.readout["metric"], study.readout["ratios"])
        if "still" in s
    ]
    assert told == ["still: ‖ΔW‖/√d_out zero in every weight."]
    assert (
        "largest"
        in model_sentences(study.readout["models"], study.readout["metric"], study.readout["ratios"])[0]
    )


def spread_over(seed: int, layers: int = 24) -> Tower:
    """A tower of seven kinds of weight whose layers differ by 10 % and whose cells by 10 %, at random."""
    random = np.random.default_rng(seed)
    kinds = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    logs = 0.1 * random.standard_normal((layers, 1)) + 0.1 * random.standard_t(5, (layers, 7)) / 1.29
    names = tuple(tuple(f"L{i}_{kind}" for kind in kinds) for i in range(layers))
    return Tower("model", tuple(range(layers)), kinds, ("attention",) * 4 + ("mlp",) * 3, logs, names)


def test_what_is_said_to_be_visible_is_found_about_nine_times_in_ten() -> None:
    kinds = {"third": "late_layers", "layer": "hot_layer", "tilt": "family_tilt", "cell": "hot_cell"}
    found = dict.fromkeys(kinds, 0)
    for seed in range(60):
        seen = looked_at({"m": [spread_over(seed)]})
        for effect, kind in kinds.items():
            # Thirds and families of another draw; among cells and layers, those that were looked at.
            other = spread_over(seed + (1000 if effect in ("third", "tilt") else 0))
            at, kind_at = seed % 24, seed % 7
            place = {"third": np.s_[16:], "layer": at, "tilt": np.s_[:, 4:], "cell": (at, kind_at)}[effect]
            other.logs[place] += np.log(seen[effect])
            findings = place_findings({"m": [other]}, "frobenius_norm_normalized")
            found[effect] += any(f.kind == kind for f in findings)
    assert all(count >= 48 for count in found.values()), found


def test_the_family_that_changed_more_stands_first_in_the_numbers_too() -> None:
    model = {
        "overall_mean": 0.25, "family_means": {"mlp": 0.2, "attention": 0.3}, "top_layers": [0, 1],
        "max_cell": {"component_name": "L0_ATTN_Q", "value": 0.4}, "layer_stack": "model",
    }  # fmt: skip
    (text,) = model_sentences({"a": model}, "frobenius_norm", {})
    assert "attention 1.50× MLP (0.3 and 0.2)" in text


def test_a_largest_weight_outside_the_layers_has_the_largest_inside_beside_it() -> None:
    rows = [
        {"stack": "model", "layer": layer, "component_name": name, "module_type": module, "family": family,
         "frobenius_norm": value, "unscaled_frobenius_norm": value, "scale": 1.0, "d_out": 4, "d_in": 4}
        for layer, name, module, family, value in (
            (None, "EMBED", "embed_tokens", "embedding", 9.0),
            (0, "L0_ATTN_Q", "self_attn.q_proj", "attention", 1.0),
            (1, "L1_ATTN_Q", "self_attn.q_proj", "attention", 2.0),
        )
    ]  # fmt: skip
    every = pl.DataFrame(rows).with_columns(model_id=pl.lit("m"), expert=pl.lit(None, pl.Int64))
    document = readout(every, ["m"], "frobenius_norm", [])
    (text,) = model_sentences(document["models"], "frobenius_norm", {})
    assert text.endswith("largest EMBED (9) outside the layers, L1_ATTN_Q (2) inside.")
    assert document["looked_at"]["outside"] == {"m": 1}
    inside = readout(every.filter(pl.col("layer").is_not_null()), ["m"], "frobenius_norm", [])
    (text,) = model_sentences(inside["models"], "frobenius_norm", {})
    assert text.endswith("largest L1_ATTN_Q (2).")
    assert inside["looked_at"]["outside"] == {}


def test_no_comparison_is_advised_with_an_adapter_of_zeros(tmp_path: Path) -> None:
    paths = {"a": adapter(tmp_path / "a", 1), "b": adapter(tmp_path / "b", 2), "still": tmp_path / "still"}
    paths["still"].mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (paths["still"] / name).write_bytes((paths["a"] / name).read_bytes())
    weights = load_file(paths["a"] / "adapter_model.safetensors")
    zeros = {k: v * 0 if "lora_B" in k else v for k, v in weights.items()}
    save_file(zeros, paths["still"] / "adapter_model.safetensors")
    named = {label: f"{label}={path}" for label, path in paths.items()}
    (three,) = QUESTION.following(tunescope.norms(*named.values()), None)
    assert three.startswith("tunescope subspace")
    assert f"still={paths['still']}" not in three
    (two,) = QUESTION.following(tunescope.norms(named["a"], named["still"]), None)
    assert two.startswith("tunescope attribute")
    assert tuple(QUESTION.following(tunescope.norms(named["still"]), None)) == ()


def seen(**more: Any) -> dict[str, Any]:
    return {"third": 1.4, "layer": 2.5, "tilt": None, "cell": 3.0, "untested": {"tilt": "attention"}, **more}


def test_models_without_a_finding_are_named_where_others_have_one() -> None:
    looked = {"layers": [10, 10], "each": {"a": seen(third=9.0), "b": seen(), "c": seen()}}
    led = {"kind": "middle_layers", "models": ["a"]}
    text = nothing_in_others(looked, ["a", "b", "c"], [led, {"kind": "untrained", "models": ["b"]}])
    assert text.startswith("Nothing stands out in b and c. Not tested: MLP against attention (no MLP weight ")
    # That of the models it speaks of, not of the one whose own effect hides others.
    assert "a third of the layers 1.40× another" in text
    assert nothing_in_others(looked, ["a"], [led]) == nothing_in_others(looked, ["a", "b"], []) == ""


def test_what_could_have_been_seen_is_that_of_each_model() -> None:
    each = {"a": seen(third=1.2, cell=None), "b": seen(tilt=1.5, untested={})}
    text = nothing_stands_out(
        {"layers": [10, 12], "kinds": [2, 7], "each": each, "uncompared": {"c": "unnumbered"}}
    )
    assert text == (
        "Nothing stands out in 2 models of 10 to 12 layers and 2 to 7 kinds of weight. Too much "
        "scatter to tell of single weights in a. Not tested in a: MLP against attention (no MLP weight "
        "changed). Smallest that would have been found, nine times in ten: a third of the layers 1.20× "
        "to 1.40× another (by model), a whole layer 2.5× the median one, MLP and attention 1.50× apart or a "
        "weight 3× what is expected of it. Layers were not compared in c (no weight's name states a layer)."
    )


@pytest.mark.parametrize(
    ("kinds", "layers", "why"),
    [
        (("self_attn.q_proj", "self_attn.v_proj"), 80, "no MLP weight changed"),
        (("mlp.up_proj", "mlp.down_proj"), 80, "no attention weight changed"),
        (("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj"), 80, "fewer than 2 kinds of one of them"),
        (("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj"), 5, "fewer than 6 layers"),
    ],
)
def test_the_reason_why_mlp_was_not_held_against_attention_is_the_one_at_hand(
    kinds: tuple[str, ...], layers: int, why: str
) -> None:
    random = np.random.default_rng(3)
    families = tuple("mlp" if "mlp" in kind else "attention" for kind in kinds)
    names = tuple(tuple(f"L{i}_{kind}" for kind in kinds) for i in range(layers))
    logs = 0.1 * random.standard_normal((layers, len(kinds)))
    looked = looked_at({"a": [Tower("model", tuple(range(layers)), kinds, families, logs, names)]})
    text = nothing_stands_out(looked | {"uncompared": {}})
    assert f"Not tested: MLP against attention ({why}" in text
    # Of 80 layers nobody says that they are too few: what is seen in them is told.
    assert ("a whole layer" in text.split("Smallest")[1]) == (layers == 80)


def test_a_study_of_rough_and_smooth_models_tells_what_is_seen_in_each() -> None:
    """The sizes of two models are those that each of them has among as many."""
    smooth, rough = spread_over(1), spread_over(2)
    rough = replace(rough, logs=rough.logs * 3)
    looked = looked_at({"smooth": [smooth], "rough": [rough]})
    assert looked["each"]["smooth"]["third"] < 1.6 < looked["each"]["rough"]["third"] == looked["third"]
    # The other model only takes its share of the level, and of what is known of neighbours.
    alone = looked_at({"smooth": [smooth]})["each"]["smooth"]
    assert looked["each"]["smooth"]["third"] == pytest.approx(alone["third"], rel=0.2)


@pytest.mark.parametrize(
    ("layer", "kind", "value", "why"),
    [
        (None, "w_0", 1.0, "no weight's name states a layer"),
        (0, "self_attn.q_proj", 0.0, "no weight in a numbered layer changed"),
        (0, "input_layernorm", 1.0, "in numbered layers only norms and biases changed"),
        (0, "self_attn.q_proj", None, "no weight's size is known"),
    ],
)
def test_why_no_layers_were_compared(layer: int | None, kind: str, value: float | None, why: str) -> None:
    row = {
        "model_id": "m", "stack": "model", "layer": layer, "module_type": kind, "component_name": "W",
        "family": "other", "frobenius_norm": value,
    }  # fmt: skip
    looked = readout(frame([row]), ["m"], "frobenius_norm", [])["looked_at"]
    assert nothing_stands_out(looked) == f"Nothing stands out; {why}, so layers were not compared."


def test_the_caption_of_a_difference_says_where_nothing_differs(tmp_path: Path) -> None:
    paths = {"a": adapter(tmp_path / "a", 1), "b": adapter(tmp_path / "b", 2)}
    same = tunescope.norms(f"a={paths['a']}", f"again={paths['a']}")
    other = tunescope.norms(*(f"{label}={path}" for label, path in paths.items()))
    (equal,) = (d.caption for d in QUESTION.pictures(same) if d.name.startswith("difference"))
    (apart,) = (d.caption for d in QUESTION.pictures(other) if d.name.startswith("difference"))
    assert "no weight differs" in equal
    assert "colours from" not in equal
    assert "white is no difference, colours from" in apart
