"""On which side of fused experts A and B are: as the PEFT that wrote them has it, or said to be unknown."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tunescope.delta import Delta
from tunescope.source.base_shapes import BaseHeaders
from tunescope.source.files.tensors import LazyTensor, Ledger
from tunescope.source.formats.peft import read_peft
from tunescope.source.tuners.expert_sides import UNKNOWN_SIDES

LORA = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}


def read(
    arrays: Mapping[str, np.ndarray], config: Mapping[str, Any], base: BaseHeaders | None = None
) -> tuple[list[Delta], Ledger]:
    """Deltas and ledger of an adapter made of arrays, beside the headers of a base."""
    ledger = Ledger({n: LazyTensor(n, "F32", a.shape, a.nbytes, lambda a=a: a) for n, a in arrays.items()})
    named = None if base is None else lambda: base
    return read_peft(ledger.tensors, config, ledger, file="adapter.safetensors", base=named), ledger


def slugs(ledger: Ledger) -> list[str]:
    """The notices' slugs."""
    return [notice.slug for notice in ledger.notices]


OWNER = "base_model.model.model.layers.0.mlp.experts"


def fused(version: str | None, hidden: int, inner: int, *, turned: bool, only: str = "") -> Any:
    """Two fused parameters as PEFT of a version trains them: stored (experts, in, out) where `turned`."""
    rng, tensors, products = np.random.default_rng(2), {}, {}
    old = version is None or version < "0.19"
    for depth, name, d_in, d_out in (
        ("", "down_proj", inner, hidden),
        (".base_layer", "gate_up_proj", hidden, 2 * inner),
    ):
        if only not in ("", name):
            continue
        exchanged = old and not turned
        wide, high = (d_out, d_in) if exchanged else (d_in, d_out)
        a, b = (rng.standard_normal(s).astype(np.float32) for s in ((3 * 2, wide), (high, 2 * 3)))
        tensors |= {f"{OWNER}{'' if only else depth}.lora_{x}.weight": v for x, v in (("A", a), ("B", b))}
        # The product that the version's get_delta_weight forms, applied as (out, in).
        whole = np.einsum(
            "ore,eri->eoi", b.reshape(high, 2, 3).astype(float), a.reshape(3, 2, wide).astype(float)
        )
        products[name] = 2 * (whole.transpose(0, 2, 1) if exchanged else whole)
    config = {**LORA, "target_modules": [], "target_parameters": [f"mlp.experts.{n}" for n in products]}
    return tensors, config | ({"peft_version": version} if version else {}), products


@pytest.mark.parametrize("version", [None, "0.17.1", "0.18.2.dev0", "0.19.0", "0.21.2"])
@pytest.mark.parametrize(
    ("hidden", "inner", "turned"), [(8, 6, False), (8, 4, False), (8, 6, True), (8, 8, False)]
)
def test_sides_of_fused_experts_are_those_of_the_version_that_trained_them(
    version: str | None, hidden: int, inner: int, turned: bool
) -> None:
    tensors, config, products = fused(version, hidden, inner, turned=turned)
    deltas, _ = read(tensors, config)
    assert len(deltas) == 6
    for delta in deltas:
        expected = products[delta.address.module_type.rsplit(".", 1)[1]][delta.address.expert]
        assert (delta.status, (delta.d_out, delta.d_in)) == ("ok", expected.shape)
        np.testing.assert_allclose(delta.open().dense(), expected)


@pytest.mark.parametrize("only", ["", "down_proj"])
def test_experts_of_llama_4_have_their_sides_exchanged_since_peft_0_19(only: str) -> None:
    """Stored (experts, in, out) without saying so: what PEFT takes for the input is the output."""
    tensors, config, products = fused("0.18.0", 8, 6, turned=False, only=only)
    config |= {"peft_version": "0.21.2", "base_model_name_or_path": "meta-llama/Llama-4-Scout-17B-16E"}
    deltas, _ = read(tensors, config)
    assert len(deltas) == 3 * len(products)
    for delta in deltas:
        expected = products[delta.address.module_type.rsplit(".", 1)[1]][delta.address.expert]
        assert (delta.status, (delta.d_out, delta.d_in)) == ("ok", expected.shape)
        np.testing.assert_allclose(delta.open().dense(), expected)


def test_sides_that_nothing_tells_are_called_unknown_and_the_hidden_width_or_the_base_tells_them() -> None:
    tensors, config, products = fused("0.18.0", 8, 6, turned=False, only="down_proj")
    assert {d.status for d in read(tensors, config)[0]} == {UNKNOWN_SIDES}
    query = "base_model.model.model.layers.0.self_attn.q_proj.lora"
    attention = {f"{query}_A.weight": np.ones((2, 8)), f"{query}_B.weight": np.ones((4, 2))}
    known, _ = read({**tensors, **attention}, config)
    experts = [d for d in known if d.address.expert is not None]
    assert {(d.d_out, d.d_in, d.status) for d in experts} == {(8, 6, "ok")}
    np.testing.assert_allclose(experts[1].open().dense(), products["down_proj"][1])
    turned, config, products = fused("0.18.0", 8, 6, turned=True, only="down_proj")
    of_gpt_oss, _ = read(turned, {**config, "base_model_name_or_path": "openai/gpt-oss-20b"})
    assert {(d.d_out, d.d_in, d.status) for d in of_gpt_oss} == {(8, 6, "ok")}


