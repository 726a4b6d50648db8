"""PEFT adapters that are wrong, odd or renamed: refused, noticed or normalised, never silently misread."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tunescope.delta import Delta
from tunescope.errors import BadInput
from tunescope.source.base_shapes import base_shapes
from tunescope.source.files.tensors import LazyTensor, Ledger
from tunescope.source.formats.leftovers import notice_leftovers
from tunescope.source.formats.peft import load_peft_config, read_peft
from tunescope.source.formats.peft_config import notice_config

DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int8": "I8", "float8_e4m3fn": "F8_E4M3"}
LORA = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
PREFIX = "base_model.model.model.layers.0.self_attn."


def lazy(arrays: Mapping[str, np.ndarray]) -> dict[str, LazyTensor]:
    """The arrays as the tensors of a file."""
    return {
        name: LazyTensor(name, DTYPES[a.dtype.name], a.shape, a.nbytes, lambda a=a: a)
        for name, a in arrays.items()
    }


def pair(module: str = f"{PREFIX}q_proj", dtype: Any = np.float32, rank: int = 2) -> dict[str, np.ndarray]:
    """Factors A (r, 6) and B (4, r) of one module."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((rank, 6)), rng.standard_normal((4, rank))
    return {f"{module}.lora_A.weight": a.astype(dtype), f"{module}.lora_B.weight": b.astype(dtype)}


def read(
    arrays: Mapping[str, np.ndarray], config: Mapping[str, Any] | None = None
) -> tuple[list[Delta], Ledger]:
    """Deltas and ledger of an adapter made of arrays."""
    ledger = Ledger(lazy(arrays))
    return read_peft(ledger.tensors, config or LORA, ledger, file="adapter.safetensors"), ledger


def slugs(ledger: Ledger) -> list[str]:
    """The notices' slugs."""
    return [notice.slug for notice in ledger.notices]


def written(tmp_path: Path, content: bytes) -> Path:
    """A config file with this content."""
    path = tmp_path / "adapter_config.json"
    path.write_bytes(content)
    return path


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    """Windows editors put one before the brace."""
    assert load_peft_config(written(tmp_path, b"\xef\xbb\xbf" + json.dumps(LORA).encode()))["r"] == 2


@pytest.mark.parametrize("content", [b"{", b"[1, 2]", b"\xff\xfe", b"null", b'"LORA"', b"", b"[" * 100_000])
def test_a_config_that_is_no_json_object_is_refused(content: bytes, tmp_path: Path) -> None:
    """The file is named in the error."""
    with pytest.raises(BadInput) as caught:
        load_peft_config(written(tmp_path, content))
    assert caught.value.slug == "adapter-config"
    assert "adapter_config.json" in str(caught.value)


def test_a_missing_config_is_refused(tmp_path: Path) -> None:
    """PEFT's names without the config do not say the scale."""
    with pytest.raises(BadInput) as caught:
        load_peft_config(tmp_path / "adapter_config.json")
    assert caught.value.slug == "no-adapter-config"


@pytest.mark.parametrize("method", [None, "MORA", 7, "lora"])
def test_an_unknown_method_lists_the_known_ones(method: Any, tmp_path: Path) -> None:
    """A missing and an unknown peft_type are refused alike."""
    with pytest.raises(BadInput) as caught:
        load_peft_config(written(tmp_path, json.dumps({"peft_type": method, "r": 2}).encode()))
    assert caught.value.slug == "peft-type"
    assert "LOHA" in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        '"use_dora": "yes"', '"r": "8"', '"r": 8.5', '"r": true', '"r": null', '"lora_alpha": "16"',
        '"rank_pattern": [1]', '"rank_pattern": {"q_proj": "4"}', '"rank_pattern": {"[": 4}',
        '"target_modules": 3', '"target_parameters": "experts"', '"fan_in_fan_out": 1',
        '"exclude_modules": 3', '"exclude_modules": "["', '"layers_pattern": {"a": 1}',
        '"layers_to_transform": 1.5',
        '"layers_to_transform": ["1"]', '"layer_replication": 1e999', '"layer_replication": [[0, 1, 2]]',
        '"layer_replication": [0, 1]', '"modules_to_save": "lm_head"',
    ],
)  # fmt: skip
def test_values_of_wrong_types_are_refused(wrong: str, tmp_path: Path) -> None:
    """The key is named in the error."""
    refuse_value(wrong, tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        '"r": 0', '"r": -3', '"r": 10000000000', '"lora_alpha": NaN', '"lora_alpha": Infinity',
        '"lora_alpha": 1e400', f'"lora_alpha": 1{"0" * 400}', '"rank_pattern": {"q_proj": 0}',
        '"alpha_pattern": {"q_proj": NaN}',
    ],
)  # fmt: skip
def test_ranks_and_alphas_that_cannot_be_are_refused(wrong: str, tmp_path: Path) -> None:
    """The key is named in the error."""
    refuse_value(wrong, tmp_path)


