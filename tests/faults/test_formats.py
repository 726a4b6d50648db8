"""Odd, hostile and unknown adapters: the catalogue's entries 50, 58 to 61, 65, 73, 74 and 76."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tunescope
from tunescope.errors import BadInput, Missing, TunescopeError
from tunescope.source import open_source

from .fuzz.kinds import KINDS

Made = Callable[..., Path]
STEM = "base_model.model.model.layers.0.self_attn.q_proj"


def refused(path: Path, kind: type[TunescopeError] = BadInput) -> TunescopeError:
    with pytest.raises(kind) as raised:
        open_source(path)
    return raised.value


def pair(stem: str, dtype: Any = np.float32) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shapes = {"lora_A": (2, 6), "lora_B": (4, 2)}
    return {f"{stem}.{name}.weight": rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def test_peft_names_without_a_config_are_refused(adapter: Made) -> None:
    folder = adapter()
    (folder / "adapter_config.json").unlink()
    error = refused(folder)
    assert error.slug == "no-adapter-config"
    assert "adapter_config.json" in str(error.file)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "5",
        "NaN",
        "\0",
        "[" * 10**5,
        "null",
        "\ufeff[1]",
        '{"lora_alpha": 4, "lora_alpha": 400}',
    ],
)
def test_a_config_that_is_no_object_is_refused_with_its_path(adapter: Made, text: str) -> None:
    folder = adapter()
    (folder / "adapter_config.json").write_text(text)
    assert refused(folder).slug == "adapter-config"


def test_a_byte_order_mark_in_the_config_is_accepted(adapter: Made) -> None:
    folder = adapter()
    config = folder / "adapter_config.json"
    config.write_bytes(b"\xef\xbb\xbf" + config.read_bytes())
    assert open_source(folder).deltas[0].scale == 2.0


@pytest.mark.parametrize("tensors", [{}, {f"{STEM}.lora_A.weight": np.zeros((0,), np.float32)}])
def test_an_empty_adapter_is_refused(adapter: Made, tensors: dict[str, Any]) -> None:
    error = refused(adapter(tensors))
    assert error.slug == "empty-adapter"
    assert "ZeRO-3" in str(error)


def test_a_folder_without_weights_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    error = refused(tmp_path)
    assert (error.slug, error.exit_code) == ("no-weights", 3)
    assert "empty folder" in str(error.found)


def test_the_folder_of_a_whole_model_is_named_as_one(tmp_path: Path) -> None:
    save_file({"x": np.ones(3, np.float32)}, tmp_path / "model.safetensors")
    assert refused(tmp_path).slug == "full-model"


def test_an_untrained_adapter_opens(adapter: Made) -> None:
    tensors = pair(STEM)
    tensors[f"{STEM}.lora_B.weight"][:] = 0
    (delta,) = open_source(adapter(tensors)).deltas
    assert not delta.open().dense().any()


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "module.", "base_model.model.", "_fsdp_wrapped_module.module."]
)
def test_wrapper_prefixes_are_taken_off_and_counted(adapter: Made, prefix: str) -> None:
    source = open_source(adapter(pair(prefix + STEM)))
    assert [delta.component_name for delta in source.deltas] == ["L0_ATTN_Q"]
    (notice,) = [n for n in source.notices if n.slug == "wrapper-prefix"]
    assert "2 of 2" in notice.text


def test_unknown_keys_are_refused_with_the_first_five(tmp_path: Path) -> None:
    tensors = {f"thing.{i}.weight": np.ones((3, 3), np.float32) for i in range(7)}
    save_file(tensors, tmp_path / "x.safetensors")
    error = refused(tmp_path / "x.safetensors")
    assert error.slug == "keys-not-recognised"
    assert "0 of 7 keys recognised" in str(error)
    assert "thing.4.weight" in str(error.found)
    assert "thing.5.weight" not in str(error.found)


@pytest.mark.parametrize(
    ("parameters", "method"),
    [
        ({"boft_R": (1, 4, 8, 8), "boft_s": (32, 1)}, "BOFT of sd-scripts"),
    ],
)
def test_methods_whose_file_says_too_little_are_refused_by_their_name(
    tmp_path: Path, parameters: dict[str, tuple[int, ...]], method: str
) -> None:
    flat = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    tensors = {f"{flat}.{name}": np.ones(shape, np.float32) for name, shape in parameters.items()}
    save_file(tensors, tmp_path / "x.safetensors")
    error = refused(tmp_path / "x.safetensors")
    assert error.slug == "method-not-read"
    assert method in str(error)
    assert "norms MERGED --base BASE" in str(error)


def test_unknown_keys_beside_a_peft_config_are_refused(adapter: Made) -> None:
    assert refused(adapter({"thing.weight": np.ones((3, 3), np.float32)})).slug == "keys-not-recognised"


@pytest.mark.parametrize("stem", ["lora_unet_x", STEM])
def test_integer_weights_are_refused(adapter: Made, stem: str) -> None:
    kohya = {".lora_A.": ".lora_down.", ".lora_B.": ".lora_up."} if stem.startswith("lora_") else {}
    tensors = pair(stem, np.int8)
    for old, new in kohya.items():
        tensors = {name.replace(old, new): tensor for name, tensor in tensors.items()}
    folder = adapter(tensors)
    error = refused(folder if not kohya else _without_config(folder))
    assert (error.slug, error.found) == ("integer-weights", "I8")


def _without_config(folder: Path) -> Path:
    (folder / "adapter_config.json").unlink()
    return folder


def test_float8_weights_are_widened_with_a_notice(raw: Made) -> None:
    down, up = np.ones((2, 6), ml_dtypes.float8_e4m3fn), np.full((4, 2), 0.5, ml_dtypes.float8_e4m3fn)
    header = {
        "x.lora_down.weight": {"dtype": "F8_E4M3", "shape": [2, 6], "data_offsets": [0, 12]},
        "x.lora_up.weight": {"dtype": "F8_E4M3", "shape": [4, 2], "data_offsets": [12, 20]},
    }
    source = open_source(raw(header, down.tobytes() + up.tobytes(), "x.safetensors"))
    assert source.deltas[0].open().A.dtype == np.float32  # type: ignore[union-attr]
    assert np.array_equal(source.deltas[0].open().dense(), np.ones((4, 6)))
    assert "float8" in {notice.slug for notice in source.notices}


HOSTILE = [
    "\x1b[31mred\x07", "\u202egnp.exe", "<script>alert(1)</script>", "=cmd()", "../../etc/passwd",
    "x" * 10_000,
    "", "Case", "case", "a\nb", "%s{0}", "\u202e", "naïve 名前 🦙",
]  # fmt: skip


def test_hostile_tensor_names_are_read_as_they_are(tmp_path: Path) -> None:
    tensors = {}
    for name in HOSTILE:
        tensors |= {
            k.replace("lora_A", "lora_down").replace("lora_B", "lora_up"): v for k, v in pair(name).items()
        }
    tensors |= {name: np.ones(2, np.float32) for name in HOSTILE}
    save_file(tensors, tmp_path / "x.safetensors")
    source = open_source(tmp_path / "x.safetensors")
    assert {entry.tensor for entry in source.coverage} == set(tensors)
    assert len(source.deltas) == len(HOSTILE) - 1
    names = [delta.component_name for delta in source.deltas]
    assert len(set(names)) == len(names)
    assert all(name.isascii() and name.replace("_", "").isalnum() for name in names)
    assert not any({"\x1b", "\u202e"} & set(str(notice)) for notice in source.notices)


def test_hostile_names_are_escaped_in_errors(tmp_path: Path) -> None:
    save_file({name: np.ones(2, np.float32) for name in HOSTILE}, tmp_path / "x.safetensors")
    text = str(refused(tmp_path / "x.safetensors"))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert len(text) < 5000


def _experts(folder: Path, layers: int, experts: int) -> Path:
    """An adapter of two weights of every expert."""
    factors = [(f"{w}.lora_{f}", shape) for w in ("w1", "w2") for f, shape in (("A", [1, 2]), ("B", [2, 1]))]
    names = [
        (f"base_model.model.model.layers.{layer}.mlp.experts.{expert}.{factor}.weight", shape)
        for layer in range(layers)
        for expert in range(experts)
        for factor, shape in factors
    ]
    header = {
        name: {"dtype": "F16", "shape": shape, "data_offsets": [4 * i, 4 * i + 4]}
        for i, (name, shape) in enumerate(names)
    }
    text = json.dumps(header).encode()
    data = np.random.default_rng(0).normal(size=2 * len(names)).astype(np.float16).tobytes()
    (folder / "adapter_model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 1, "lora_alpha": 1}')
    return folder


def test_a_hundred_thousand_expert_tensors_are_read(tmp_path: Path) -> None:
    source = open_source(_experts(tmp_path, 50, 500))
    assert len(source.coverage) == 100_000
    assert len({delta.component_name for delta in source.deltas}) == 50_000
    assert source.deltas[-1].address.expert == 499


def test_a_page_of_many_experts_takes_few_bytes_each_and_its_sentences_none(tmp_path: Path) -> None:
    written = {}
    for experts in (10, 300):
        folder = tmp_path / str(experts)
        folder.mkdir()
        study = tunescope.norms(f"a={_experts(folder, 10, experts)}").save(folder / "out", figures=())
        written[experts] = [(study / name).stat().st_size for name in ("report.html", "readout.md")]
    few, many = written.values()
    assert many[0] - few[0] < 50 * 2 * 10 * 290
    assert many[1] < few[1] + 1_000


def test_a_missing_path_is_exit_4_and_no_hub_lookup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("no connection must be tried"))
    for text in (
        str(tmp_path / "gone"),
        "./org/name",
        "gone.safetensors",
        "checkpoint-5",
        "~/nowhere/at/all",
    ):
        error = refused(Path(text), Missing) if text.startswith("/") else _refused_text(text)
        assert (error.slug, error.exit_code) == ("not-found", 4)
        assert "not a hub lookup" in str(error)


def _refused_text(text: str) -> TunescopeError:
    with pytest.raises(Missing) as raised:
        open_source(text)
    return raised.value


def test_checkpoints_below_are_named(adapter: Made, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for step in (5, 10, 100):
        adapter().rename(run / f"checkpoint-{step}")
    error = refused(run)
    assert error.slug == "adapters-below"
    assert "checkpoint-5, checkpoint-10, checkpoint-100" in str(error.found)
    assert "checkpoint-100" in str(error.fix)


def test_several_files_are_ambiguous(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_file(pair(name), tmp_path / f"{name}.safetensors")
    assert refused(tmp_path).slug == "ambiguous-weights"


@pytest.mark.parametrize("method", ["vera", "pvera"])
def test_a_rank_that_is_not_the_one_of_the_projections_drawn_again_is_refused(
    tmp_path: Path, method: str
) -> None:
    weights = KINDS[f"peft_{method}"].make(tmp_path)
    tensors = load_file(weights)
    del tensors[f"base_model.{method}_B"]
    save_file(tensors | {f"{STEM}.{method}_lambda_d": np.ones(12, np.float32)}, weights)
    error = refused(weights.parent)
    assert (error.slug, error.tensor) == ("factor-shapes", f"{STEM}.{method}_lambda_d")
    assert "r is 2" in str(error.expected)
