"""An adapter beside its base: what is exact only with it, and the base weight of every update."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np

from tunescope.address import component_names, distinct_addresses, parse, parse_all, steps, unrolled
from tunescope.delta import Base, Delta, Pending
from tunescope.errors import Notice
from tunescope.source.base_weights import made_whole, replicated_base, with_base_weights
from tunescope.source.files.tensors import Entry, LazyTensor, is_float
from tunescope.source.formats.leftovers import NEEDS_BASE
from tunescope.source.formats.names import strip_wrappers
from tunescope.source.opened import Source
from tunescope.source.peft_merge import Layer
from tunescope.source.saved_modules import is_saved_whole, saved_modules
from tunescope.source.trained_biases import trained_biases
from tunescope.source.trained_tokens import TOKENS, trained_tokens
from tunescope.source.tuners.dora import decomposed, unmoved
from tunescope.source.tuners.miss import BAT
from tunescope.source.whole import WholeModel
from tunescope.words import counted

_DOWN = re.compile(r"\.lora_(?:embedding_)?A\b")
_SHARED = "frod_"
_LACKS_BASE = "needs the base"
_BIAS = re.compile(r"(^|\.)bias$")


def with_base(source: Source, base: WholeModel, base_source: Source, align_vocab: bool = False) -> Source:
    """The source with its base beside it.

    Every delta gets its base weight; DoRA and the methods that multiply W (`NEEDS_BASE`, `pending`) get their
    exact ΔW; modules and biases that were saved whole, and tokens trained on their own, become differences,
    or rows with a status where the base has them in another shape.
    """
    if source.published is not None:
        return source
    base = replicated_base(base, source.config)
    step = steps(parse_all(base.tensors))
    transposed = source.config.get("fan_in_fan_out") is True
    deltas = with_base_weights(_counted(source.deltas, step), base, transposed)
    # A live model's are not those of a file.
    tensors = source.tensors if source.files else {}
    exact = _counted(list(_exact(source, deltas, tensors, base)), step)
    multiplied, missed = made_whole(_counted(source.pending, step), base)
    known = {delta.address for delta in exact}
    saved = saved_modules(source, tensors, base, align_vocab)
    whole = [delta for delta in _counted(saved.deltas, step) if delta.address not in known]
    whole = trained_biases(deltas, tensors, whole, base)
    extra = [*multiplied, *whole, *trained_tokens(source, tensors, base), *saved.incomparable]
    addresses = distinct_addresses(unrolled([d.address for d in (*exact, *extra)], step))
    named = zip((*exact, *extra), addresses, component_names(addresses), strict=True)
    every = [replace(d, address=a, component_name=n) for d, a, n in named]
    made, apart = every[: len(every) - len(saved.incomparable)], every[len(every) - len(saved.incomparable) :]
    coverage = _coverage(source, made, saved.reasons)
    lacking = any(e.status != "used" and e.reason.endswith(_LACKS_BASE) for e in coverage)
    settled = [n for n in source.notices if n.slug == "left-out" and n.text.endswith(_LACKS_BASE)]
    met = [n for n in source.notices if n.slug == "needs-base" or (n in settled and not lacking)]
    still = tuple(n for n in source.notices if not (made and n in met))
    return replace(
        source,
        deltas=tuple(made),
        incomparable=tuple(apart),
        pending=(),
        coverage=coverage,
        notices=(*still, *missed, *without_magnitudes(source)),
        base=base_source,
    )


_Update = TypeVar("_Update", Delta, Pending)


def _counted(updates: Sequence[_Update], step: int) -> list[_Update]:
    """The updates with their layers counted as the base's, of which a place takes `step` numbers."""
    addresses = unrolled([one.address for one in updates], step)
    return [replace(one, address=address) for one, address in zip(updates, addresses, strict=True)]


def _coverage(source: Source, made: Sequence[Delta], reasons: Mapping[str, str]) -> tuple[Entry, ...]:
    """The ledger beside the base: what is part of a ΔW now, and why the rest is not."""
    used = {name for delta in made for name in delta.tensors}
    return tuple(
        replace(e, status="used", reason="") if e.tensor in used else
        replace(e, reason=reasons.get(e.tensor, e.reason))
        for e in source.coverage
    )  # fmt: skip


def needs_base(source: Source) -> bool:
    """Whether the base's weight is a part of any update, of which the file alone then says none or a part."""
    multiplies = _multiplies(source) or bool(source.config.get("use_dora"))
    return multiplies or bool(source.pending) or any(delta.exact for delta in source.deltas)


def _multiplies(source: Source) -> bool:
    """Whether the whole method multiplies W, so that PEFT merges it."""
    kind = source.config.get("peft_type")
    return kind in NEEDS_BASE or (kind == "MISS" and source.config.get("init_weights") == BAT)


