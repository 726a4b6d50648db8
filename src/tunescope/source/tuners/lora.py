"""LoRA and what differs from it in the scale, an extra tensor or the packing: rsLoRA, DoRA, KaSA and more.

ΔW = s·B A with s = alpha/r [Hu et al. 2021], alpha/√r for rsLoRA [Kalajdzievski 2023].
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tunescope.delta import OTHER_BASE, Array, Delta, Factored
from tunescope.source.files.tensors import LazyTensor, require_float
from tunescope.source.tuners.adapter import Adapter, Module, Tuner, exact, floats, lora_scale
from tunescope.source.tuners.experts import expert_deltas, targets_parameters
from tunescope.source.tuners.merged import on_diagonal

_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
_SIDE_TENSORS = ("lora_magnitude_vector", "lora_monteclora_sampler", "lora_velora_embed", "lora_arrow")


@dataclass(frozen=True, slots=True)
class Terms:
    """What applies to one module: method, rank and alpha by the config, scale and status."""

    method: str
    rank: int
    alpha: float
    scale: float
    status: str


def terms(adapter: Adapter, name: str) -> Terms:
    """Rank, alpha and scale of the module called `name`, its patterns resolved."""
    config = adapter.config
    rank = int(adapter.for_module("rank_pattern", name, config.get("r", 8)))
    alpha = float(adapter.for_module("alpha_pattern", name, config.get("lora_alpha", 8)))
    rank_stabilised = bool(config.get("use_rslora"))
    method = "rslora" if rank_stabilised else "lora"
    method = next((m for m, key in _VARIANTS if config.get(key)), method)
    return Terms(method, rank, alpha, lora_scale(alpha, rank, rank_stabilised), _status(config))


_VARIANTS = (
    ("dora", "use_dora"), ("kasa", "kasa_config"), ("bdlora", "use_bdlora"), ("qalora", "use_qalora"),
    ("alora", "alora_invocation_tokens"),
)  # fmt: skip


def _status(config: Any) -> str:
    initialised = str(config.get("init_lora_weights", "")).lower()
    kind = next((k for k in _CHANGES_BASE if initialised.startswith(k)), None)
    if kind is not None:
        part = "directional part s·BA" if config.get("use_dora") else "s·BA"
        return f"{part} against the base that the {kind} initialisation changed; {OTHER_BASE}"
    if config.get("use_dora"):
        return "directional part s·BA; the DoRA magnitude needs the base"
    if config.get("kasa_config"):
        return f"adapter part; KaSA also cut the base's smallest singular values: {OTHER_BASE}"
    if config.get("alora_invocation_tokens"):
        return "acts only after the invocation tokens"
    return "ok"


def read(adapter: Adapter) -> Iterator[Delta]:
    """One delta for each adapted module (each expert of fused experts)."""
    for module in adapter.complete("lora_A", "lora_B"):
        yield from _linear_or_conv(adapter, module)
    for module in adapter.complete("lora_embedding_A", "lora_embedding_B"):
        yield _embedding(adapter, module)
    _side_tensors(adapter)


def _linear_or_conv(adapter: Adapter, module: Module) -> Iterable[Delta]:
    if targets_parameters(adapter, module):
        return expert_deltas(adapter, module, terms)
    if (delta := _of_parts(adapter, module)) is not None:
        return [delta]
    return [_matrix(adapter, module, _in_proj(adapter, module))]


def _of_parts(adapter: Adapter, module: Module) -> Delta | None:
    """A fused projection of which PEFT before 0.3 adapted some parts (`enable_lora`)."""
    enabled = adapter.config.get("enable_lora")
    a, b = module["lora_A"], module["lora_B"]
    if not enabled or len(a.shape) != 2 or a.shape[0] != sum(enabled) * b.shape[1]:
        return None
    rows, t = b.shape[0] // sum(enabled), terms(adapter, module.name)
    adapter.rank_differs(module.name, t.rank, b.shape[1])
    return adapter.delta(
        module, t.method, shape=(rows * len(enabled), a.shape[1]), used=("lora_A", "lora_B"),
        open=partial(_parts, a, b, [rows] * len(enabled), enabled, t.scale),
        scale=t.scale, rank=a.shape[0], alpha=t.alpha, status=t.status,
    )  # fmt: skip


def _parts(a: LazyTensor, b: LazyTensor, rows: list[int], enabled: list[bool], scale: float) -> Factored:
    B = floats(b)
    return Factored(on_diagonal(B.reshape(B.shape[0], -1), rows, enabled), floats(a), scale)


def _in_proj(adapter: Adapter, module: Module) -> Module:
    """A `MultiheadAttention` saves its input projection under its own name; `out_proj` gives it away."""
    inner = f"{module.name}.base_layer.out_proj"
    name = f"{module.name}.in_proj" if inner in adapter.modules else module.name
    return Module(name.replace(".base_layer", ""), module.tensors)


def _matrix(adapter: Adapter, module: Module, named: Module) -> Delta:
    a, b = module["lora_A"], module["lora_B"]
    fits = len(a.shape) == len(b.shape) >= 2 and a.shape[0] % b.shape[1] == 0
    fits = fits and (len(a.shape) > 2 or a.shape[0] == b.shape[1] or bool(adapter.config.get("use_bdlora")))
    adapter.require(module, fits, "lora_A", "lora_B", expected="A (r, d_in) and B (d_out, r)")
    t = terms(adapter, named.name)
    layout = _layout(adapter, named.name, a, b)
    rank, d_out = b.shape[1] * layout.blocks_of_b, b.shape[0]
    d_in = int(np.prod(a.shape[1:])) * layout.blocks_of_a * layout.pooled
    adapter.rank_differs(named.name, t.rank, rank)
    used = ["lora_A", "lora_B"]
    if "lora_diag" in module:
        require_float(module["lora_diag"], adapter.file)
        used.append("lora_diag")
    factors = partial(_factors, a, b, module.tensors.get("lora_diag"), t.scale, layout)
    return adapter.delta(
        named, t.method, shape=(d_out, d_in), open=factors, used=used,
        scale=t.scale, rank=rank, alpha=t.alpha, status=t.status,
    )  # fmt: skip


def _groups(a: LazyTensor, b: LazyTensor) -> int:
    """A grouped convolution saves B of shape (d_out, r/groups, 1, …)."""
    return max(a.shape[0] // max(b.shape[1], 1), 1) if len(b.shape) > 2 else 1


@dataclass(frozen=True, slots=True)
class Layout:
    """How the saved factors are packed: blocks on the diagonals of A and B, input columns pooled into one."""

    blocks_of_a: int = 1
    blocks_of_b: int = 1
    pooled: int = 1


def _layout(adapter: Adapter, name: str, a: LazyTensor, b: LazyTensor) -> Layout:
    config = adapter.config
    pooled = int(config.get("qalora_group_size") or 16) if config.get("use_qalora") else 1
    blocks = config.get("use_bdlora")
    if not isinstance(blocks, dict):
        return Layout(1, _groups(a, b), pooled)
    count = int(blocks.get("nblocks") or 1)
    hit = {side: any(p in name for p in blocks.get(f"target_modules_bd_{side}") or []) for side in "ab"}
    return Layout(count if hit["a"] else 1, count if hit["b"] else 1)


def _factors(
    a: LazyTensor, b: LazyTensor, diagonal: LazyTensor | None, scale: float, layout: Layout
) -> Factored:
    A, B = _unpacked(floats(a), layout.blocks_of_a), _unpacked(floats(b), layout.blocks_of_b)
    if layout.pooled > 1:
        # QA-LoRA feeds the mean of each group times the number of groups.
        A = np.repeat(A.astype(np.float64), layout.pooled, axis=1) * (A.shape[1] / layout.pooled)
    if diagonal is not None:
        B = B.astype(np.float64) * exact(diagonal)
    return Factored(B, A, scale)


def _unpacked(factor: Array, blocks: int) -> Array:
    """A saved factor as a matrix, its row blocks moved onto the diagonal: (n, m, …) → (n, m⋯·blocks)."""
    matrix = factor if factor.ndim == 2 else factor.reshape(factor.shape[0], -1)
    if blocks < 2:
        return matrix
    rows, columns = matrix.shape[0] // blocks, matrix.shape[1]
    out = np.zeros((matrix.shape[0], columns * blocks), dtype=matrix.dtype)
    for i in range(blocks):
        out[i * rows : (i + 1) * rows, i * columns : (i + 1) * columns] = matrix[i * rows : (i + 1) * rows]
    return out


def _embedding(adapter: Adapter, module: Module) -> Delta:
    a, b = module["lora_embedding_A"], module["lora_embedding_B"]
    fits = len(a.shape) == len(b.shape) == 2 and a.shape[0] == b.shape[1]
    adapter.require(
        module, fits, "lora_embedding_A", "lora_embedding_B", expected="A (r, vocabulary) and B (d, r)"
    )
    t = terms(adapter, module.name)
    adapter.rank_differs(module.name, t.rank, a.shape[0])
    return adapter.delta(
        module, t.method, shape=(b.shape[0], a.shape[1]), used=("lora_embedding_A", "lora_embedding_B"),
        open=partial(_factors, a, b, None, t.scale, Layout()),
        scale=t.scale, rank=a.shape[0], alpha=t.alpha, status=t.status,
    )  # fmt: skip


def _side_tensors(adapter: Adapter) -> None:
    for module in adapter.modules.values():
        for parameter, tensor in module.tensors.items():
            if parameter == "lora_magnitude_vector":
                adapter.ledger.left([tensor.name], "DoRA magnitude, needs base")
            elif parameter == "lora_B.bias":
                adapter.ledger.left([tensor.name], "bias of lora_B: changes the layer's bias, not its weight")
            elif parameter.startswith(_SIDE_TENSORS):
                adapter.ledger.left([tensor.name], "used in training only")


TUNER = Tuner(
    frozenset({"lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_diag", *_SIDE_TENSORS}),
    read,
)
