"""The base weight of single experts, whether files number the experts or stack them."""

import numpy as np
import pytest

from tunescope.address import parse
from tunescope.source.expert_weights import expert_weights
from tunescope.source.files.tensors import LazyTensor

E, WIDE, D = 3, 4, 6
DRAW = np.random.default_rng(0)
GATE, UP = (DRAW.standard_normal((E, WIDE, D)).astype(np.float32) for _ in range(2))
BOTH = np.concatenate([GATE, UP], axis=1)


def lazy(name: str, values: np.ndarray) -> LazyTensor:
    dtype = {"float32": "F32", "float16": "F16"}[values.dtype.name]
    return LazyTensor(name, dtype, values.shape, values.nbytes, lambda: values)


def numbered(owner: str, gate: str, up: str) -> dict[str, LazyTensor]:
    named = {(e, n): v[e] for e in range(E) for n, v in ((gate, GATE), (up, UP))}
    return {(name := f"{owner}.{e}.{n}.weight"): lazy(name, v) for (e, n), v in named.items()}


def read(tensor: LazyTensor) -> np.ndarray:
    return np.asarray(tensor.part(0, tensor.size)).reshape(tensor.shape)


@pytest.mark.parametrize(
    ("owner", "gate", "up"),
    [
        ("model.layers.2.mlp.experts", "gate_proj", "up_proj"),
        ("model.layers.2.block_sparse_moe.experts", "w1", "w3"),
    ],
)
def test_gate_and_up_of_numbered_experts_are_one_weight_too(owner: str, gate: str, up: str) -> None:
    found = expert_weights(numbered(owner, gate, up), "")
    for e in range(E):
        both = found[parse(f"model.layers.2.mlp.experts.{e}.gate_up_proj.weight")]
        np.testing.assert_array_equal(read(both), BOTH[e])
        np.testing.assert_array_equal(both.read(), BOTH[e])
        np.testing.assert_array_equal(both.part(5, 2 * WIDE * D - 3), BOTH[e].ravel()[5:-3])


def test_a_stack_holds_the_weight_of_every_expert_and_its_halves() -> None:
    name = "model.layers.2.mlp.experts.gate_up_proj"
    found = expert_weights({name: lazy(name, BOTH)}, "qwen3_moe")
    for e in range(E):
        of = f"model.layers.2.mlp.experts.{e}"
        np.testing.assert_array_equal(read(found[parse(f"{of}.gate_up_proj.weight")]), BOTH[e])
        np.testing.assert_array_equal(read(found[parse(f"{of}.gate_proj.weight")]), GATE[e])
        np.testing.assert_array_equal(read(found[parse(f"{of}.up_proj.weight")]), UP[e])


def test_a_stack_whose_gate_and_up_alternate_is_not_halved() -> None:
    name = "model.layers.2.mlp.experts.gate_up_proj"
    found = expert_weights({name: lazy(name, BOTH)}, "gpt_oss")
    assert {address.module_type for address in found} == {"mlp.experts.gate_up_proj"}


def test_projections_of_unlike_precision_are_not_joined() -> None:
    tensors = numbered("layers.0.mlp.experts", "gate_proj", "up_proj")
    name = "layers.0.mlp.experts.0.up_proj.weight"
    found = expert_weights(tensors | {name: lazy(name, UP[0].astype(np.float16))}, "")
    both = found[parse("layers.0.mlp.experts.0.gate_up_proj.weight")]
    assert not both.supported
    assert "do not fit in one" in both.unreadable
