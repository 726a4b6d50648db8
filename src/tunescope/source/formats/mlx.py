"""MLX adapters: `lora_a` of shape (d_in, r), `lora_b` of shape (r, d_out), scale from the config.

Experts (`switch_mlp`) are stored stacked, (E, r, d_in) and (E, d_out, r): one ΔW per expert.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from tunescope.address import parse
from tunescope.delta import Array, Delta
from tunescope.errors import BadInput
from tunescope.source.files.documents import read_object
from tunescope.source.files.tensors import LazyTensor, Ledger, read_shared
from tunescope.source.formats.pairs import (
    Pair,
    collect,
    half_saved,
    leave_aside,
    notice_scale,
    pair_delta,
)
from tunescope.source.weights import Format, Reading, Weights

_KEY = re.compile(r"^(?P<module>.+)\.(?P<part>lora_a|lora_b|m)(?:_(?P<packed>scales|biases))?$", re.DOTALL)
_ROLES = {"lora_a": "down", "lora_b": "up", "m": "dora"}


def _split(name: str) -> tuple[str, str] | None:
    found = _KEY.match(name)
    if found is None:
        return None
    return found["module"], f"packed_{found['part']}_{found['packed']}" if found["packed"] else _ROLES[
        found["part"]
    ]


def _recognises(weights: Weights) -> bool:
    return any(name.endswith((".lora_a", ".lora_b")) for name in weights.tensors)


def _read(weights: Weights, ledger: Ledger, scale: float | None) -> Reading:
    config = dict(weights.config) if weights.config is not None else _config(weights)
    stated = _scale(config, weights) if scale is None else scale
    deltas: list[Delta] = []
    for module, roles in collect(weights.tensors, _split).items():
        if any(role.startswith("packed_") for role in roles):
            ledger.left((t.name for t in roles.values()), "quantised factors")
        elif "down" in roles and "up" in roles:
            deltas += _module(module, roles, stated, ledger, weights.place)
        elif "down" in roles or "up" in roles:
            half_saved(module, roles, ledger)
        leave_aside(roles, ledger)
    notice_scale(deltas, ledger)
    return Reading(deltas, config)


def _config(weights: Weights) -> dict[str, Any]:
    if weights.config_file is None:
        return {}
    return read_object(weights.config_file, "adapter-config", "the adapter's config")


def _scale(config: Mapping[str, Any], weights: Weights) -> float | None:
    """The factor in the config; the first mlx-lm, whose configs say `lora_layers`, took scale·alpha/rank.

    Later ones ignore an alpha [ml-explore/mlx-examples: llms/mlx_lm/tuner/lora.py; ml-explore/mlx-lm].
    """
    parameters = config.get("lora_parameters")
    if not isinstance(parameters, dict) or parameters.get("scale") is None:
        return None
    scale = _number("scale", parameters, weights)
    old = "lora_layers" in config and not {"num_layers", "fine_tune_type"} & {*config}
    if not old or parameters.get("alpha") is None or not parameters.get("rank"):
        return scale
    return scale * _number("alpha", parameters, weights) / _number("rank", parameters, weights)


def _number(key: str, parameters: Mapping[str, Any], weights: Weights) -> float:
    value = parameters[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or value - value != 0:
        raise BadInput(
            "config-value",
            f"lora_parameters.{key} has a value that cannot be used",
            file=weights.config_file or weights.place,
            expected="a finite number",
            found=value,
            fix=f"write {key} as a number in the file",
        )
    return float(value)


def _module(
    module: str, roles: Mapping[str, LazyTensor], scale: float | None, ledger: Ledger, file: str
) -> Iterator[Delta]:
    pair = Pair(
        parse(module),
        roles["down"],
        roles["up"],
        transposed=True,
        scale=scale,
        magnitude=roles.get("dora"),
    )
    if len(roles["up"].shape) == 3:
        yield from stacked_experts(pair, ledger, file)
    elif (delta := pair_delta(pair, ledger, file)) is not None:
        yield delta


def stacked_experts(pair: Pair, ledger: Ledger, file: str) -> Iterator[Delta]:
    """One delta for each slice of stacked factors; older files store `lora_a` as (E·r, d_in)."""
    a, b = pair.down, pair.up
    count, d_out, rank = b.shape
    inside = count * rank * a.shape[-1] == a.numel
    for expert in range(count):
        of_expert = replace(
            pair,
            address=replace(pair.address, expert=expert),
            down=replace(
                a, shape=(rank, a.shape[-1]) if inside else a.shape, read=partial(_slice, a, expert, count)
            ),
            up=replace(b, shape=(d_out, rank), read=partial(_slice, b, expert, count)),
            transposed=False,
        )
        if (delta := pair_delta(of_expert, ledger, file)) is None:
            return
        yield delta


def _slice(tensor: LazyTensor, expert: int, count: int) -> Array:
    whole = read_shared(tensor)
    one: Array = whole.reshape(count, -1, whole.shape[-1])[expert]
    return one


MLX = Format("mlx", _recognises, _read)