def refuse_value(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        load_peft_config(written(tmp_path, f'{{"peft_type": "LORA", {wrong}}}'.encode()))
    assert caught.value.slug == "config-value"
    assert wrong.split('"')[1] in str(caught.value)


@pytest.mark.parametrize("value", [None, False, "", [], {}])
def test_an_unknown_key_without_content_is_noticed(value: Any) -> None:
    """A newer PEFT writes its new options switched off."""
    deltas, ledger = read(pair(), {**LORA, "use_novelty": value})
    assert len(deltas) == 1
    assert slugs(ledger) == ["unknown-config-key"]


@pytest.mark.parametrize("value", [True, 3, "on", [1], 0.5])
def test_an_unknown_key_with_content_is_refused(value: Any) -> None:
    """It might change the scale."""
    with pytest.raises(BadInput, match="may change the meaning") as caught:
        read(pair(), {**LORA, "use_novelty": value})
    assert caught.value.slug == "unknown-config-key"


def test_alpha_zero_is_noticed() -> None:
    """Such an adapter has no effect, and its scale says so."""
    deltas, ledger = read(pair(), {**LORA, "lora_alpha": 0})
    assert deltas[0].scale == 0
    assert slugs(ledger) == ["alpha-zero"]


def test_rank_of_the_weights_wins_for_shapes_and_of_the_config_for_the_scale() -> None:
    """Both ranks are shown."""
    deltas, ledger = read(pair(rank=3), {**LORA, "r": 8})
    assert (deltas[0].rank, deltas[0].scale) == (3, 0.5)
    assert slugs(ledger) == ["rank-mismatch"]
    assert "config says 8, weights have 3" in ledger.notices[0].text


@pytest.mark.parametrize("side", ["lora_A", "lora_B"])
def test_half_a_module_is_left_out_and_said(side: str) -> None:
    """The other modules are still read."""
    lonely = {k: v for k, v in pair(f"{PREFIX}v_proj").items() if side in k}
    deltas, ledger = read({**pair(), **lonely})
    assert [d.address.module_type for d in deltas] == ["self_attn.q_proj"]
    assert slugs(ledger) == ["half_saved"]
    assert sum(e.reason.startswith("incomplete module") for e in ledger.close()) == 1


@pytest.mark.parametrize(
    ("a", "b"), [((6, 2), (2, 4)), ((2, 6), (4, 3)), ((12,), (8,)), ((2, 6), (4, 2, 1, 1)), ((), ())]
)
def test_factors_that_do_not_fit_are_refused(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    """Transposed, mixed and flattened factors."""
    names = list(pair())
    with pytest.raises(BadInput) as caught:
        read({names[0]: np.ones(a, np.float32), names[1]: np.ones(b, np.float32)})
    assert caught.value.slug == "factor-shapes"


@pytest.mark.parametrize("arrays", [{}, {k: v[:0] for k, v in pair().items()}], ids=["none", "size 0"])
def test_an_empty_adapter_is_refused(arrays: dict[str, np.ndarray]) -> None:
    """ZeRO-3 without gathering leaves such files."""
    with pytest.raises(BadInput, match="ZeRO-3") as caught:
        read(arrays)
    assert caught.value.slug == "empty-adapter"


def test_a_wholly_halved_adapter_does_not_flood_the_notices() -> None:
    """Ten modules are named, the rest are counted."""
    arrays = {}
    for layer in range(15):
        halves = pair(f"base_model.model.layers.{layer}.q_proj")
        arrays.update({k: v for k, v in halves.items() if "lora_A" in k})
    deltas, ledger = read(arrays)
    assert deltas == []
    assert slugs(ledger) == ["half_saved"] * 11
    assert "5 more modules" in ledger.notices[-1].text


def test_one_empty_factor_leaves_its_module_out() -> None:
    """A partly gathered save is not silently read."""
    lost = pair(f"{PREFIX}v_proj")
    lost = {k: v[:0] if "lora_B" in k else v for k, v in lost.items()}
    deltas, ledger = read({**pair(), **lost})
    assert len(deltas) == 1
    assert slugs(ledger) == ["half_saved"]


@pytest.mark.parametrize(
    "prefix",
    [
        "_orig_mod.base_model.model.", "module.base_model.model.", "base_model.model.base_model.model.",
        "_fsdp_wrapped_module.base_model.model.", "base_model.model._orig_mod.", "",
    ],
)  # fmt: skip
def test_wrapper_prefixes_are_taken_off_and_counted(prefix: str) -> None:
    """The address is that of the plain model."""
    module = f"{prefix}model.layers.3._checkpoint_wrapped_module.mlp.up_proj"
    deltas, ledger = read(pair(module))
    assert (deltas[0].address.layer, deltas[0].address.module_type) == (3, "mlp.up_proj")
    assert slugs(ledger) == ["wrapper-prefix"]
    assert ledger.notices[0].text == "wrapper prefixes removed from 2 of 2 names"


def test_an_adapter_name_in_the_keys_is_taken_out() -> None:
    """A model's own state dict still holds it."""
    arrays = {k.replace(".weight", ".default.weight"): v for k, v in pair().items()}
    deltas, ledger = read(arrays)
    assert deltas[0].tensors == tuple(arrays)
    assert slugs(ledger) == ["adapter-name"]


def test_several_adapters_in_one_file_are_refused() -> None:
    """They would be mixed up."""
    both = {k.replace(".weight", f".{n}.weight"): v for n in ("first", "second") for k, v in pair().items()}
    with pytest.raises(BadInput) as caught:
        read(both)
    assert caught.value.slug == "several-adapters"


def test_integer_factors_are_refused() -> None:
    """Quantised factors without their scales mean nothing."""
    with pytest.raises(BadInput) as caught:
        read(pair(dtype=np.int8))
    assert caught.value.slug == "integer-weights"


def test_eight_bit_floats_are_widened_with_a_note() -> None:
    """They come as float32."""
    deltas, ledger = read(pair(dtype=ml_dtypes.float8_e4m3fn))
    assert deltas[0].open().A.dtype == np.float32
    assert slugs(ledger) == ["float8"]


def test_a_type_that_cannot_be_read_leaves_its_module_out() -> None:
    """Four-bit factors are named, the rest is read."""
    tensors = lazy({**pair(), **pair(f"{PREFIX}v_proj")})
    name = f"{PREFIX}v_proj.lora_A.weight"
    tensors[name] = LazyTensor(name, "F4", (2, 6), 6, tensors[name].read, supported=False)
    ledger = Ledger(tensors)
    deltas = read_peft(tensors, LORA, ledger, file="adapter.safetensors")
    assert len(deltas) == 1
    assert slugs(ledger) == ["left-out"]
    assert {e.reason for e in ledger.close() if e.status == "not used"} == {"unsupported dtype F4"}


def test_huge_but_finite_factors_stay_finite() -> None:
    """1e30 · 1e30 overflows float32; the product is formed in float64."""
    arrays = {k: np.full_like(v, 1e30) for k, v in pair().items()}
    deltas, _ = read(arrays)
    assert np.isfinite(deltas[0].open().dense()).all()
    ada = {k.removesuffix(".weight"): v for k, v in arrays.items()}
    ada[f"{PREFIX}q_proj.lora_E"] = np.full((2, 1), 1e30, np.float32)
    deltas, _ = read(ada, {"peft_type": "ADALORA", "init_r": 2, "lora_alpha": 4})
    assert np.isfinite(deltas[0].open().dense()).all()


def test_not_a_number_is_handed_on_not_hidden() -> None:
    """Whoever measures sees it."""
    arrays = pair()
    next(iter(arrays.values()))[0, 0] = np.nan
    deltas, _ = read(arrays)
    assert np.isnan(deltas[0].open().A).sum() == 1


@pytest.mark.parametrize(
    ("name", "config", "reason"),
    [
        ("base_model.model.model.embed_tokens.base_layer.weight", {}, "copy of the base layer"),
        ("base_model.model.model.embed_tokens.weight", {}, "saved embedding layer, needs base"),
        ("base_model.model.score.weight", {"modules_to_save": ["score"]}, "saved module, needs base"),
        ("base_model.model.score.modules_to_save.weight", {}, "saved module, needs base"),
        ("base_model.model.model.norm.bias", {"bias": "all"}, "bias, needs base"),
        (f"{PREFIX}q_proj.base_layer.bias", {"bias": "lora_only"}, "bias, needs base"),
        ("base_model.model.model.norm.weight", {}, "not understood"),
    ],
)
def test_other_tensors_have_their_reason(name: str, config: dict[str, Any], reason: str) -> None:
    """What is not understood is also said in a notice."""
    _, ledger = read({**pair(), name: np.ones(3, np.float32)}, {**LORA, **config})
    notice_leftovers(ledger)
    assert [e.reason for e in ledger.close() if e.tensor == name] == [reason]
    assert slugs(ledger) == (["not_understood"] if reason == "not understood" else [])


@pytest.mark.parametrize("method", ["PROMPT_TUNING", "PREFIX_TUNING", "XLORA", "POLY", "CPT"])
def test_methods_without_a_weight_update_open_with_a_notice(method: str) -> None:
    """Zero rows, and every tensor has its reason."""
    deltas, ledger = read({"prompt_embeddings": np.ones((4, 8), np.float32)}, {"peft_type": method})
    assert deltas == []
    assert slugs(ledger) == ["no-delta"]
    assert ledger.unclaimed() == []


def test_expert_parameters_of_unknown_names_take_the_configs_order() -> None:
    """The file does not say which is which, and the notice does not hide it."""
    owner = "base_model.model.model.layers.0.mlp.experts"
    arrays = {**pair(f"{owner}.base_layer", rank=4), **pair(owner, rank=4)}
    config = {**LORA, "target_parameters": ["mlp.experts.alpha", "mlp.experts.beta"]}
    deltas, ledger = read(arrays, config)
    assert [(d.address.module_type, d.address.expert) for d in deltas] == [
        ("mlp.experts.alpha", 0), ("mlp.experts.alpha", 1), ("mlp.experts.beta", 0), ("mlp.experts.beta", 1),
    ]  # fmt: skip
    assert set(slugs(ledger)) == {"unnamed-parameters", "sides-unknown"}


MISFITS: dict[str, dict[str, tuple[int, ...]]] = {
    "LOHA": {"hada_w1_a": (4, 2), "hada_w1_b": (2, 6), "hada_w2_a": (5, 2), "hada_w2_b": (2, 6)},
    "LOKR": {"lokr_w1": (2,), "lokr_w2": (3, 4)},
    "C3A": {"c3a_kernel": (4, 4)},
    "DELORA": {"delora_A": (2, 6), "delora_B": (4, 3), "delora_lambda": (1,), "delora_w_norm": (6,)},
    "GRALORA": {"gralora_A": (2, 3, 4), "gralora_B": (3, 4, 2)},
    "ADALORA": {"lora_A": (2, 6), "lora_B": (4, 2), "lora_E": (3, 1)},
}


@pytest.mark.parametrize("method", MISFITS)
def test_tensors_of_impossible_shapes_are_refused(method: str) -> None:
    """Before or while the update is opened, never as a bug."""
    arrays = {f"{PREFIX}q_proj.{name}": np.ones(shape, np.float32) for name, shape in MISFITS[method].items()}
    with pytest.raises(BadInput) as caught:
        read(arrays, {"peft_type": method})[0][0].open()
    assert caught.value.slug == "factor-shapes"


def test_reading_needs_neither_torch_nor_peft() -> None:
    """Importing the reader pulls in none of the heavy packages."""
    code = "import sys, tunescope.source.formats.peft; print({'torch', 'peft', 'polars'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def base_folder(folder: Path, name: str, shape: tuple[int, int]) -> Path:
    """A folder with a safetensors file of one weight."""
    size = 4 * shape[0] * shape[1]
    header = {f"{name}.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    folder.mkdir(parents=True, exist_ok=True)
    content = len(raw).to_bytes(8, "little") + raw + bytes(size)
    (folder / "model.safetensors").write_bytes(content)
    return folder


@pytest.mark.parametrize("name", ["encoder.q_proj", "bert.encoder.q_proj", "q_proj"])
@pytest.mark.parametrize("flip", [False, True])
def test_shapes_come_from_a_base_in_the_hubs_cache(
    name: str, flip: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id is looked up among the snapshots; the base's names may be one part longer or shorter."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    base_folder(tmp_path / "models--some--base" / "snapshots" / "abc", name, (4, 6))
    config = {"base_model_name_or_path": "some/base", "fan_in_fan_out": flip}
    assert base_shapes(config, ["encoder.q_proj", "other"]) == {"encoder.q_proj": (6, 4) if flip else (4, 6)}


@pytest.mark.parametrize("base", [None, "", "some/absent", "../../etc", "a/b/c", 7, "x\0y"])
def test_a_base_that_is_not_here_gives_no_shapes(
    base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is fetched, and nothing outside the cache is looked at."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert base_shapes({"base_model_name_or_path": base}, ["q_proj"]) == {}


def test_a_broken_base_gives_no_shapes(tmp_path: Path) -> None:
    """The adapter itself is sound, so the base's damage does not stop it."""
    (base_folder(tmp_path, "q_proj", (4, 6)) / "model.safetensors").write_bytes(b"broken")
    assert base_shapes({"base_model_name_or_path": str(tmp_path)}, ["q_proj"]) == {}


@pytest.mark.parametrize(
    ("pattern", "scale"),
    [(r".*\.self_attn\.(q_proj|k_proj)", 8.0), ("(a+)+b", 2.0), (r"(?:.*?(?:self_attn|mlp).*?q_proj)", 8.0)],
)
def test_patterns_that_end_are_matched_as_peft_matches_them(pattern: str, scale: float) -> None:
    deltas, _ = read(pair(f"{PREFIX}q_proj"), {**LORA, "alpha_pattern": {pattern: 16}})
    assert deltas[0].scale == scale


def test_modules_saved_without_elements_are_named() -> None:
    head = {"base_model.model.lm_head.weight": np.ones(0, np.float32)}
    _, ledger = read({**pair(), **head}, {**LORA, "modules_to_save": ["lm_head"]})
    notice_leftovers(ledger)
    assert [(n.slug, n.tensor) for n in ledger.notices] == [
        ("empty-tensor", "base_model.model.lm_head.weight")
    ]


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"modules_to_save": ["classifier", "score"]}, ["pre_classifier.weight", "classifier.dense.bias"]),
        ({"task_type": "SEQ_CLS", "modules_to_save": None}, ["score.weight", "classifier.out_proj.weight"]),
        ({"task_type": "TOKEN_CLS"}, ["classifier.weight", "classifier.bias"]),
        ({"task_type": "QUESTION_ANS"}, ["qa_outputs.weight", "qa_outputs.bias"]),
    ],
)
def test_heads_that_peft_trains_are_saved_modules_and_no_finding(
    config: dict[str, Any], names: list[str]
) -> None:
    heads = {f"base_model.model.{name}": np.ones((3, 4), np.float32) for name in names}
    _, ledger = read({**pair(), **heads}, {**LORA, **config})
    notice_leftovers(ledger)
    assert slugs(ledger) == []
    assert {e.reason for e in ledger.close() if e.tensor in heads} == {"saved module, needs base"}


def copies(trained: float = 1.0) -> dict[str, np.ndarray]:
    """The factors of a head that PEFT saved plainly, as the trained copy, and as it was before."""
    plain = pair("base_model.model.classifier")
    out = dict(plain)
    for name, array in plain.items():
        stem, factor = name.rsplit(".lora_", 1)
        out[f"{stem}.modules_to_save.lora_{factor}"] = trained * array
        out[f"{stem}.original_module.lora_{factor}"] = array if factor.startswith("A") else 0 * array
    return out


def test_an_update_that_is_saved_three_times_counts_once() -> None:
    deltas, ledger = read(copies())
    assert [delta.address.module_type for delta in deltas] == ["classifier"]
    np.testing.assert_array_equal(deltas[0].open().B, pair("base_model.model.classifier").popitem()[1])
    notice_leftovers(ledger)
    assert slugs(ledger) == []
    assert len({e.reason for e in ledger.close() if e.status != "used"}) >= 2


def test_of_two_copies_that_differ_the_one_that_acts_is_taken_and_said() -> None:
    deltas, ledger = read(copies(trained=2.0))
    np.testing.assert_array_equal(deltas[0].open().B, 2 * pair("base_model.model.classifier").popitem()[1])
    assert slugs(ledger) == ["saved-twice"]


def test_an_update_saved_only_as_the_trained_copy_has_the_modules_own_name() -> None:
    tensors = {n: a for n, a in copies().items() if "modules_to_save" in n}
    deltas, _ = read(tensors)
    assert deltas[0].address.module_type == "classifier"


@pytest.mark.parametrize("missing", [["r"], ["lora_alpha"], ["r", "lora_alpha"]])
def test_defaults_that_a_config_leaves_to_peft_are_said(missing: list[str]) -> None:
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 8}
    deltas, ledger = read(pair(rank=8), {k: v for k, v in config.items() if k not in missing})
    assert deltas[0].scale == 1.0
    assert slugs(ledger) == ["config-default"]
    assert all(key in ledger.notices[0].text for key in missing)


