"""One weight of many models in blocks that fit into memory, and the inner products of two such blocks."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Array, Delta, Factored, Update
from tunescope.linalg import gram
from tunescope.linalg.products import Each, Stack, cosines, stacked
from tunescope.linalg.spectra import product_norms
from tunescope.measure.similarity import inner, norm, scale_of

Float64 = NDArray[np.float64]

# Bytes of the updates of one block; two are held at a time, each beside a copy in float64.
BUDGET = 1 << 27
# Products of a larger spread lose digits to float32's sums.
_SPREAD = 3.0
# Updates whose norms are taken at once, from a copy of their factors.
_TOGETHER = 64


@dataclass(frozen=True, eq=False)
class Block:
    """The opened updates of some models, their norms ‖ΔW‖ with scale, and digests of what they hold."""

    updates: Sequence[Update]
    exact: bool

    @cached_property
    def norms(self) -> Float64:
        """‖ΔW‖_F of every update, `(n,)`; an unknown scale counts as one."""
        shapes = {tuple(array.shape for array in _arrays(update)) for update in self.updates}
        if len(shapes) > 1 or not isinstance(self.updates[0], Factored) or min(*shapes.pop()[0]) == 0:
            return np.array([norm(update) for update in self.updates])
        factors = [(u.B, u.A) for u in self.updates if isinstance(u, Factored)]
        parts = [product_norms(factors[i : i + _TOGETHER]) for i in range(0, len(factors), _TOGETHER)]
        return np.abs(self._scales) * np.concatenate(parts)

    @cached_property
    def contents(self) -> list[bytes | None]:
        """A digest of scale and values, the same for equal updates; `None` where a value is NaN."""
        return [_content(update) for update in self.updates]

    def inner(self, other: "Block", each: Each) -> Float64:
        """⟨ΔW, ΔW'⟩ `(n, n')` of the updates of two blocks, or of one with itself."""
        factored = all(isinstance(update, Factored) for update in (*self.updates, *other.updates))
        if not factored:
            return self._one_by_one(other)
        stacks = self._stacks(other)
        with np.errstate(all="ignore"):
            sizes = np.outer(self.norms * self._signs, other.norms * other._signs)
            return np.asarray(cosines(*stacks, each) * sizes)

    def _one_by_one(self, other: "Block") -> Float64:
        if other is not self:
            return np.array([[inner(a, b) for b in other.updates] for a in self.updates])
        found = np.diag(self.norms**2)
        for j, update in enumerate(self.updates):
            for i in range(j):
                found[i, j] = found[j, i] = inner(self.updates[i], update)
        return found

    def _stacks(self, other: "Block") -> tuple[Stack, Stack]:
        if self.exact:
            return self._wide, other._wide
        narrow = self._narrow, other._narrow
        return narrow if max(s.spread for s in narrow) <= _SPREAD else (self._wide, other._wide)

    @cached_property
    def _wide(self) -> Stack:
        return self._stack(True)

    @cached_property
    def _narrow(self) -> Stack:
        return self._stack(False)

    def _stack(self, exact: bool) -> Stack:
        factors = [(u.B, u.A) for u in self.updates if isinstance(u, Factored)]
        scales = np.abs(self._scales)
        unscaled = np.divide(self.norms, scales, out=np.zeros_like(scales), where=scales > 0)
        return stacked(factors, unscaled.tolist(), exact)

    @cached_property
    def _scales(self) -> Float64:
        return np.array([scale_of(update) for update in self.updates])

    @property
    def _signs(self) -> Float64:
        return np.where(self._scales < 0, -1.0, 1.0)


def blocks(deltas: Sequence[Delta], exact: bool) -> Iterator[Block]:
    """All updates, read one block after the other."""
    held: list[Update] = []
    size = 0
    for delta in deltas:
        update = delta.open()
        if held and size + _bytes(update) > BUDGET:
            yield Block(held, exact)
            held, size = [], 0
        held.append(update)
        size += _bytes(update)
    if held:
        yield Block(held, exact)


def _arrays(update: Update) -> tuple[Array, ...]:
    return (update.B, update.A) if isinstance(update, Factored) else (update.matrix,)


def _bytes(update: Update) -> int:
    return 8 * sum(array.size for array in _arrays(update))


def _content(update: Update) -> bytes | None:
    digest = hashlib.blake2b(repr(update.scale if update.scale is None else update.scale + 0.0).encode())
    for array in _arrays(update):
        values = gram.wide(array)
        if values.dtype == np.float64 and np.array_equal(values, narrow := values.astype(np.float32)):
            values = narrow
        # +0 and −0 are equal; adding 0 makes them one.
        values = np.ascontiguousarray(values) + 0
        if np.isnan(values).any():
            return None
        digest.update(repr((values.dtype.str, values.shape)).encode())
        digest.update(values.data)
    return digest.digest()
