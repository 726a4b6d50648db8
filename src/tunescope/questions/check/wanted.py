"""What an adapter asks of its base, module by module: also where the file alone has no ΔW."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunescope.address import Address, component_names, distinct_addresses, parse
from tunescope.delta import Delta, Pending
from tunescope.questions.check.names import module_name
from tunescope.source.files.tensors import Entry
from tunescope.source.formats.leftovers import BASE_COPY, NEEDS_BASE, NO_MATRIX, SAVED, SAVED_EMBEDDING
from tunescope.source.formats.lycoris import PARAMETERS
from tunescope.source.formats.names import strip_wrappers
from tunescope.source.opened import Source

# Rows and columns of a layer as it is applied, (d_out, d_in); `None` where the file does not say.
Shape = tuple[int | None, int | None]
_UNKNOWN: Shape = (None, None)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One module that an adapter changes, and the shape that it must have.

    `delta` is its update where the file alone has one; `table` says that it is kept as (d_in, d_out). Prompts
    belong to no module: they fit where the base has a weight of the component `like` with that shape. `whole`
    weights take the place of the base's.
    """

    module: str
    address: Address
    component_name: str
    shape: Shape
    delta: Delta | None = None
    table: bool = False
    like: str = ""
    whole: bool = False


def wanted(source: Source) -> list[Wanted]:
    """Every module of a source, in file order."""
    found = [_of_delta(delta) for delta in source.deltas]
    found += _of_pending(source.pending)
    return found or list(_without_delta(source))


def stored_whole(source: Source) -> Iterator[Wanted]:
    """The weights that an adapter brings along whole: saved modules and copies of layers it also adapts."""
    for entry in source.coverage:
        if entry.reason in _WHOLE and len(entry.shape) == 2 and entry.tensor.endswith(".weight"):
            plain = SAVED_AS.sub("", strip_wrappers(entry.tensor)).removesuffix(".weight")
            address = parse(plain)
            name = component_names([address])[0]
            yield Wanted(plain, address, name, (entry.shape[0], entry.shape[1]), whole=True)


_WHOLE = (SAVED, SAVED_EMBEDDING, BASE_COPY)
SAVED_AS = re.compile(r"\.modules_to_save(\.[^.]+(?=\.weight$))?|\.base_layer")


def _of_delta(delta: Delta) -> Wanted:
    table = any("lora_embedding" in name for name in delta.tensors)
    shape = (delta.d_out, delta.d_in)
    return Wanted(module_name(delta), delta.address, delta.component_name, shape, delta, table)


def _of_pending(pending: Sequence[Pending]) -> Iterator[Wanted]:
    addresses = distinct_addresses([one.address for one in pending])
    for one, address, name in zip(pending, addresses, component_names(addresses), strict=True):
        module = MULTIPLIED.sub("", one.tensors[0]).removesuffix(".weight")
        yield Wanted(module, address, name, (one.d_out, one.d_in))


def _without_delta(source: Source) -> Iterator[Wanted]:
    """The modules of a method whose file alone has no ΔW, with what its shapes tell of the layer."""
    method = str(source.config.get("peft_type"))
    if method not in NEEDS_BASE and method not in NO_MATRIX:
        return
    shapes: dict[str, Shape] = {}
    for entry in source.coverage:
        found = PARAMETER.search(strip_wrappers(entry.tensor))
        if entry.tensor in _PROMPTS:
            yield _prompt(entry, source.config)
        if found is not None and found["module"] not in (None, "base_model"):
            told = _told(found["name"], entry.shape, source.config)
            known = shapes.get(found["module"], _UNKNOWN)
            shapes[found["module"]] = (known[0] or told[0], known[1] or told[1])
    addresses = distinct_addresses([parse(module) for module in shapes])
    names = component_names(addresses)
    for (module, shape), address, name in zip(shapes.items(), addresses, names, strict=True):
        yield Wanted(module, address, name, shape)


_PROMPTS = ("prompt_embeddings", "trainable_keys")


