"""Two whole models → one delta for every weight that both have, and a ledger of every tensor of either."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from tunescope.address import Address, component_names, distinct_addresses, parse
from tunescope.delta import Delta, Dense, Pair, Stretch, Update, Values
from tunescope.errors import BadInput, Notice
from tunescope.source.as_loaded import as_loaded
from tunescope.source.expert_weights import FUSED, TURNED
from tunescope.source.files.tensors import Entry, LazyTensor, Ledger, is_float
from tunescope.source.in_parts import PartsLedger, in_parts
from tunescope.source.matching import matched, place
from tunescope.source.quantised import packed, quantised
from tunescope.source.scaled import PART
from tunescope.source.stored import stored_turned
from tunescope.source.tied import tied_heads
from tunescope.source.unmatched import RENAMED, in_other_words, refuse_unmatched
from tunescope.source.whole import WholeModel
from tunescope.words import counted, first

METHOD = "full"
_FUSED_BIASES = re.compile(r"(^|\.)experts\.[A-Za-z_]\w*[._]bias$")


@dataclass(frozen=True, eq=False)
class Pairing:
    """What two models make together.

    `deltas` are the weights that both have in one shape, `incomparable` those of which there is no ΔW, each
    with a status that says why; `coverage` and `base_coverage` have a line for every tensor of either model.
    """

    deltas: tuple[Delta, ...]
    incomparable: tuple[Delta, ...]
    coverage: tuple[Entry, ...]
    base_coverage: tuple[Entry, ...]
    notices: tuple[Notice, ...] = ()


def pair_models(base: WholeModel, tuned: WholeModel, *, align_vocab: bool = False) -> Pairing:
    """Pair the tensors of two models by name, by wrapper prefix, by suffix and shape.

    Tied weights count once. A table of another length is a row with a status, compared over the rows that
    both have only where `align_vocab` asks for it. Raises `BadInput` where nothing fits.
    """
    both = _Both(base, tuned, align_vocab)
    found = list(both.deltas())
    if not any(delta.pair is not None for delta in found):
        refuse_unmatched(base, tuned, found)
    both.account()
    named = _named(found)
    return Pairing(
        tuple(d for d in named if d.pair is not None),
        tuple(d for d in named if d.pair is None),
        both.mine.close(),
        both.other.close(),
        (*both.mine.notices, *both.other.notices),
    )


class _Both:
    """Two models side by side, with what became of the tensors of either."""

    def __init__(self, base: WholeModel, tuned: WholeModel, align_vocab: bool) -> None:
        self.whole, self.align_vocab = (base, tuned), align_vocab
        config = tuned.config or base.config
        (base, of_base), (tuned, of_tuned) = as_loaded(base, config), as_loaded(tuned, config)
        self.base, parts_of_base = in_parts(base, tuned)
        self.tuned, parts_of_tuned = in_parts(tuned, base)
        base, tuned = self.base, self.tuned
        self.mine = PartsLedger(self.whole[1].tensors, whole=_through(parts_of_tuned, of_tuned))
        self.other = PartsLedger(self.whole[0].tensors, whole=_through(parts_of_base, of_base))
        self.kind = str(tuned.config.get("model_type") or base.config.get("model_type") or "")
        places = ({n: place(n, t.shape) for n, t in m.tensors.items()} for m in (tuned, base))
        self.theirs = matched(*places)
        self.tied = tied_heads(base, tuned, self.theirs)

    def deltas(self) -> Iterator[Delta]:
        for name, tensor in self.tuned.tensors.items():
            if name in self.tied.counted:
                continue
            if name in self.tied.untied:
                table = self.tied.untied[name]
                yield from self._compared(name, table, f"tied in the base: compared with {table}")
            elif name in self.theirs:
                yield from self._paired(name, self.theirs[name])
            elif is_float(tensor) and (why := packed(name.removesuffix(".weight"), self.base.tensors)):
                yield self._incomparable(name, None, why)
        yield from self._packed_here()

    def _packed_here(self) -> Iterator[Delta]:
        """Weights of the base that the tuned model holds packed under other names."""
        known = {*self.theirs.values(), *self.tied.counted_in_base}
        for name, tensor in self.base.tensors.items():
            why = packed(name.removesuffix(".weight"), self.tuned.tensors)
            if name not in known and why and is_float(tensor):
                self.other.left([name], why)
                yield _bare(name, tensor.shape, self.kind, why)

    def _paired(self, name: str, base_name: str) -> Iterator[Delta]:
        tensor, there = self.tuned.tensors[name], self.base.tensors[base_name]
        why = quantised(name, self.tuned.tensors) or quantised(base_name, self.base.tensors)
        if why == PART:
            return
        if why:
            yield self._incomparable(name, base_name, why)
        elif tensor.lacking or there.lacking or (is_float(tensor) and is_float(there)):
            yield from self._compared(name, base_name, "ok")
        else:
            self._leave(name, base_name, f"no weight: {tensor.dtype}")

    def _compared(self, name: str, base_name: str, status: str) -> Iterator[Delta]:
        tensor, there = self.tuned.tensors[name], self.base.tensors[base_name]
        if lacking := tensor.lacking or there.lacking:
            yield self._incomparable(name, base_name, lacking)
            return
        shape, pair = tensor.shape, Pair(there, tensor)
        if tensor.shape != there.shape:
            shape, status, resized = _resized(tensor, there, self.align_vocab)
            if resized is None:
                yield self._incomparable(name, base_name, status)
                return
            pair = resized
        self.mine.used([name])
        self.other.used([base_name])
        yield from _rows(name, shape, pair, self.kind, status)

    def _incomparable(self, name: str, base_name: str | None, why: str) -> Delta:
        self._leave(name, base_name, why)
        return _bare(name, self.tuned.tensors[name].shape, self.kind, why)

    def _leave(self, name: str, base_name: str | None, why: str) -> None:
        self.mine.left([name], why)
        if base_name is not None:
            self.other.left([base_name], why)

    def account(self) -> None:
        """A reason for every tensor that no delta claimed."""
        for head, table in self.tied.counted.items():
            self._leave(head, self.theirs.get(head), f"tied to {table}: counted once")
        for head, table in self.tied.counted_in_base.items():
            self.other.left([head], f"tied to {table}: counted once")
        here = _rest(self.mine, "only in the tuned model", self.whole[1])
        there = _rest(self.other, "only in the base", self.whole[0])
        if here and there:
            # One of a kind is new or gone; layers that both lack are called, or stacked, otherwise.
            text = (
                f"{counted(len(here), 'weight')} in layers of the tuned model ({first(here, 2)}) and "
                f"{len(there)} of the base ({first(there, 2)}) have no counterpart by name, prefix and "
                "shape: they are not compared"
            )
            mine, theirs = self.whole[1].tensors, self.whole[0].tensors
            if same := in_other_words({n: theirs[n] for n in there}, {n: mine[n] for n in here}):
                stand = "stands" if len(same) == 1 else "stand"
                text = f"{text}; {len(same):,} of them {stand} at one place under two names: {RENAMED}"
            self.mine.notice("unpaired", text)


def _through(parts: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """The file's tensor of every part and of every name that the loader gives."""
    return {**names, **{part: names.get(name, name) for part, name in parts.items()}}


