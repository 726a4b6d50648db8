"""The yardstick: an interpolated Kneser-Ney bigram model, counted on the model's training tokens."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Bigram:
    """P(w|v) = max(c(vw) - D, 0)/c(v) + D·N₁₊(v·)/c(v) · P_c(w), with P_c(w) ∝ N₁₊(·w) + ½.

    D = n₁/(n₁ + 2 n₂) (Kneser & Ney 1995; Chen & Goodman 1999).
    The half keeps tokens that were never seen from having probability zero.
    """

    counts: Numbers
    discount: float

    @classmethod
    def fit(cls, stream: Numbers, vocabulary: int) -> "Bigram":
        pairs = stream[:-1].astype(np.int64) * vocabulary + stream[1:]
        counts = np.bincount(pairs, minlength=vocabulary**2).reshape(vocabulary, vocabulary)
        once, twice = int((counts == 1).sum()), int((counts == 2).sum())
        return cls(counts, once / (once + 2 * twice))

    def losses(self, ids: Numbers) -> Numbers:
        """Negative log-probabilities in nats of every token after the first, each given the one before it."""
        seen = self.counts > 0
        continuation = seen.sum(axis=0) + 0.5
        continuation = continuation / continuation.sum()
        before, after = ids[:-1].astype(np.int64), ids[1:].astype(np.int64)
        total, kinds = self.counts.sum(axis=1)[before], seen.sum(axis=1)[before]
        exact = np.maximum(self.counts[before, after] - self.discount, 0) / np.maximum(total, 1)
        backoff = np.where(total > 0, self.discount * kinds / np.maximum(total, 1), 1.0)
        return np.asarray(-np.log(exact + backoff * continuation[after]))
