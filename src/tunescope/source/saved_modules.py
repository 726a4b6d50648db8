"""Modules and biases that an adapter saved whole: their difference from the base's, or why there is none."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tunescope.address import parse
from tunescope.delta import Delta
from tunescope.source.files.tensors import Entry, LazyTensor, is_float
from tunescope.source.formats.names import strip_wrappers
from tunescope.source.opened import Source
from tunescope.source.pairing import saved_delta
from tunescope.source.tied import is_head, says_untied, table_of
from tunescope.source.whole import WholeModel

_SAVED = re.compile(r"^(saved module|saved embedding layer|bias)\b")
_COPY = re.compile(r"\.(original_module\.|base_layer\.(?!bias$))")
_WRAPPED = re.compile(r"\.(modules_to_save|ln_tuning_layers)(\.[A-Za-z_]\w*)?(?=\.(weight|bias)$)")


@dataclass(frozen=True)
class Saved:
    """`deltas` of what the base has in one shape, `incomparable` of what it has in another.

    `reasons` are those of the tensors that are part of no ΔW, by their names in the file.
    """

    deltas: list[Delta]
    incomparable: list[Delta]
    reasons: Mapping[str, str]


def is_saved_whole(name: str) -> bool:
    """Whether a tensor's name is that of a module which was wrapped to be trained whole."""
    return _WRAPPED.search(name) is not None


def saved_modules(
    source: Source, tensors: Mapping[str, LazyTensor], base: WholeModel, align_vocab: bool
) -> Saved:
    """What became of every tensor that was trained whole.

    Of a table of another length the rows that both have are compared where `align_vocab` asks for it.
    """
    found, reasons = [], {}
    for name, tensor in _of(source, tensors):
        plain = _WRAPPED.sub("", strip_wrappers(name)).replace(".base_layer.", ".")
        there = base.tensors.get(plain) or _tied(plain, tensor, base)
        if there is None:
            reasons[name] = "saved whole; not in the base"
        elif not is_float(there):
            reasons[name] = (
                f"saved whole; {there.lacking or f'the base holds it as {there.dtype}, quantised'}"
            )
        else:
            delta = replace(saved_delta(plain, tensor, there, base, align_vocab), tensors=(name,))
            found.append(delta)
            if delta.pair is None:
                reasons[name] = delta.status
    whole: Sequence[Delta] = found
    return Saved([d for d in whole if d.pair], [d for d in whole if d.pair is None], reasons)


def _tied(name: str, tensor: LazyTensor, base: WholeModel) -> LazyTensor | None:
    """The base's table of embeddings that a head saved whole was before, where the two are tied."""
    module = name.removesuffix(".weight")
    if len(tensor.shape) != 2 or not is_head(module) or says_untied(module, base.config):
        return None
    held = {parse(name): there for name, there in base.tensors.items() if len(there.shape) == 2}
    rows, columns = tensor.shape
    table = table_of(parse(name), (rows, columns), {a: there.shape for a, there in held.items()})
    return None if table is None else held[table]


def _of(source: Source, tensors: Mapping[str, LazyTensor]) -> Iterator[tuple[str, LazyTensor]]:
    norms = source.config.get("peft_type") == "LN_TUNING"
    entries: Mapping[str, Entry] = {entry.tensor: entry for entry in source.coverage}
    for name, tensor in tensors.items():
        entry = entries.get(name)
        whole = entry is not None and entry.status != "used" and _SAVED.match(entry.reason)
        if (whole or norms) and not _COPY.search(name) and is_float(tensor):
            yield name, tensor
