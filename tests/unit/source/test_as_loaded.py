"""Tensors of a file under the names, in the parts and in the order of rows that the loader gives them."""

from typing import Any

import numpy as np

from tunescope.source.as_loaded import as_loaded
from tunescope.source.files.container import lazy
from tunescope.source.loader_names import loaded_names
from tunescope.source.whole import WholeModel

KIMI = {
    "model_type": "kimi_k25",
    "architectures": ["Kimi_K25ForConditionalGeneration"],
    "vision_config": {"num_attention_heads": 2},
}
FUSED = "vision_tower.encoder.blocks.0.wqkv.weight"


def model(config: dict[str, Any], **arrays: np.ndarray) -> WholeModel:
    tensors = {}
    for name, array in arrays.items():
        tensors[name] = lazy(
            name, "F32", array.shape, array.nbytes, lambda array=array: array,
            part=lambda start, stop, array=array: array.ravel()[start:stop],
        )  # fmt: skip
    return WholeModel("here", tensors, (), config=config)


def test_a_fused_projection_is_cut_and_its_rotary_rows_are_put_by_halves() -> None:
    W = np.arange(24 * 3, dtype=np.float32).reshape(24, 3)
    found, whole = as_loaded(model(KIMI, **{FUSED: W}), KIMI)
    read = {name.split(".")[-2]: tensor.read() for name, tensor in found.tensors.items()}
    assert set(whole.values()) == {FUSED}
    # Two heads of four rows: pairs of neighbours in the file, halves once loaded.
    order = [0, 2, 1, 3, 4, 6, 5, 7]
    np.testing.assert_array_equal(read["q_proj"], W[:8][order])
    np.testing.assert_array_equal(read["k_proj"], W[8:16][order])
    np.testing.assert_array_equal(read["v_proj"], W[16:])
    part = next(t for name, t in found.tensors.items() if ".q_proj." in name)
    np.testing.assert_array_equal(part.part(2, 8), W[:8][order].ravel()[2:8])


MOLMO = {
    "model_type": "molmo2",
    "architectures": ["Molmo2ForConditionalGeneration"],
    "text_config": {"num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 2},
}
UNEVEN = "model.transformer.blocks.1.self_attn.att_proj.weight"


def test_a_fused_projection_of_fewer_key_heads_is_cut_by_the_heads_of_the_config() -> None:
    W = np.arange(10 * 4, dtype=np.float32).reshape(10, 4)
    found, whole = as_loaded(model(MOLMO, **{UNEVEN: W}), MOLMO)
    assert set(whole.values()) == {UNEVEN}
    names = [f"model.language_model.layers.1.self_attn.{side}_proj.weight" for side in "qkv"]
    for name, part in zip(names, np.split(W, [6, 8]), strict=True):
        np.testing.assert_array_equal(found.tensors[name].read(), part)
    shapes = loaded_names({UNEVEN: W.shape}, MOLMO)
    assert shapes == {name: found.tensors[name].shape for name in names}


def test_heads_that_do_not_add_up_cut_nothing() -> None:
    found, whole = as_loaded(model(MOLMO, **{UNEVEN: np.ones((12, 4), np.float32)}), MOLMO)
    assert [tensor.shape for tensor in found.tensors.values()] == [(12, 4)]
    assert set(whole.values()) <= {UNEVEN}


def test_where_no_config_tells_the_heads_a_fused_projection_stays_whole() -> None:
    config = KIMI | {"vision_config": {}}
    found, whole = as_loaded(model(config, **{FUSED: np.ones((24, 3), np.float32)}), config)
    assert [tensor.shape for tensor in found.tensors.values()] == [(24, 3)]
    assert set(whole.values()) <= {FUSED}


def test_two_tensors_that_would_have_one_name_keep_their_own() -> None:
    config = {"architectures": ["FuyuForCausalLM"]}
    names = ("language_model.lm_head.weight", "lm_head.weight")
    held = model(config, **{name: np.ones((2, 2), np.float32) for name in names})
    found, whole = as_loaded(held, config)
    assert tuple(found.tensors) == names
    assert whole == {}


def test_a_model_of_which_no_rule_is_known_is_itself() -> None:
    held = model({"model_type": "llama"}, **{"model.norm.weight": np.ones(2, np.float32)})
    assert as_loaded(held, held.config) == (held, {})