def _rest(ledger: Ledger, reason: str, model: WholeModel) -> list[str]:
    """Give every tensor without a fate its reason; returns the weights in layers among them."""
    rest = ledger.unclaimed()
    for name in rest:
        tensor = model.tensors[name]
        plain = reason if is_float(tensor) else tensor.lacking or f"{reason}; {tensor.dtype}, no weight"
        ledger.left([name], quantised(name, model.tensors) or plain)
    return [n for n in rest if is_float(model.tensors[n]) and parse(n).layer is not None]


def paired_delta(name: str, tensor: LazyTensor, there: Values, base: WholeModel) -> Delta:
    """The difference of one tensor from the base's, for weights that an adapter saved whole."""
    kind = str(base.config.get("model_type") or "")
    address = parse(name)
    turned = stored_turned(name, address, tensor.shape, kind)
    return _delta(name, address, tensor.shape, turned, "ok", Pair(there, tensor))


def saved_delta(
    name: str, tensor: LazyTensor, there: LazyTensor, base: WholeModel, align_vocab: bool
) -> Delta:
    """The same of a tensor that may have another shape than the base's: without `pair` where it has."""
    if tensor.shape == there.shape:
        return paired_delta(name, tensor, there, base)
    kind, address = str(base.config.get("model_type") or ""), parse(name)
    shape, status, pair = _resized(tensor, there, align_vocab)
    return _delta(name, address, shape, stored_turned(name, address, shape, kind), status, pair)