@pytest.mark.parametrize(
    ("method", "stated", "missing", "default"),
    [
        ("GRALORA", {"r": 32}, "alpha", "alpha = 64"),
        ("RANDLORA", {"r": 32}, "randlora_alpha", "randlora_alpha = 640"),
        ("ADALORA", {"lora_alpha": 8}, "init_r", "init_r = 12"),
        ("FOURIERFT", {"scaling": 3}, "random_loc_seed", "random_loc_seed = 777"),
        ("VBLORA", {}, "topk", "topk = 2"),
    ],
)
def test_defaults_of_every_method_are_said_with_their_values(
    method: str, stated: dict[str, Any], missing: str, default: str
) -> None:
    ledger = Ledger({})
    notice_config({"peft_type": method, **stated}, ledger, "adapter_config.json")
    (notice,) = ledger.notices
    assert notice.slug == "config-default"
    assert missing in notice.text
    assert default in notice.text


@pytest.mark.parametrize("enabled", [[True, False, True], [True, True, True], [False, True, False]])
@pytest.mark.parametrize("convolution", [False, True])
def test_parts_that_old_peft_adapted_lie_where_the_config_says(
    enabled: list[bool], convolution: bool
) -> None:
    rng, k, module = np.random.default_rng(1), sum(enabled), "base_model.model.transformer.h.0.attn.c_attn"
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((2 * k, 6), (4 * k, 2)))
    stored = b[..., None] if convolution else b
    tensors = {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": stored}
    old = {"enable_lora": enabled, "merge_weights": False, "fan_in_fan_out": True}
    deltas, ledger = read(tensors, {**LORA, **old})
    expected, part = np.zeros((12, 6)), 0
    for i, on in enumerate(enabled):
        if on:
            rows = slice(4 * part, 4 * part + 4)
            expected[4 * i : 4 * i + 4] = 2 * b[rows].astype(np.float64) @ a[2 * part : 2 * part + 2]
            part += 1
    np.testing.assert_allclose(deltas[0].open().dense(), expected)
    assert (deltas[0].d_out, deltas[0].d_in, slugs(ledger)) == (12, 6, [])


def test_keys_of_old_peft_without_content_are_no_finding() -> None:
    _, ledger = read(pair(), {**LORA, "enable_lora": None, "merge_weights": False})
    assert slugs(ledger) == []


@pytest.mark.parametrize("targets", [["k_proj"], "k_proj|v_proj", ["layers.1.self_attn.q_proj"]])
def test_modules_beside_the_stated_targets_are_said(targets: Any) -> None:
    """The config may be another adapter's."""
    deltas, ledger = read(pair(), {**LORA, "target_modules": targets})
    assert len(deltas) == 1
    assert slugs(ledger) == ["targets-differ"]


@pytest.mark.parametrize(
    "targets", [["q_proj"], r".*q_proj", "all-linear", None, ["self_attn.q_proj", "k_proj"]]
)
def test_stated_targets_are_no_matter(targets: Any) -> None:
    """Targets without tensors may be layers that this model does not have."""
    assert slugs(read(pair(), {**LORA, "target_modules": targets})[1]) == []
