"""The first Stable Diffusion LoRA format: `unet:0:up`, `text_encoder:3:down`, or a bare list of factors.

The modules are numbered in the order in which the network holds them. Where count and shapes agree with
Stable Diffusion 1 the numbers get their modules' names; else they stay numbers.
"""

import re
from collections.abc import Mapping, Sequence

from tunescope.address import Address, parse
from tunescope.delta import Delta
from tunescope.source.files.tensors import LazyTensor, Ledger
from tunescope.source.formats.pairs import Pair, collect, half_saved, notice_scale, pair_delta
from tunescope.source.weights import Format, Reading, Weights

_KEY = re.compile(r"^(?P<stack>[a-z_0-9]+):(?P<number>\d+):(?P<part>up|down)$")
_EMBEDDING = re.compile(r"^<.+>$")

# The attention of one Stable Diffusion 1 block in the order of its layers, with (d_in, d_out) in units of
# the block's width; None stands for the text's width.
_ATTENTION: tuple[tuple[str, int | None, int], ...] = (
    ("attn1.to_q", 1, 1), ("attn1.to_k", 1, 1), ("attn1.to_v", 1, 1), ("attn1.to_out.0", 1, 1),
    ("ff.net.0.proj", 1, 8),
    ("attn2.to_q", 1, 1), ("attn2.to_k", None, 1), ("attn2.to_v", None, 1), ("attn2.to_out.0", 1, 1),
)  # fmt: skip
_CLIP = ("k_proj", "v_proj", "q_proj", "out_proj")
_UNET_BLOCKS = (
    *(
        (f"down_blocks.{i}.attentions.{j}", width)
        for i, width in enumerate((320, 640, 1280))
        for j in range(2)
    ),
    *(
        (f"up_blocks.{i}.attentions.{j}", width)
        for i, width in ((1, 1280), (2, 640), (3, 320))
        for j in range(3)
    ),
    ("mid_block.attentions.0", 1280),
)

# (module name, d_in, d_out) in the order of a file
Layout = Sequence[tuple[str, int, int]]


def _unet_layout(text_width: int, with_feed_forward: bool) -> Layout:
    return [
        (
            f"unet.{block}.transformer_blocks.0.{module}",
            text_width if d_in is None else d_in * width,
            d_out * width,
        )
        for block, width in _UNET_BLOCKS
        for module, d_in, d_out in _ATTENTION
        if with_feed_forward or not module.startswith("ff")
    ]


def _clip_layout(width: int, layers: int) -> Layout:
    name = "text_encoder.text_model.encoder.layers.{}.self_attn.{}"
    return [(name.format(i, module), width, width) for i in range(layers) for module in _CLIP]


_LAYOUTS: tuple[Layout, ...] = (
    _unet_layout(768, True), _unet_layout(768, False), _unet_layout(1024, True), _unet_layout(1024, False),
    _clip_layout(768, 12), _clip_layout(1024, 23),
)  # fmt: skip


def _split(name: str) -> tuple[str, str] | None:
    found = _KEY.match(name)
    return None if found is None else (f"{found['stack']}:{found['number']}", found["part"])


def _recognises(weights: Weights) -> bool:
    return any(_KEY.match(name) for name in weights.tensors) or (
        weights.listed and _alternate(weights.tensors)
    )


def _alternate(tensors: Mapping[str, LazyTensor]) -> bool:
    """Whether a bare list goes up, down, up, down, … with ranks that fit."""
    shapes = [t.shape for t in tensors.values()]
    pairs = zip(shapes[::2], shapes[1::2], strict=False)
    return len(shapes) % 2 == 0 and all(len(u) == len(d) == 2 and u[1] == d[0] for u, d in pairs)


def _read(weights: Weights, ledger: Ledger, scale: float | None) -> Reading:
    groups = _listed(weights.tensors) if weights.listed else collect(weights.tensors, _split)
    complete: dict[str, dict[int, Mapping[str, LazyTensor]]] = {}
    for module, roles in groups.items():
        stack, _, number = module.rpartition(":")
        if "up" in roles and "down" in roles:
            complete.setdefault(stack, {})[int(number)] = roles
        else:
            half_saved(module, roles, ledger)
    deltas: list[Delta] = []
    for stack, numbered in complete.items():
        addresses = _addresses(stack, numbered)
        for place, factors in numbered.items():
            pair = Pair(addresses[place], factors["down"], factors["up"], scale=scale)
            deltas += filter(None, [pair_delta(pair, ledger, weights.place)])
    ledger.left(filter(_EMBEDDING.match, weights.tensors), "textual inversion embedding")
    notice_scale(deltas, ledger)
    return Reading(deltas)


def _listed(tensors: Mapping[str, LazyTensor]) -> dict[str, dict[str, LazyTensor]]:
    values = list(tensors.values())
    pairs = zip(values[::2], values[1::2], strict=True)
    return {f":{i}": {"up": up, "down": down} for i, (up, down) in enumerate(pairs)}


def _addresses(stack: str, numbered: Mapping[int, Mapping[str, LazyTensor]]) -> dict[int, Address]:
    shapes = {n: (_width(roles["down"], -1), _width(roles["up"], 0)) for n, roles in numbered.items()}
    for layout in _LAYOUTS:
        named = {n: (d_in, d_out) for n, (_, d_in, d_out) in enumerate(layout)}
        if named == shapes:
            return {n: parse(layout[n][0]) for n in numbered}
    return {n: Address(stack or "model", None, f"module_{n}") for n in numbered}


def _width(tensor: LazyTensor, axis: int) -> int:
    return tensor.shape[axis] if tensor.shape else 0


FIRST_SD = Format("first-sd", _recognises, _read)