def _resized(
    tensor: LazyTensor, there: LazyTensor, align_vocab: bool
) -> tuple[tuple[int, ...], str, Pair | None]:
    """Shape, status and pair of what two tensors of unlike shape have in common; no pair without rows."""
    rows = _common_rows(tensor.shape, there.shape)
    why = f"shapes differ: {_spelled(there.shape)} in the base, {_spelled(tensor.shape)} here"
    if rows is None or not align_vocab:
        return tensor.shape, why, None
    shape = (rows, *tensor.shape[1:])
    length = math.prod(shape)
    pair = Pair(Stretch(there, 0, length), Stretch(tensor, 0, length))
    return shape, f"the first {rows} rows; {why}", pair


def _common_rows(a: tuple[int, ...], b: tuple[int, ...]) -> int | None:
    """How many rows two tables share where only their lengths differ."""
    return min(a[0], b[0]) if len(a) == len(b) and len(a) in (1, 2) and a[1:] == b[1:] else None


def _rows(name: str, shape: tuple[int, ...], pair: Pair, kind: str, status: str) -> Iterator[Delta]:
    """One delta for a weight, one for each expert of a fused tensor."""
    address = parse(name)
    biases = len(shape) == 2 and _FUSED_BIASES.search(name) is not None
    if biases or (len(shape) == 3 and FUSED.search(name)):
        size = math.prod(shape[1:])
        for expert in range(shape[0]):
            begin = expert * size
            part = Pair(Stretch(pair.before, begin, size), Stretch(pair.after, begin, size))
            of = replace(address, expert=expert)
            turned = kind in TURNED and not biases
            yield _delta(name, of, shape[1:], turned, status, part)
        return
    yield _delta(name, address, shape, stored_turned(name, address, shape, kind), status, pair)


def _delta(
    name: str, address: Address, shape: tuple[int, ...], turned: bool, status: str, pair: Pair | None
) -> Delta:
    rows, columns = (shape[0] if shape else 1), math.prod(shape[1:])
    d_out, d_in = (columns, rows) if turned else (rows, columns)
    pair = None if pair is None else replace(pair, turned=turned)
    return Delta(
        address=address, component_name="", method=METHOD, d_out=d_out, d_in=d_in, rank=None, alpha=None,
        scale=1.0, tensors=(name,), open=partial(_difference, pair, name, (rows, columns), turned),
        status=status, pair=pair,
    )  # fmt: skip


def _bare(name: str, shape: tuple[int, ...], kind: str, why: str) -> Delta:
    """A weight of which there is no ΔW, and why."""
    address = parse(name)
    return _delta(name, address, shape, stored_turned(name, address, shape, kind), why, None)


def _difference(pair: Pair | None, name: str, shape: tuple[int, int], turned: bool) -> Update:
    """ΔW as a matrix: float32 where both are stored in at most 16 bits, else float64."""
    if pair is None:
        text = "there is no ΔW of this weight"
        raise BadInput(
            "incomparable",
            text,
            tensor=name,
            expected="the same weight in both models",
            fix="name the base that this model was tuned from",
        )
    before, after = (values.part(0, values.size) for values in (pair.before, pair.after))
    wide = np.float32 if max(before.dtype.itemsize, after.dtype.itemsize) <= 2 else np.float64
    matrix = (after.astype(wide) - before.astype(wide)).reshape(shape)
    return Dense(np.ascontiguousarray(matrix.T) if turned else matrix)


def _named(deltas: list[Delta]) -> list[Delta]:
    addresses = distinct_addresses([delta.address for delta in deltas])
    names = component_names(addresses)
    return [
        replace(delta, address=address, component_name=name)
        for delta, address, name in zip(deltas, addresses, names, strict=True)
    ]


def _spelled(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a scalar"