def _prompt(entry: Entry, config: Mapping[str, Any]) -> Wanted:
    """What stands before the tokens: as wide as their embeddings, or as the keys and values of all layers."""
    layers, width = config.get("num_layers"), entry.shape[-1] if entry.shape else None
    like, shape = "EMBED", (None, config.get("token_dim") or width)
    if config.get("peft_type") == "PREFIX_TUNING" and layers and width:
        like, shape = "ATTN_K", (width // (2 * layers), None)
    address = parse(entry.tensor)
    return Wanted(entry.tensor, address, component_names([address])[0], shape, like=like)


# What stands behind a module's name where its update multiplies the base's weight.
MULTIPLIED = re.compile(rf"\.(?P<name>{PARAMETERS})(?:\.\d+)?(?:\.weight)?$")
# Parameters of these methods, behind their module's name [huggingface/peft: src/peft/tuners/*/layer.py].
PARAMETER = re.compile(
    r"^(?:(?P<module>.*?)\.)?(?P<name>(?:ia3|oft|boft|hra|road|hira|glora|frod|osf|psoft|deft|peanut|adamss|beft|"
    r"poly|lily|shadow|adaption)_\w+(?:\.[SUV]_low)?|ln_tuning_layers|trainable_tokens_delta|token_adapter)(?=\.|$)"
)


def _told(name: str, shape: tuple[int, ...], config: Mapping[str, Any]) -> Shape:
    rule = _TOLD.get(name)
    try:
        return _UNKNOWN if rule is None else rule(shape, config)
    except (IndexError, ZeroDivisionError):
        # Such a tensor is no parameter of the method; what it should be is for its loader to say.
        return _UNKNOWN


def _vector(shape: tuple[int, ...], _: Mapping[str, Any]) -> Shape:
    """IA³: (d_out, 1), or (1, d_in) for a feed-forward layer."""
    return (shape[0], None) if shape[0] > 1 else (None, math.prod(shape))


def _rotations(shape: tuple[int, ...], config: Mapping[str, Any]) -> Shape:
    """OFT: a skew-symmetric block of b(b − 1)/2 numbers for every b inputs, or one for all."""
    size = (1 + math.isqrt(1 + 8 * shape[1])) // 2
    return _UNKNOWN if config.get("block_share") else (None, shape[0] * size)


def _road(shape: tuple[int, ...], config: Mapping[str, Any]) -> Shape:
    """RoAd: half as many numbers as outputs, as many, or twice as many."""
    halves = {"road_1": 4, "road_2": 2, "road_4": 1}.get(str(config.get("variant")))
    return _UNKNOWN if halves is None else (shape[0] * halves // 2, None)


def _rows(shape: tuple[int, ...], _: Mapping[str, Any]) -> Shape:
    return shape[0], None


def _columns(shape: tuple[int, ...], _: Mapping[str, Any]) -> Shape:
    return None, shape[-1]


_TOLD: Mapping[str, Callable[[tuple[int, ...], Mapping[str, Any]], Shape]] = {
    "ia3_l": _vector,
    "oft_R": _rotations,
    "oft_r": _rotations,
    "boft_R": lambda shape, _: (None, shape[1] * shape[2]),
    "boft_s": _rows,
    "hra_u": lambda shape, _: (None, shape[0]),
    "road_theta": _road,
    "hira_A": _columns,
    "hira_B": _rows,
    "deft_P": _rows,
    "deft_R": _columns,
    "osf_svd_params.U_low": _rows,
    "osf_svd_params.V_low": _columns,
    "beft_bias": lambda shape, _: (shape[-1], None),
    "poly_lora_A": lambda shape, _: (None, shape[0] * shape[2]),
    "poly_lora_B": lambda shape, _: (shape[0] * shape[3], None),
    "lily_A": _columns,
    "ln_tuning_layers": _rows,
    "trainable_tokens_delta": _columns,
    "token_adapter": _columns,
}
