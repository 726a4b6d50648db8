"""What of a merged model an update meets: a weight, rows of it, a table that its head is tied to, or none."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tunescope.address import Address
from tunescope.delta import Delta, Factored, Picked
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.stored import is_table
from tunescope.source.tied import is_head, same_values, table_of

# How PEFT calls a factor of a layer that multiplies; that of a table is `lora_embedding_A`.
_LINEAR = ".lora_A"


@dataclass(frozen=True)
class Unread:
    """A weight that an adapter changes and of which a merged model tells nothing, and why."""

    label: str
    component: str
    address: Address
    status: str


def tied_table(delta: Delta, held: Mapping[Address, Delta]) -> Address | None:
    """The table that a head without a weight in the files is tied to, where exactly one fits it."""
    stored = {a: (whole.d_in, whole.d_out) for a, whole in held.items()}
    return table_of(delta.address, (delta.d_out, delta.d_in), stored)


def part_of(whole: Delta, delta: Delta) -> Delta | None:
    """What of a merged model's weight an update changes: all of it, or the rows of trained tokens."""
    if whole.pair is None:
        return None
    if whole.pair.turned and is_table(whole.address) and any(_LINEAR in name for name in delta.tensors):
        # Its name says table, and the adapter's factors that it is applied like any other weight.
        upright = replace(whole.pair, turned=False)
        return part_of(replace(whole, pair=upright, d_out=whole.d_in, d_in=whole.d_out), delta)
    if (delta.d_out, delta.d_in) == (whole.d_out, whole.d_in):
        return whole
    if is_head(delta.address.module_type) and _turned(whole, delta):
        # A table looks up what its head, with the same values, multiplies by.
        pair = replace(whole.pair, turned=not whole.pair.turned)
        return replace(whole, pair=pair, d_out=delta.d_out, d_in=delta.d_in)
    rows = delta.pair.before if delta.pair is not None else None
    if isinstance(rows, Picked) and whole.pair.before.size == rows.values.size:
        before, after = (replace(rows, values=values) for values in (whole.pair.before, whole.pair.after))
        pair = replace(whole.pair, before=before, after=after)
        return replace(whole, pair=pair, d_out=delta.d_out, d_in=delta.d_in)
    return None


def _turned(whole: Delta, delta: Delta) -> bool:
    return (whole.d_in, whole.d_out) == (delta.d_out, delta.d_in)


def alike(part: Delta, other: Delta | None) -> bool:
    """Whether updates of both can be replayed together: of a table and of its head they cannot."""
    return other is None or (part.d_out, part.d_in) == (other.d_out, other.d_in)


def is_transpose(one: Delta, other: Delta) -> bool:
    """Whether two updates are one and the same, of a table as it looks up and of its head as it multiplies.

    PEFT saves both where `ensure_weight_tying` gives both layers one set of factors, or one weight.
    """
    if (one.d_out, one.d_in) != (other.d_in, other.d_out):
        return False
    if one.pair is not None and other.pair is not None:
        a, b = one.pair.after, other.pair.after
        turned = one.pair.turned != other.pair.turned
        return turned and isinstance(a, LazyTensor) and isinstance(b, LazyTensor) and same_values(a, b)
    table, head = one.open(), other.open()
    if not (isinstance(table, Factored) and isinstance(head, Factored)) or table.scale != head.scale:
        return False
    return np.array_equal(table.B, head.A.T) and np.array_equal(table.A, head.B.T)


def why_unread(label: str, there: Address, whole: Delta | None, delta: Delta) -> Unread:
    """The reason why an update cannot be replayed."""
    if whole is None:
        return Unread(label, delta.component_name, there, "not in the merged model")
    if delta.of_other_base:
        why = delta.status
    elif whole.pair is None:
        why = whole.status
    elif part_of(whole, delta) is not None:
        why = "it is changed both as a table and as the head that is tied to it"
    else:
        sizes = f"{whole.d_out}×{whole.d_in} in the merged model, {delta.d_out}×{delta.d_in} in the adapter"
        why = f"shapes differ: {sizes}"
    return Unread(label, whole.component_name, there, why)