def _exact(
    source: Source, deltas: list[Delta], tensors: Mapping[str, LazyTensor], base: WholeModel
) -> Iterator[Delta]:
    dora = bool(source.config.get("use_dora"))
    for delta in deltas:
        magnitude = _magnitude(delta, tensors) if dora else None
        whole = delta.exact if magnitude is None else decomposed(magnitude, (delta.d_out, delta.d_in))
        whole = unmoved() if _lacks_magnitude(source, delta, tensors) else whole
        if whole is None or delta.base is None or delta.of_other_base:
            yield delta
        else:
            made = partial(whole.make, delta.open, delta.base, (delta.d_out, delta.d_in))
            names = (*delta.tensors, *whole.tensors)
            yield replace(delta, open=made, scale=1.0, status="ok", tensors=names, exact=None)
    kind = source.config.get("peft_type")
    if _multiplies(source) and kind != TOKENS and tensors:
        yield from _through_peft(source, tensors, base)


def _magnitude(delta: Delta, tensors: Mapping[str, LazyTensor]) -> LazyTensor | None:
    stem = _DOWN.split(delta.tensors[0])[0]
    names = (f"{stem}.lora_magnitude_vector{end}" for end in ("", ".weight", ".default.weight", ".default"))
    return next((tensors[name] for name in names if name in tensors), None)


def _lacks_magnitude(source: Source, delta: Delta, tensors: Mapping[str, LazyTensor]) -> bool:
    """Whether a file of DoRA was saved without the magnitude of a layer's rows."""
    rows = source.format == "peft" and not any("lora_embedding" in name for name in delta.tensors)
    dora = source.config.get("use_dora") and delta.method == "dora" and delta.exact is None
    # Another initialisation draws the magnitude too.
    dora = dora and source.config.get("init_lora_weights", True) is True
    return bool(rows and dora and tensors) and _magnitude(delta, tensors) is None


def without_magnitudes(source: Source) -> list[Notice]:
    """That a file of DoRA lacks magnitudes, and what PEFT takes for them."""
    names = [d.tensors[0] for d in source.deltas if _lacks_magnitude(source, d, source.tensors)]
    if not names:
        return []
    text = (
        f"{counted(len(names), 'module')} of DoRA without a magnitude in the file ({names[0]}): PEFT loads "
        "them with the norms of the base's rows; save the adapter again where others were trained"
    )
    return [Notice("half_saved", text, names[0])]


def _through_peft(source: Source, tensors: Mapping[str, LazyTensor], base: WholeModel) -> Iterator[Delta]:
    """A delta for every linear layer that the adapter has tensors of."""
    modules: dict[str, dict[str, LazyTensor]] = {}
    shared: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        plain = strip_wrappers(name).removeprefix("base_model.")
        if plain.startswith(_SHARED):
            shared[plain] = tensor
            continue
        if (module := _module_of(plain, base)) is not None:
            modules.setdefault(module, {})[plain.removeprefix(f"{module}.")] = tensor
    for module, parts in modules.items():
        if any(is_saved_whole(f".{part}") for part in parts) or all(map(_BIAS.search, parts)):
            continue
        share = _share(shared, module)
        yield from _layer(source, module, parts, share, base)


def _layer(
    source: Source,
    module: str,
    parts: Mapping[str, LazyTensor],
    share: Mapping[str, LazyTensor],
    base: WholeModel,
) -> Iterator[Delta]:
    """What PEFT's merge adds to one weight, and to its bias where it changes that."""
    weight, bias = base.tensors[f"{module}.weight"], base.tensors.get(f"{module}.bias")
    turned = source.config.get("fan_in_fan_out") is True
    d_out, d_in = weight.shape[::-1] if turned else weight.shape
    matrix = Base(weight, turned)
    column = None if bias is None or not is_float(bias) else Base(bias)
    layer = Layer(
        source.config, module, parts,
        weight=lambda: matrix.matrix((d_out, d_in)).astype(np.float32),
        bias=lambda: None if column is None else column.matrix((d_out, 1))[:, 0].astype(np.float32),
        file=source.location, shared=share,
    )  # fmt: skip
    delta = Delta(
        address=parse(module), component_name="", method=str(source.config["peft_type"]).lower(),
        d_out=d_out, d_in=d_in, rank=None, alpha=None, scale=1.0,
        tensors=tuple(tensor.name for tensor in (*parts.values(), *share.values())),
        open=layer.difference, base=matrix,
    )  # fmt: skip
    yield delta
    if column is not None and layer.changes_bias():
        address = parse(f"{module}.bias")
        yield replace(delta, address=address, d_in=1, open=layer.bias_difference, base=column)


def _share(shared: Mapping[str, LazyTensor], module: str) -> dict[str, LazyTensor]:
    """The tensors of FRoD that modules of one kind have in common, named by the end of their paths."""
    path = module.replace(".", "_")
    kinds = {name: name.partition(".")[2] for name in shared}
    return {name: shared[name] for name, kind in kinds.items() if f"_{path}".endswith(f"_{kind}")}


def _module_of(name: str, base: WholeModel) -> str | None:
    """The longest module that a parameter's name begins with and that is a matrix in the base."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:end])
        tensor = base.tensors.get(f"{module}.weight")
        if tensor is not None and len(tensor.shape) == 2 and is_float(tensor):
            return module
    return None
