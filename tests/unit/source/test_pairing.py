"""Two whole models side by side: which weight is which, and what became of every tensor of either."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import tunescope
from tunescope.delta import Delta
from tunescope.errors import BadInput, Missing
from tunescope.measure.dense import change
from tunescope.source.pairing import Pairing, pair_models
from tunescope.source.whole import open_whole

Tensors = dict[str, np.ndarray]
EMBED, HEAD, Q = "model.embed_tokens.weight", "lm_head.weight", "model.layers.0.self_attn.q_proj.weight"


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def decoder(layers: int = 2) -> Tensors:
    blocks = {
        f"model.layers.{k}.{kind}": normal(*shape, seed=k)
        for k in range(layers)
        for kind, shape in (
            ("self_attn.q_proj.weight", (6, 4)),
            ("self_attn.q_proj.bias", (6,)),
            ("input_layernorm.weight", (4,)),
        )
    }
    return {EMBED: normal(10, 4), **blocks, "model.norm.weight": normal(4), HEAD: normal(10, 4, seed=9)}


def moved(tensors: Tensors, by: float = 0.5) -> Tensors:
    return {n: v + np.float32(by) if v.dtype.kind == "f" else v for n, v in tensors.items()}


def saved(folder: Path, tensors: Tensors, **config: object) -> Path:
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def paired(tmp_path: Path, base: Tensors, tuned: Tensors, align: bool = False, **config: object) -> Pairing:
    folders = [saved(tmp_path / name, t, **config) for name, t in (("base", base), ("tuned", tuned))]
    return pair_models(*map(open_whole, folders), align_vocab=align)


def norm(delta: Delta) -> float:
    assert delta.pair is not None
    return change(delta.pair.before, delta.pair.after).norm


def by_name(deltas: tuple[Delta, ...]) -> dict[str, Delta]:
    return {delta.tensors[0]: delta for delta in deltas}


def test_norms_biases_embeddings_and_heads_are_all_paired(tmp_path: Path) -> None:
    base = decoder()
    found = paired(tmp_path, base, moved(base))
    assert [d.tensors[0] for d in found.deltas] == sorted(base)
    for delta in found.deltas:
        assert norm(delta) == pytest.approx(0.5 * np.sqrt(base[delta.tensors[0]].size), rel=1e-6)
    assert {e.status for e in (*found.coverage, *found.base_coverage)} == {"used"}
    sizes = {d.tensors[0]: (d.d_out, d.d_in) for d in found.deltas}
    assert sizes[Q] == (6, 4)
    assert sizes[EMBED] == (4, 10)
    assert sizes[HEAD] == (10, 4)
    assert sizes["model.norm.weight"] == (4, 1)


@pytest.mark.parametrize("side", ["base", "tuned"])
@pytest.mark.parametrize("prefix", ["language_model.", "_orig_mod.", "module."])
def test_a_wrapper_prefix_on_either_side(tmp_path: Path, side: str, prefix: str) -> None:
    base, tuned = decoder(), moved(decoder())
    if side == "base":
        base = {prefix + name: value for name, value in base.items()}
    else:
        tuned = {prefix + name: value for name, value in tuned.items()}
    found = paired(tmp_path, base, tuned)
    assert len(found.deltas) == len(base)
    assert all(entry.status == "used" for entry in found.base_coverage)


def test_tensors_of_one_side_only_are_named(tmp_path: Path) -> None:
    base = decoder()
    tuned = moved(base) | {"model.layers.2.self_attn.q_proj.weight": normal(6, 4)}
    del tuned[Q]
    found = paired(tmp_path, base, tuned)
    reasons = {e.tensor: e.reason for e in found.coverage if e.status != "used"}
    assert reasons == {"model.layers.2.self_attn.q_proj.weight": "only in the tuned model"}
    assert {e.tensor: e.reason for e in found.base_coverage if e.status != "used"} == {Q: "only in the base"}


def test_a_tied_head_counts_once(tmp_path: Path) -> None:
    base = decoder()
    base[HEAD] = base[EMBED].copy()
    tuned = moved(base)
    found = paired(tmp_path, base, tuned)
    assert HEAD not in by_name(found.deltas)
    for coverage in (found.coverage, found.base_coverage):
        assert {e.reason for e in coverage if e.tensor == HEAD} == {f"tied to {EMBED}: counted once"}


@pytest.mark.parametrize("side", ["base", "tuned"])
def test_a_tied_head_saved_on_one_side_only(tmp_path: Path, side: str) -> None:
    base = decoder()
    del base[HEAD]
    tuned = moved(base)
    of = base if side == "base" else tuned
    of[HEAD] = of[EMBED].copy()
    found = paired(tmp_path, base, tuned)
    assert HEAD not in by_name(found.deltas)
    coverage = found.base_coverage if side == "base" else found.coverage
    assert {e.reason for e in coverage if e.tensor == HEAD} == {f"tied to {EMBED}: counted once"}


def test_a_head_untied_by_training_is_compared_with_the_table_it_came_from(tmp_path: Path) -> None:
    base = decoder()
    del base[HEAD]
    tuned = moved(base) | {HEAD: base[EMBED] - 2}
    head = by_name(paired(tmp_path, base, tuned).deltas)[HEAD]
    assert norm(head) == pytest.approx(2 * np.sqrt(40), rel=1e-6)
    assert head.status == f"tied in the base: compared with {EMBED}"


def test_a_resized_vocabulary_is_a_row_with_a_status_and_compared_only_if_asked(tmp_path: Path) -> None:
    base = decoder()
    tuned = moved(base) | {EMBED: np.vstack([base[EMBED] + 1, normal(2, 4)])}
    found = paired(tmp_path / "plain", base, tuned)
    assert [d.tensors[0] for d in found.incomparable] == [EMBED]
    assert found.incomparable[0].status == "shapes differ: 10×4 in the base, 12×4 here"
    assert (found.incomparable[0].d_out, found.incomparable[0].d_in) == (4, 12)
    with pytest.raises(BadInput, match="incomparable"):
        found.incomparable[0].open()
    aligned = by_name(paired(tmp_path / "aligned", base, tuned, align=True).deltas)[EMBED]
    assert norm(aligned) == pytest.approx(np.sqrt(40), rel=1e-6)
    assert aligned.status.startswith("the first 10 rows; shapes differ")


def test_a_weight_of_another_width_is_never_compared(tmp_path: Path) -> None:
    base = decoder()
    found = paired(tmp_path, base, moved(base) | {Q: normal(6, 5)}, align=True)
    assert [d.tensors[0] for d in found.incomparable] == [Q]


@pytest.mark.parametrize(
    ("parts", "writer"),
    [
        ({"weight": "u1", "weight.absmax": "f4", "weight.quant_state.bitsandbytes__nf4": "u1"}, "nf4"),
        ({"qweight": "i4", "qzeros": "i4", "scales": "f2", "g_idx": "i4"}, "GPTQ"),
        ({"weight": "i1", "SCB": "f4"}, "int8"),
        ({"weight": "i1", "weight_scale": "f4"}, "integers"),
        ({"weight_packed": "i4", "weight_scale": "f2", "weight_shape": "i8"}, "compressed-tensors"),
    ],
)
@pytest.mark.parametrize("side", ["base", "tuned"])
def test_a_quantised_weight_of_either_model_is_named_and_gives_no_number(
    tmp_path: Path, parts: dict[str, object], writer: str, side: str
) -> None:
    models = {"base": decoder(), "tuned": moved(decoder())}
    del models[side][Q]
    module = Q.removesuffix(".weight")
    models[side] |= {f"{module}.{end}": np.ones((6, 4), kind) for end, kind in parts.items()}
    found = paired(tmp_path, models["base"], models["tuned"])
    assert [d.tensors[0] for d in found.incomparable] == [Q]
    assert writer in found.incomparable[0].status
    ledgers = {"base": found.base_coverage, "tuned": found.coverage}
    for name, ledger in ledgers.items():
        assert len(ledger) == len(models[name])
        assert all("quantised" in e.reason for e in ledger if e.tensor.startswith(module + "."
            ) and not e.tensor.endswith("bias"))  # fmt: skip


def test_integer_buffers_are_left_out_with_their_dtype(tmp_path: Path) -> None:
    base = decoder() | {"model.position_ids": np.arange(4)}
    found = paired(tmp_path, base, moved(base))
    assert {e.tensor: e.reason for e in found.coverage if e.status != "used"} == {
        "model.position_ids": "no weight: I64"
    }


def test_fused_experts_are_a_row_each(tmp_path: Path) -> None:
    name = "model.layers.0.mlp.experts.down_proj"
    base = decoder() | {name: normal(3, 5, 4)}
    tuned = base | {name: base[name].copy()}
    tuned[name][1] += 1
    found = [d for d in paired(tmp_path, base, tuned).deltas if d.tensors == (name,)]
    assert [(d.address.expert, d.d_out, d.d_in) for d in found] == [(0, 5, 4), (1, 5, 4), (2, 5, 4)]
    assert [norm(d) for d in found] == pytest.approx([0, np.sqrt(20), 0], rel=1e-6)


def test_biases_of_fused_experts_are_a_row_each(tmp_path: Path) -> None:
    """GPT-OSS keeps those of all experts in one tensor, as it does their weights."""
    name = "model.layers.0.mlp.experts.gate_up_proj_bias"
    base = decoder() | {name: normal(3, 6)}
    tuned = base | {name: base[name].copy()}
    tuned[name][2] += 1
    pairing = paired(tmp_path, base, tuned, model_type="gpt_oss")
    found = [d for d in pairing.deltas if d.tensors == (name,)]
    assert [(d.address.expert, d.d_out, d.d_in) for d in found] == [(0, 6, 1), (1, 6, 1), (2, 6, 1)]
    assert [norm(d) for d in found] == pytest.approx([0, 0, np.sqrt(6)], rel=1e-6)


def test_the_matrix_of_a_conv1d_stands_as_the_layer_applies_it(tmp_path: Path) -> None:
    name = "transformer.h.0.attn.c_attn.weight"
    base = {name: normal(4, 12)}
    (delta,) = paired(tmp_path, base, moved(base), model_type="gpt2").deltas
    assert (delta.d_out, delta.d_in) == (12, 4)
    assert delta.open().dense().shape == (12, 4)


def test_the_difference_of_float32_files_is_in_float64(tmp_path: Path) -> None:
    base = {Q: np.full((2, 2), 1e8, np.float32)}
    (delta,) = paired(tmp_path, base, {Q: np.full((2, 2), 1e-8, np.float32)}).deltas
    assert delta.open().dense()[0, 0] == float(np.float32(1e-8)) - 1e8


def test_models_without_a_common_weight_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="other-base"):
        paired(tmp_path, {"a.weight": normal(3, 3)}, {"b.weight": normal(4, 4)})


def test_a_pipeline_of_diffusers_names_its_parts(tmp_path: Path) -> None:
    for name, by in (("base", 0.0), ("tuned", 1.0)):
        for part, file in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
            (tmp_path / name / part).mkdir(parents=True)
            tensors = {"layers.0.q.weight": normal(3, 3) + np.float32(by)}
            save_file(tensors, tmp_path / name / part / f"{file}.safetensors")
        (tmp_path / name / "model_index.json").write_text("{}")
    found = pair_models(*(open_whole(tmp_path / name) for name in ("base", "tuned")))
    assert [d.tensors[0] for d in found.deltas] == [
        f"{p}.layers.0.q.weight" for p in ("text_encoder", "unet")
    ]
    assert {d.address.stack for d in found.deltas} == {"text_encoder", "unet"}


def test_pickles_are_read_through_the_guarded_path(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    base = decoder()
    saved(tmp_path / "base", base)
    (tmp_path / "tuned").mkdir()
    tuned = {name: torch.from_numpy(value) for name, value in moved(base).items()}
    torch.save(tuned, tmp_path / "tuned" / "pytorch_model.bin")
    torch.save({"step": 3}, tmp_path / "tuned" / "optimizer.pt")
    found = pair_models(*(open_whole(tmp_path / name) for name in ("base", "tuned")))
    assert {d.tensors[0]: norm(d) for d in found.deltas}[Q] == pytest.approx(0.5 * np.sqrt(24), rel=1e-6)


@pytest.mark.parametrize("index", [True, False])
def test_shards_of_pickles_with_an_index_and_without(tmp_path: Path, index: bool) -> None:
    torch = pytest.importorskip("torch")
    base = decoder()
    saved(tmp_path / "base", base)
    (tmp_path / "tuned").mkdir()
    names = sorted(base)
    files = {n: f"pytorch_model-0000{1 + i % 2}-of-00002.bin" for i, n in enumerate(names)}
    for file in set(files.values()):
        held = {n: torch.from_numpy(moved(base)[n]) for n in names if files[n] == file}
        torch.save(held, tmp_path / "tuned" / file)
    if index:
        document = {"metadata": {}, "weight_map": files}
        (tmp_path / "tuned" / "pytorch_model.bin.index.json").write_text(json.dumps(document))
    found = pair_models(*(open_whole(tmp_path / name) for name in ("base", "tuned")))
    assert len(found.deltas) == len(base)
    assert {d.tensors[0]: norm(d) for d in found.deltas}[Q] == pytest.approx(0.5 * np.sqrt(24), rel=1e-6)


def test_one_shard_of_two_is_missing_its_fellow(tmp_path: Path) -> None:
    save_file(decoder(), tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(Missing, match="missing-shards"):
        open_whole(tmp_path)


def test_an_adapter_is_no_base(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(BadInput, match="adapter-not-model"):
        open_whole(tmp_path)


@pytest.mark.parametrize("linked", [("tuned",), ("base",), ("tuned", "base")])
def test_links_under_other_names_are_the_models_that_they_lead_to(
    linked: tuple[str, ...], tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    weights = {name: rng.normal(size=(6, 4)).astype(np.float32) for name in ("base", "tuned")}
    places = {}
    for name, weight in weights.items():
        file = tmp_path / f"{name}.safetensors"
        save_file({"model.layers.0.mlp.up_proj.weight": weight}, file)
        places[name] = tmp_path / f"latest-{name}" if name in linked else file
        if name in linked:
            places[name].symlink_to(file)
    frame = tunescope.norms(places["tuned"], base=places["base"]).table.frame
    wanted = float(np.linalg.norm(weights["tuned"].astype(np.float64) - weights["base"]))
    assert frame["frobenius_norm"].to_list() == pytest.approx([wanted], rel=1e-6)


@pytest.mark.parametrize(
    ("name", "turned"),
    [
        ("vision_model.embeddings.patch_projection", False),
        ("vision_tower.embeddings.patch_embedding", False),
        ("model.vision_embed_tokens", False),
        ("transformer.x_embedder", False),
        ("time_embedding.linear_1", False),
        ("encoder.embedding_hidden_mapping_in", False),
        ("model.embed_tokens", True),
        ("embeddings.word_embeddings", True),
        ("text_model.embeddings.position_embedding", True),
        ("decoder.embed_tokens.1", True),
        ("lm_head", False),
        # Numbered layers of a Sequential, and linear ones whose names alone say "embedding".
        ("text_embedding.0", False),
        ("condition_embedder.text_embedder.linear_2", False),
        ("decoder.decoder_embed", False),
        ("class_embed", False),
        ("text_model.embeddings.token_embedding", True),
        ("embeddings.token_type_embeddings", True),
        ("language_model.embed_tokens_per_layer", True),
        ("codec_embedding.1", True),
        ("shared", True),
    ],
)
def test_tables_are_turned_and_layers_that_embed_by_a_product_are_not(
    tmp_path: Path, name: str, turned: bool
) -> None:
    base = {f"{name}.weight": normal(6, 4)}
    (found,) = paired(tmp_path, base, moved(base)).deltas
    assert (found.d_out, found.d_in) == ((4, 6) if turned else (6, 4))


def test_a_wrapped_model_is_compared_under_its_own_names_and_its_factors_are_said(tmp_path: Path) -> None:
    base = decoder()
    wrapped = dict(moved(base))
    wrapped[Q.replace(".weight", ".base_layer.weight")] = wrapped.pop(Q)
    wrapped[Q.replace(".weight", ".lora_A.default.weight")] = normal(2, 4)
    wrapped[Q.replace(".weight", ".lora_B.default.weight")] = normal(6, 2)
    tuned = open_whole(saved(tmp_path / "wrapped", wrapped))
    # Q, moved as every weight was.
    found = by_name(pair_models(open_whole(saved(tmp_path / "base", base)), tuned).deltas)[Q]
    assert norm(found) == pytest.approx(0.5 * np.sqrt(24), rel=1e-6)
    (said,) = tuned.notices
    assert (said.slug, "2 tensors" in said.text) == ("unmerged", True)


def test_layers_that_both_sides_call_otherwise_are_said_and_a_head_of_one_side_is_not(tmp_path: Path) -> None:
    base, up = decoder(), "model.layers.{}.mlp.{}.weight"
    here = {up.format(k, kind): normal(6, 4) for k in range(2) for kind in ("gate_proj", "up_proj")}
    there = {up.format(k, "swiglu"): normal(12, 4) for k in range(2)}
    found = paired(tmp_path / "other", base | here, moved(base) | there)
    (said,) = [notice for notice in found.notices if notice.slug == "unpaired"]
    assert all(part in said.text for part in ("2 weights", "4 of the base", "swiglu"))
    headed = moved(base) | {"score.weight": normal(2, 4)}
    del headed[HEAD]
    assert "unpaired" not in {notice.slug for notice in paired(tmp_path / "head", base, headed).notices}
