"""`tunescope verify`: merges made by hand in every way of going wrong."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

import tunescope
from tunescope.errors import BadInput
from tunescope.questions.verify.page import content
from tunescope.questions.verify.words import METHODS, verify_markdown

Run = Callable[..., Any]
Tensors = dict[str, np.ndarray]
D, RANK = 96, 4
NAMES = [f"model.layers.{k}.{m}.weight" for k in range(2) for m in ("self_attn.q_proj", "mlp.up_proj")]
KINDS = {"bf16": np.dtype(ml_dtypes.bfloat16), "fp16": np.dtype("f2"), "fp32": np.dtype("f4")}


def base_weights(kind: str) -> Tensors:
    draw = np.random.default_rng(0)
    names = [*NAMES, "model.norm.weight"]
    shapes = {name: (D, D) if "norm" not in name else (D,) for name in names}
    drawn = {name: (0.02 * draw.standard_normal(shape)).astype("f4") for name, shape in shapes.items()}
    return {name: value.astype(KINDS[kind]) for name, value in drawn.items()}


def adapter(
    folder: Path, base: Tensors, seed: int = 1, ratio: float = 1e-2, alpha: float = 6, **config: Any
) -> Tensors:
    """Write an adapter with ‖ΔW‖ = ratio·‖W‖ in every module; its updates."""
    draw, held, updates = np.random.default_rng([9, seed]), {}, {}
    for name in NAMES:
        A, B = draw.standard_normal((RANK, D)), draw.standard_normal((D, RANK))
        scale = alpha / np.sqrt(RANK) if config.get("use_rslora") else alpha / RANK
        size = np.linalg.norm(base[name].astype(float))
        B *= ratio * size / np.linalg.norm(scale * B @ A)
        stored = {"lora_A": A.astype("f4"), "lora_B": B.astype("f4")}
        module = "base_model.model." + name.removesuffix(".weight")
        held |= {f"{module}.{part}.weight": value for part, value in stored.items()}
        updates[name] = np.float32(scale) * stored["lora_B"] @ stored["lora_A"]
    folder.mkdir(parents=True)
    save_file(held, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": alpha, "target_modules": ["q_proj", "up_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(settings | config))
    return updates


def merged(base: Tensors, *parts: tuple[float, Mapping[str, np.ndarray]]) -> Tensors:
    """`base + Σ c·ΔW`, computed in float32 and stored as the base is."""
    out = {}
    for name, weight in base.items():
        total = weight.astype("f4")
        for c, updates in parts:
            if name in updates:
                total = total + np.float32(c) * updates[name]
        out[name] = total.astype(weight.dtype)
    return out


def saved(folder: Path, tensors: Tensors) -> Path:
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def verified(tmp_path: Path, base: Tensors, after: Tensors, *adapters: str, **options: Any) -> Any:
    folders = [saved(tmp_path / name, t) for name, t in (("base", base), ("merged", after))]
    named = [f"{a}={tmp_path / a}" for a in adapters]
    return tunescope.verify(folders[1], *named, base=folders[0], **options)


@pytest.mark.parametrize(
    ("times", "verdict"),
    [
        (1.0, "as_expected"),
        (0.0, "not_merged"),
        (2.0, "merged_twice"),
        (0.25, "other_scale"),
        (-1, "other_scale"),
    ],
)
@pytest.mark.parametrize("ratio", [3e-2, 1e-3])
def test_a_merge_is_told_by_its_coefficient(
    tmp_path: Path, kind: str, ratio: float, times: float, verdict: str
) -> None:
    base = base_weights(kind)
    # r = 4 makes √r = 2, which twice must not be mistaken for: an rsLoRA adapter leaves ½ there.
    updates = adapter(tmp_path / "a", base, ratio=ratio, use_rslora=True)
    study = verified(tmp_path, base, merged(base, (times, updates)), "a")
    assert study.readout["verdict"] == verdict
    found = study.readout["coefficients"]["a"]
    assert found["value"] == pytest.approx(times, abs=0.005)
    assert abs(found["value"] - times) <= 3 * found["stderr"]


@pytest.mark.parametrize(
    ("times", "verdict"), [(1.0, "as_expected"), (0.0, "not_merged"), (2.0, "merged_twice")]
)
@pytest.mark.parametrize("ratio", [3e-4, 3e-5])
def test_a_merge_of_which_rounding_ate_nearly_all_is_told_too(
    tmp_path: Path, ratio: float, times: float, verdict: str
) -> None:
    base = base_weights("bf16")
    updates = adapter(tmp_path / "a", base, ratio=ratio, use_rslora=True)
    study = verified(tmp_path, base, merged(base, (times, updates)), "a")
    found = study.readout["coefficients"]["a"]
    assert abs(found["value"] - times) <= 3 * found["stderr"] + 1e-3
    assert study.readout["verdict"] in (verdict, "cannot_tell")
    if found["stderr"] < 0.05:
        assert study.readout["verdict"] == verdict


def test_causes_list_every_mistake_that_leaves_the_coefficient(tmp_path: Path) -> None:
    base = base_weights("bf16")
    updates = adapter(tmp_path / "a", base, alpha=2)
    study = verified(tmp_path, base, merged(base, (2.0, updates)), "a")
    assert study.readout["verdict"] == "other_scale"
    assert {"twice", "alpha_over_r_left_out", "rslora"} <= set(study.readout["causes"])
    text = study.readout["findings"][0]["text"]
    assert "Mistakes that would leave it: it was merged twice, alpha/r was left out," in text
    assert text.endswith("the weights do not tell which.")


def test_the_readout_says_how_many_rows_it_leaves_out_and_no_digit_below_the_error(tmp_path: Path) -> None:
    base = base_weights("fp32")
    labels = ("a", "b", "c", "d")
    for seed, label in enumerate(labels):
        adapter(tmp_path / label, base, seed=seed)
    readout = verify_markdown(verified(tmp_path, base, base, *labels))
    assert "… 4 more rows" in readout
    rows = [line.split("|")[1:3] for line in readout.splitlines() if line.startswith(("| a ", "| d "))]
    assert [value.strip() for _, value in (rows[0], rows[1])] == ["0", "0"]


def test_half_strength_is_named_where_nothing_else_leaves_it(tmp_path: Path) -> None:
    base = base_weights("bf16")
    updates = adapter(tmp_path / "a", base, alpha=12)
    study = verified(tmp_path, base, merged(base, (0.5, updates)), "a")
    assert study.readout["causes"] == ["half_strength"]
    assert "half strength" in study.readout["findings"][0]["text"]


def test_some_modules_merged_and_others_not(tmp_path: Path, kind: str) -> None:
    base = base_weights(kind)
    updates = adapter(tmp_path / "a", base)
    only = {name: value for name, value in updates.items() if "q_proj" in name}
    study = verified(tmp_path, base, merged(base, (1.0, only)), "a")
    assert study.readout["verdict"] == "partly_merged"
    assert study.readout["differing"] == ["L0_MLP_UP", "L1_MLP_UP"]


def test_another_change_is_not_called_a_merge(tmp_path: Path, kind: str) -> None:
    base = base_weights(kind)
    updates = adapter(tmp_path / "a", base)
    other = adapter(tmp_path / "b", base, seed=5)
    study = verified(tmp_path, base, merged(base, (1.0, other)), "a")
    assert study.readout["verdict"] == "other_change"
    assert verify_markdown(study).startswith("# Is it merged: no, something else changed it\n")
    both = merged(base, (1.0, updates), (0.3, other))
    (tmp_path / "both").mkdir()
    save_file(both, tmp_path / "both" / "model.safetensors")
    more = tunescope.verify(tmp_path / "both", f"a={tmp_path / 'a'}", base=tmp_path / "base")
    assert more.readout["verdict"] == "other_change"
    assert verify_markdown(more).startswith("# Is it merged: something else changed it\n")


def test_rows_of_modules_that_changed_otherwise_come_before_those_that_did_not_change(tmp_path: Path) -> None:
    base = base_weights("fp32")
    adapter(tmp_path / "a", base)
    second = adapter(tmp_path / "b", base, seed=5)
    other = {name: update for name, update in second.items() if "layers.1." in name}
    readout = verify_markdown(verified(tmp_path, base, merged(base, (1.0, other)), "a"))
    rows = [line.split("|")[-2].strip() for line in readout.splitlines() if line.startswith("| a ")][1:]
    assert rows == ["other_change"] * 2 + ["not_merged"] * 2


def test_of_two_adapters_of_which_one_is_in_it_the_heading_names_it(tmp_path: Path) -> None:
    base = base_weights("fp32")
    a = adapter(tmp_path / "a", base)
    adapter(tmp_path / "b", base, seed=5)
    study = verified(tmp_path, base, merged(base, (1.0, a)), "a", "b")
    assert study.readout["verdict"] == "mixture"
    assert verify_markdown(study).startswith("# Is it merged: a, but not b\n")
    named = [f"a={tmp_path / 'a'}", f"b={tmp_path / 'b'}"]
    again = tunescope.verify(tmp_path / "merged", *named, base=tmp_path / "base", expect={"a": 0.5, "b": 0})
    assert re.search(r"\| a +\| 1 +\| 0\.001 +\| 0\.5 ", verify_markdown(again))


def test_a_model_and_an_adapter_in_exchanged_places_are_told_to_exchange_them(tmp_path: Path) -> None:
    base = base_weights("fp32")
    updates = adapter(tmp_path / "a", base)
    folders = [saved(tmp_path / n, t) for n, t in (("base", base), ("merged", merged(base, (1.0, updates))))]
    with pytest.raises(BadInput) as refused:
        tunescope.verify(tmp_path / "a", folders[1], base=folders[0])
    assert refused.value.slug == "adapter-not-model"
    advised = f"tunescope verify {folders[1]} {tmp_path / 'a'} --base {folders[0]}"
    assert refused.value.fix == f"exchange them: {advised}"
    again = tunescope.verify(folders[1], tmp_path / "a", base=folders[0])
    assert again.readout["verdict"] == "as_expected"


def test_several_adapters_are_unmixed(tmp_path: Path, kind: str) -> None:
    base, planted = base_weights(kind), {"a": 0.7, "b": 0.3, "c": 0.0, "d": -0.2}
    parts = [(x, adapter(tmp_path / n, base, seed=i)) for i, (n, x) in enumerate(planted.items())]
    after = merged(base, *parts)
    study = verified(tmp_path, base, after, *planted)
    assert study.readout["verdict"] == "mixture"
    text = study.readout["findings"][0]["text"]
    assert text.startswith("Of a, b, c and d, the model holds a, b and d, not c. Coefficients: a 0.7")
    for label, found in study.readout["coefficients"].items():
        assert abs(found["value"] - planted[label]) <= 3 * found["stderr"]
    named = [f"{label}={tmp_path / label}" for label in planted]
    again = tunescope.verify(tmp_path / "merged", *named, base=tmp_path / "base", expect=planted)
    assert again.readout["verdict"] == "as_expected"


def test_two_steps_of_one_run_are_given_as_a_sum(tmp_path: Path) -> None:
    base = base_weights("bf16")
    updates = adapter(tmp_path / "a", base)
    adapter(tmp_path / "b", base)
    study = verified(tmp_path, base, merged(base, (1.0, updates)), "a", "b", expect={"b": 0})
    assert list(study.readout["coefficients"]) == ["a+b"]
    assert study.readout["verdict"] == "as_expected"


@pytest.mark.parametrize(
    ("copies", "expect", "verdict"),
    [(1.0, {}, "mixture"), (2.0, {}, "as_expected"), (1.0, {"c": 0}, "as_expected"), (0.0, {}, "mixture")],
)
def test_one_adapter_given_twice_among_others_is_a_sum_with_what_was_expected_of_it(
    tmp_path: Path, copies: float, expect: dict[str, float], verdict: str
) -> None:
    base = base_weights("bf16")
    a, b = (adapter(tmp_path / name, base, seed=i) for i, name in enumerate(("a+", "b")))
    adapter(tmp_path / "c", base, seed=0)
    study = verified(tmp_path, base, merged(base, (copies, a), (1.0, b)), "a+", "b", "c", expect=expect)
    assert study.readout["verdict"] == verdict
    found = study.readout["coefficients"]
    assert list(found) == ["a++c", "b"]
    assert found["a++c"]["value"] == pytest.approx(copies, abs=3 * found["a++c"]["stderr"])
    text = study.readout["findings"][0]["text"]
    assert (
        f"No merge tells a+ and c apart: a++c stands for their coefficients added up, {2 - len(expect)} "
        in text
    )


def test_no_known_mistake_is_named_of_a_sum(tmp_path: Path) -> None:
    """Two copies of which one was merged leave the coefficient that half strength of both would."""
    base = base_weights("bf16")
    updates = adapter(tmp_path / "a", base)
    adapter(tmp_path / "b", base)
    study = verified(tmp_path, base, merged(base, (0.5, updates)), "a", "b")
    assert study.readout["verdict"] == "other_scale"
    assert study.readout["causes"] == []


@pytest.mark.parametrize(
    ("planted", "verdict", "text"),
    [
        ({"a": 1.0, "b": 0.0}, "as_expected", "a: merged as expected, in all 4 modules that tell."),
        ({"a": 0.5, "b": 0.0}, "other_scale", "a: merged, but with another scale than expected."),
        ({"a": 0.0, "b": 0.0}, "not_merged", "a: not merged; in all 4 modules that tell it is missing."),
    ],
)
def test_an_adapter_that_should_not_be_there_and_is_not_is_no_reason_to_warn(
    tmp_path: Path, planted: dict[str, float], verdict: str, text: str
) -> None:
    base = base_weights("bf16")
    parts = [(x, adapter(tmp_path / n, base, seed=i, alpha=12)) for i, (n, x) in enumerate(planted.items())]
    study = verified(tmp_path, base, merged(base, *parts), *planted, expect={"b": 0})
    assert study.readout["verdict"] == verdict
    said = study.readout["findings"][0]
    assert said["text"].startswith(text)
    assert "b is not in it, as expected." in said["text"]
    assert study.readout["causes"] == (["half_strength"] if verdict == "other_scale" else [])


def test_an_update_finer_than_the_grid_is_below_it(tmp_path: Path) -> None:
    base = {name: np.ones_like(value) for name, value in base_weights("bf16").items()}
    updates = adapter(tmp_path / "a", base, ratio=1e-5)
    study = verified(tmp_path, base, merged(base, (1.0, updates)), "a")
    assert study.readout["verdict"] == "below_the_grid"


def test_a_weight_that_no_adapter_touches_is_said(tmp_path: Path) -> None:
    base = base_weights("bf16")
    updates = adapter(tmp_path / "a", base)
    after = merged(base, (1.0, updates)) | {"model.norm.weight": np.ones(D, KINDS["bf16"])}
    study = verified(tmp_path, base, after, "a")
    assert study.readout["verdict"] == "as_expected"
    assert study.readout["changed_elsewhere"] == ["NORM"]


@pytest.mark.parametrize(("before", "after"), [("bf16", "fp32"), ("bf16", "fp16"), ("fp32", "bf16")])
def test_a_merge_into_another_dtype_changes_no_weight_that_no_adapter_touches(
    tmp_path: Path, before: str, after: str
) -> None:
    base = base_weights(before)
    # A norm of ones is exact in every dtype; other values may round.
    wide = {name: weight.astype("f4") for name, weight in base.items()}
    merge = merged(wide, (1.0, adapter(tmp_path / "a", base)))
    stored = {name: weight.astype(KINDS[after]) for name, weight in merge.items()}
    study = verified(tmp_path, base, stored, "a")
    assert study.readout["verdict"] == "as_expected"
    assert "changed_elsewhere" not in [finding.kind for finding in study.findings]


@pytest.mark.parametrize(("before", "after"), [("bf16", "fp16"), ("fp32", "fp16"), ("fp32", "bf16")])
def test_untouched_weights_of_any_size_are_no_change_where_they_are_only_stored_in_another_dtype(
    tmp_path: Path, before: str, after: str
) -> None:
    draw = np.random.default_rng(3)
    sizes = 10.0 ** draw.uniform(-9, 1, (40, D))
    base = base_weights(before) | {"model.embed_tokens.weight": sizes.astype(KINDS[before])}
    merge = merged(
        {name: weight.astype("f4") for name, weight in base.items()}, (1.0, adapter(tmp_path / "a", base))
    )
    stored = {name: weight.astype(KINDS[after]) for name, weight in merge.items()}
    study = verified(tmp_path, base, stored, "a")
    assert (study.readout["verdict"], study.readout["changed_elsewhere"]) == ("as_expected", [])
    stored["model.embed_tokens.weight"][3, 3] *= 1.5
    saved(tmp_path / "other", stored)
    again = tunescope.verify(tmp_path / "other", f"a={tmp_path / 'a'}", base=tmp_path / "base")
    assert again.readout["changed_elsewhere"] == ["EMBED"]


@pytest.mark.parametrize("ratio", [1e-2, 1e-3])
def test_a_float32_file_of_what_was_merged_in_bfloat16_is_as_expected(tmp_path: Path, ratio: float) -> None:
    base = base_weights("fp32")
    narrow = {name: weight.astype(KINDS["bf16"]) for name, weight in base.items()}
    merge = merged(narrow, (1.0, adapter(tmp_path / "a", base, ratio=ratio)))
    study = verified(tmp_path, base, {name: weight.astype("f4") for name, weight in merge.items()}, "a")
    assert (study.readout["verdict"], study.readout["changed_elsewhere"]) == ("as_expected", [])


def test_the_command_exits_0_as_expected_and_1_when_not(run: Run, tmp_path: Path) -> None:
    base = base_weights("bf16")
    updates = adapter(tmp_path / "a", base, use_rslora=True)
    for times, folder in ((1.0, "once"), (2.0, "twice")):
        saved(tmp_path / folder, merged(base, (times, updates)))
    where = ["--base", saved(tmp_path / "base", base), tmp_path / "a"]
    assert run("verify", tmp_path / "once", *where).code == 0
    done = run("verify", tmp_path / "twice", *where, "--json")
    assert (done.code, json.loads(done.out)["verdict"]) == (1, "merged_twice")
    assert run("verify", tmp_path / "twice", *where, "--expect", "a=2").code == 0
    assert run("verify", tmp_path / "twice", *where, "--expect", "z=2").code == 2
    out = tmp_path / "study"
    assert run("verify", tmp_path / "once", *where, "-o", out).code == 0
    rows = pl.read_csv(out / "tables" / "merge.csv")
    assert rows["verdict"].to_list() == ["as_expected"] * 4
    assert {"coefficient", "stderr", "kept", "equal_fraction", "residual_ratio"} <= set(rows.columns)
    assert tunescope.read(out).readout["verdict"] == "as_expected"


@pytest.mark.parametrize(("times", "quiet"), [(1.0, True), (0.0, False)])
def test_the_page_says_nothing_of_calm_beside_a_warning(tmp_path: Path, times: float, quiet: bool) -> None:
    base = base_weights("bf16")
    updates = adapter(tmp_path / "a", base)
    page = content(verified(tmp_path, base, merged(base, (times, updates)), "a"))
    assert page.nothing == ("The merge is as expected." if quiet else "")
    assert page.methods == METHODS


@pytest.mark.parametrize("spoil", ["gone", "other shape", "nan", "infinite"])
def test_an_adapted_weight_that_tells_nothing_is_named_and_the_merge_not_as_expected(
    tmp_path: Path, kind: str, spoil: str
) -> None:
    base = base_weights(kind)
    after = merged(base, (1.0, adapter(tmp_path / "a", base)))
    if spoil == "gone":
        del after[NAMES[0]]
    elif spoil == "other shape":
        after[NAMES[0]] = after[NAMES[0]][:-3].copy()
    else:
        after[NAMES[0]][3, 4] = np.nan if spoil == "nan" else np.inf
    study = verified(tmp_path, base, after, "a")
    assert study.readout["verdict"] == "cannot_tell"
    assert study.readout["coefficients"]["a"]["value"] == pytest.approx(1, abs=0.01)
    assert study.readout["differing"] == ["L0_ATTN_Q"]
    warned = {f.kind: f for f in study.findings if f.severity == "warning"}
    named = warned["non_finite" if spoil in ("nan", "infinite") else "unread"]
    assert named.components == ("L0_ATTN_Q",)
    rows = study.table.frame
    assert rows.filter(rows["verdict"] == "cannot_tell")["component_name"].to_list() == ["L0_ATTN_Q"]


def test_a_whole_layer_that_is_missing_is_named(run: Run, tmp_path: Path) -> None:
    base = base_weights("bf16")
    after = merged(base, (1.0, adapter(tmp_path / "a", base)))
    rest = {name: value for name, value in after.items() if "layers.0" not in name}
    study = verified(tmp_path, base, rest, "a")
    said = {f.kind: f.text for f in study.findings}
    assert study.readout["verdict"] == "cannot_tell"
    assert "2 weights" in said["unread"]
    assert "lacks 2 tensors of the base: model.layers.0" in said["missing"]
    assert run("verify", tmp_path / "merged", tmp_path / "a", "--base", tmp_path / "base").code == 1


def test_values_that_are_not_finite_in_a_weight_no_adapter_touches_are_a_warning(
    run: Run, tmp_path: Path
) -> None:
    base = base_weights("bf16")
    after = merged(base, (1.0, adapter(tmp_path / "a", base)))
    after["model.norm.weight"] = after["model.norm.weight"].copy()
    after["model.norm.weight"][:2] = np.nan, -np.inf
    study = verified(tmp_path, base, after, "a")
    found = next(f for f in study.findings if f.kind == "non_finite")
    assert (found.severity, found.components, found.evidence["value"]) == ("warning", ("NORM",), 2)
    where = ["verify", tmp_path / "merged", tmp_path / "a", "--base", tmp_path / "base"]
    assert (run(*where).code, run(*where, "--strict").code) == (0, 1)


def test_an_adapter_whose_update_is_zero_in_a_module_leaves_the_others_readable(tmp_path: Path) -> None:
    base = base_weights("bf16")
    updates = adapter(tmp_path / "a", base)
    adapter(tmp_path / "b", base, seed=2)
    path = tmp_path / "b" / "adapter_model.safetensors"
    held = load_file(path)
    save_file({k: np.zeros_like(v) if "layers.0" in k else v for k, v in held.items()}, path)
    study = verified(tmp_path, base, merged(base, (1.0, updates)), "a", "b", expect={"b": 0})
    assert study.readout["verdict"] == "as_expected"
    assert study.table.frame["verdict"].to_list().count("cannot_tell") == 2


def test_an_adapter_that_tells_nowhere_is_not_as_expected(tmp_path: Path) -> None:
    base = base_weights("bf16")
    updates = adapter(tmp_path / "a", base)
    adapter(tmp_path / "b", base, seed=2)
    path = tmp_path / "b" / "adapter_model.safetensors"
    save_file({k: np.zeros_like(v) for k, v in load_file(path).items()}, path)
    study = verified(tmp_path, base, merged(base, (1.0, updates)), "a", "b")
    assert study.readout["verdict"] == "cannot_tell"


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora"])
def test_an_adapter_against_a_base_that_its_initialisation_changed_cannot_be_told(
    tmp_path: Path, start: str, dora: bool
) -> None:
    base = base_weights("fp32")
    updates = adapter(tmp_path / "a", base, init_lora_weights=start, use_dora=dora)
    if dora:
        path = tmp_path / "a" / "adapter_model.safetensors"
        ones = {f"base_model.model.{n.removesuffix('.weight')}.lora_magnitude_vector": np.ones(D, "f4")
                for n in NAMES}  # fmt: skip
        save_file(load_file(path) | ones, path)
    study = verified(tmp_path, base, merged(base, (1.0, updates)), "a")
    assert study.readout["verdict"] == "cannot_tell"
    unread = next(f for f in study.findings if f.kind == "unread")
    assert "not against the original base" in unread.text
    norms = tunescope.norms(f"a={tmp_path / 'a'}", base=tmp_path / "base").table.frame
    assert norms["frobenius_norm"].null_count() == 0
    for column in ("relative_norm", "cosine_to_base"):
        assert column not in norms.columns or norms[column].null_count() == norms.height


def test_an_adapter_of_which_all_or_some_updates_are_zero_is_said_to_leave_no_trace(tmp_path: Path) -> None:
    base = base_weights("fp32")
    updates = adapter(tmp_path / "a", base, ratio=0.0)
    study = verified(tmp_path, base, merged(base, (1.0, updates)), "a")
    (zero,) = [f for f in study.findings if f.kind == "untrained"]
    assert zero.text == ("Every update of a is exactly zero, so merged and not merged are the same model.")
    assert study.readout["verdict"] == "cannot_tell"
    assert "the adapter" not in study.findings[0].text


def test_an_adapter_of_which_some_updates_are_zero_is_judged_by_the_others(tmp_path: Path) -> None:
    base = base_weights("fp32")
    updates = adapter(tmp_path / "a", base)
    file = tmp_path / "a" / "adapter_model.safetensors"
    held = load_file(file)
    spoilt = next(name for name in held if "lora_B" in name)
    save_file(held | {spoilt: np.zeros_like(held[spoilt])}, file)
    gone = spoilt.removeprefix("base_model.model.").removesuffix(".lora_B.weight") + ".weight"
    updates[gone] = np.zeros_like(updates[gone])
    study = verified(tmp_path, base, merged(base, (1.0, updates)), "a")
    assert study.readout["verdict"] == "as_expected"
    (zero,) = [f for f in study.findings if f.kind == "untrained"]
    assert zero.text.startswith(f"1 of {len(NAMES)} updates of a are exactly zero, where a merge leaves no")
    assert len(zero.components) == 1


def test_modules_that_no_merge_moved_have_coefficient_nought_and_no_share_of_moved_values(
    tmp_path: Path, kind: str
) -> None:
    base = base_weights(kind)
    adapter(tmp_path / "a", base)
    study = verified(tmp_path, base, base, "a")
    assert study.table.frame["exact_fraction"].null_count() == len(NAMES)
    text = verify_markdown(study)
    head, _, *rows = (line for line in text.split("say otherwise")[1].splitlines() if line.startswith("|"))
    columns = [cell.strip() for cell in head.split("|")]
    assert {row.split("|")[columns.index("coefficient")].strip() for row in rows} == {"0"}
    assert {row.split("|")[columns.index("exact_fraction")].strip() for row in rows} == {"n/a"}
    assert "kept is ⟨W′ − W, ΔW⟩/‖ΔW‖²" in text
    assert "standard error (0.001 at least)" in text
    assert 0.001 <= study.table.frame["stderr"].min() < 0.0011