def headers(hidden: int, inner: int, how: str) -> BaseHeaders:
    """A base of which the tokens, the config, or numbered experts tell how PEFT saw its experts."""
    stem = "model.layers.0.mlp.experts"
    return {
        "table": BaseHeaders({"model.embed_tokens.weight": (50, hidden)}),
        "config": BaseHeaders({}, {"hidden_size": hidden}),
        "text config": BaseHeaders({}, {"hidden_size": 3, "text_config": {"hidden_size": hidden}}),
        "numbered": BaseHeaders({f"{stem}.{e}.down_proj.weight": (hidden, inner) for e in range(3)}),
        "model type": BaseHeaders({f"{stem}.down_proj": (3, inner, hidden)}, {"model_type": "gpt_oss"}),
    }[how]


@pytest.mark.parametrize(
    ("how", "hidden", "inner"),
    [("table", 8, 6), ("config", 8, 6), ("text config", 8, 6), ("numbered", 8, 8), ("model type", 8, 8)],
)
@pytest.mark.parametrize("only", ["down_proj", "gate_up_proj"])
def test_the_base_tells_the_sides_of_experts_that_the_file_leaves_open(
    how: str, hidden: int, inner: int, only: str
) -> None:
    inner = inner // 2 if only == "gate_up_proj" and hidden == inner else inner
    tensors, config, products = fused("0.18.0", hidden, inner, turned=how == "model type", only=only)
    alone, ledger = read(tensors, config)
    assert {d.status for d in alone} == {UNKNOWN_SIDES}
    assert slugs(ledger) == ["sides-unknown"]
    deltas, ledger = read(tensors, config, headers(hidden, inner, how))
    assert slugs(ledger) == []
    for delta in deltas:
        expected = products[only][delta.address.expert]
        assert (delta.status, (delta.d_out, delta.d_in)) == ("ok", expected.shape)
        np.testing.assert_allclose(delta.open().dense(), expected)


def test_the_class_that_the_config_maps_to_tells_the_sides_of_experts() -> None:
    tensors, config, products = fused("0.17.0", 8, 8, turned=True, only="down_proj")
    mapped = {"auto_mapping": {"base_model_class": "GptOssForCausalLM", "parent_library": "x"}}
    deltas, ledger = read(tensors, config | mapped)
    assert {d.status for d in deltas} == {"ok"}
    assert slugs(ledger) == []
    np.testing.assert_allclose(deltas[2].open().dense(), products["down_proj"][2])


@pytest.mark.parametrize(("name", "d_out", "d_in"), [("input_linear", 12, 8), ("output_linear", 8, 6)])
def test_stacked_weights_of_a_module_go_by_its_own_name(name: str, d_out: int, d_in: int) -> None:
    """GraniteMoE keeps (experts, out, in) as the `weight` of a module for each side."""
    rng = np.random.default_rng(4)
    stem = f"base_model.model.model.layers.0.block_sparse_moe.{name}"
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((3 * 2, d_out), (d_in, 2 * 3)))
    config = {**LORA, "target_parameters": [f"block_sparse_moe.{name}.weight"], "peft_version": "0.18.1"}
    tensors = {f"{stem}.lora_A.weight": a, f"{stem}.lora_B.weight": b}
    assert {d.status for d in read(tensors, config)[0]} == {UNKNOWN_SIDES}
    deltas, _ = read(tensors, config, BaseHeaders({}, {"hidden_size": 8}))
    assert {(d.status, d.d_out, d.d_in) for d in deltas} == {("ok", d_out, d_in)}
    expected = 2 * (b[:, 1::3].astype(float) @ a[2:4]).T
    np.testing.assert_allclose(deltas[1].open().dense(), expected, rtol=1e-6)


def test_a_router_beside_experts_is_named_by_the_parameter_that_the_config_names_with_it() -> None:
    tensors, config, _ = fused("0.21.2", 8, 6, turned=False)
    router = OWNER.replace("experts", "router.gate")
    rng = np.random.default_rng(4)
    tensors[f"{router}.lora_A.weight"] = rng.standard_normal((2, 8)).astype(np.float32)
    tensors[f"{router}.lora_B.weight"] = rng.standard_normal((3, 2)).astype(np.float32)
    deltas, ledger = read(
        tensors, config | {"target_parameters": ["gate.weight", "down_proj", "gate_up_proj"]}
    )
    kinds = {delta.address.module_type for delta in deltas}
    assert kinds == {"mlp.router.gate", "mlp.experts.down_proj", "mlp.experts.gate_up_proj"}
    assert "unnamed-parameters" not in slugs(ledger)
