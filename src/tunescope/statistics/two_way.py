"""Tables of layers by kinds of weight: the level of each layer and each kind, and what is left."""

from dataclasses import dataclass

import numpy as np

from tunescope.statistics.types import Bool, Float64, Int64

# Kinds of weight that a layer must have for its own level to be told from that of one of its cells.
LEAST_KINDS = 3
_SWEEPS, _TOLERANCE = 200, 1e-9


@dataclass(frozen=True, eq=False)
class Fit:
    """Least squares `log v = layer + kind` over the observed cells of `(layers, kinds)`.

    `expected` is the fitted table, defined wherever layer and kind have one; `leverage` of an observed cell
    is how much of its own value it expects, in [0, 1).
    """

    expected: Float64
    leverage: Float64


def two_way(logs: Float64) -> Fit:
    """Fit a level to every layer and every kind; cells of NaN are not there.

    A layer of fewer than three kinds has no level of its own: it could not be told from its cells.
    """
    seen = np.isfinite(logs)
    counts = seen.sum(axis=1)
    free = counts >= LEAST_KINDS
    filled = np.where(seen, logs, 0.0)
    layer, kind = np.zeros(logs.shape[0]), np.zeros(logs.shape[1])
    per_kind, per_layer = np.maximum(seen.sum(axis=0), 1), np.maximum(counts, 1)
    for _ in range(_SWEEPS):
        before = kind
        kind = ((filled - layer[:, None]) * seen).sum(axis=0) / per_kind
        layer = np.where(free, ((filled - kind) * seen).sum(axis=1) / per_layer, 0.0)
        if np.abs(kind - before).max(initial=0.0) < _TOLERANCE:
            break
    of_layer = np.where(free, 1 / per_layer, 0.0)[:, None]
    # Exact for a full table; the overlap of the two shares is one degree of freedom in all.
    leverage = of_layer + 1 / per_kind - of_layer / per_kind
    return Fit(layer[:, None] + kind, np.minimum(leverage, 1 - 1e-6))


def common_block(seen: Bool, slack: float = 0.1) -> tuple[Int64, Int64]:
    """Layers and kinds of a full table inside one with gaps: `(l,)` and `(k,)` indices.

    As many layers as share any kinds, and of such sets the one with the most kinds; up to `slack` of the
    layers are given up for more kinds. So kinds that only some layers have do not enter a comparison of
    layers.

    >>> seen = np.array([[1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]], dtype=bool)
    >>> [found.tolist() for found in common_block(seen)]
    [[0, 1, 2, 3], [0, 1]]
    """
    if seen.all():
        return np.arange(seen.shape[0]), np.arange(seen.shape[1])
    rows = seen[seen.any(axis=1)]
    if not len(rows):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    patterns = np.unique(np.vstack([rows, rows.all(axis=0)]), axis=0)
    patterns = patterns[patterns.any(axis=1)]
    covers = np.array([(rows | ~pattern).all(axis=1).sum() for pattern in patterns])
    enough = covers >= (1 - slack) * covers.max()
    sizes = np.where(enough, patterns.sum(axis=1) * (len(rows) + 1) + covers, -1)
    pattern = patterns[int(np.argmax(sizes))]
    return np.flatnonzero((seen | ~pattern).all(axis=1)), np.flatnonzero(pattern)
