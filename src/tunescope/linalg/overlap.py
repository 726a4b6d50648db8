"""How far two subspaces of R^d coincide, for every pair of leading dimensions at once.

One implementation for NumPy and torch arrays: what is of the size `d` stays where it lies, what is of
the size `r` is done in NumPy, where a GPU's solvers are slower than the way there. A factor `M (d, r)` is
held as `Q R` with orthonormal columns; the singular directions of a product are `Q` times a small
rotation, so that two of them meet in one `QᵀQ'` and nothing of the size `d` is computed twice.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A NumPy or a torch array: both sides of this module speak the calls that the two libraries share.
AnyArray = Any
Float64 = NDArray[np.float64]

# A Cholesky factor of a unit-diagonal Gram with a smaller pivot is taken from Householder's QR instead.
_PIVOT = 1e-5
# Singular values that lie closer than this share of the largest have no directions of their own.
TIE = 1e-6
_ROUNDING = float(np.finfo(np.float64).eps)


def namespace(array: AnyArray) -> Any:
    """The library an array belongs to: `numpy` or `torch`."""
    return sys.modules[type(array).__module__.split(".")[0]]


def orthonormal(M: AnyArray) -> tuple[AnyArray, AnyArray]:
    """`Q (d, min(d, r))` with orthonormal columns and `R` such that `M (d, r) = Q R`.

    Cholesky QR twice [Yamamoto et al. 2015], whose work is matrix products; Householder's QR where the
    columns are nearly dependent. A pass of it costs a third of LAPACK's QR at r = 64.

    >>> Q, R = orthonormal(np.array([[3.0, 1.0], [4.0, 2.0], [0.0, 1.0]]))
    >>> bool(np.allclose(Q.T @ Q, np.eye(2)) and np.allclose(Q @ R, [[3, 1], [4, 2], [0, 1]]))
    True
    """
    P, mend, R = _nearly_orthonormal(M)
    return (P if mend is None else P @ mend), R


def _nearly_orthonormal(M: AnyArray) -> tuple[AnyArray, AnyArray | None, AnyArray]:
    """`P`, a small `T` and `R` with `M = P T R` and `P T` orthonormal; `None` stands for T = 1.

    Whoever multiplies by a small matrix next can take T along and save one product of the size of M.
    """
    first = _cholesky(M) if 0 < M.shape[1] <= M.shape[0] else None
    if first is not None:
        P = M @ first[0]
        second = _cholesky(P)
        if second is not None:
            return P, second[0], second[1] @ first[1]
    Q, R = namespace(M).linalg.qr(M)
    return Q, None, R


def _cholesky(M: AnyArray) -> tuple[AnyArray, AnyArray] | None:
    """`R⁻¹` and `R` of `MᵀM = RᵀR`, `None` where the Gram is too near singular for it."""
    xp = namespace(M)
    gram = M.T @ M
    sizes = xp.sqrt(xp.diagonal(gram))
    if not bool(xp.isfinite(gram).all()) or float(sizes.min()) < 1e-140:
        return None
    try:
        lower = xp.linalg.cholesky(gram / (sizes[:, None] * sizes[None, :]))
    except (np.linalg.LinAlgError, RuntimeError):  # torch's own error is a RuntimeError
        return None
    if float(xp.diagonal(lower).min()) < _PIVOT:
        return None
    lower = sizes[:, None] * lower
    return xp.linalg.inv(lower).T, lower.T


@dataclass(frozen=True, eq=False)
class Basis:
    """Orthonormal directions on one side of an update.

    Per matrix that lives on this side (`A` or `B`, and `delta`) a small matrix `(r, k)` that turns the
    columns of `Q (d, r)` into its singular vectors, largest singular value first, and those values,
    only as many as the numerical rank. Where directions were left out, one more value says whether the
    last one kept is unique. Q itself is orthonormal only up to its conditioning.
    """

    Q: AnyArray
    rotations: Mapping[str, Float64] = field(default_factory=dict)
    values: Mapping[str, Float64] = field(default_factory=dict)

    def rank(self, of: str) -> int:
        """How many directions there are: the numerical rank, or as many as were kept."""
        return int(self.rotations[of].shape[1])

    def directions(self, of: str, count: int | None = None) -> Float64:
        """The leading singular vectors themselves, shape `(d, count)`."""
        return to_numpy(self.Q) @ self.rotations[of][:, :count]

    @property
    def d(self) -> int:
        """Dimension of the space."""
        return int(self.Q.shape[0])


def product_bases(B: AnyArray, A: AnyArray, factors: bool = True) -> tuple[Basis, Basis]:
    """Input and output basis of `B A`, `B (d_out, r)` and `A (r, d_in)` in float64, never multiplied out.

    With `B = Q_B R_B`, `Aᵀ = Q_A R_A` and `R_B R_Aᵀ = u Σ vᵀ`, the singular vectors are `Q_B u` and
    `Q_A v`. `factors` adds the right singular vectors of `A` alone and the left ones of `B` alone.
    """
    B, size_B = _unit_size(B)
    A, size_A = _unit_size(A)
    Q_B, T_B, R_B = _nearly_orthonormal(B)
    Q_A, T_A, R_A = _nearly_orthonormal(A.T)
    R_B, R_A = to_numpy(R_B), to_numpy(R_A)
    # What rounding leaves in R_B R_Aᵀ is eps times this sum, whichever gauge the factors are in.
    noise = float((_column_sizes(R_B) * _column_sizes(R_A)).sum())
    u, v, values = _svd(R_B @ R_A.T, noise)
    values = values * size_B * size_A
    output_rotations, output_values = {"delta": u}, {"delta": values}
    input_rotations, input_values = {"delta": v}, {"delta": values}
    if factors:
        output_rotations["B"], _, output_values["B"] = _svd(R_B)
        input_rotations["A"], _, input_values["A"] = _svd(R_A)
    return (
        Basis(Q_A, _mended(T_A, input_rotations), input_values),
        Basis(Q_B, _mended(T_B, output_rotations), output_values),
    )


def _mended(T: AnyArray | None, rotations: Mapping[str, Float64]) -> Mapping[str, Float64]:
    return rotations if T is None else {of: to_numpy(T) @ rotation for of, rotation in rotations.items()}


def _column_sizes(R: Float64) -> Float64:
    sizes: Float64 = np.sqrt((R * R).sum(axis=0))
    return sizes


def _unit_size(M: AnyArray) -> tuple[AnyArray, float]:
    """The matrix and its size 1, or divided by its largest element where products could leave the range."""
    largest = max(float(M.max()), -float(M.min())) if math.prod(M.shape) else 0.0
    extreme = largest > 0 and not 1e-60 < largest < 1e60
    return (M / largest, largest) if extreme else (M, 1.0)


def dense_bases(M: AnyArray, count: int | None = None) -> tuple[Basis, Basis]:
    """Input and output basis of a matrix `(d_out, d_in)` from its SVD, the leading `count` directions."""
    u, v, values = _svd(M)
    k = len(values) if count is None else min(len(values), count)
    bases = [Basis(side[:, :k], {"delta": np.eye(k)}, {"delta": values[: k + 1]}) for side in (v, u)]
    return bases[0], bases[1]


def _svd(M: AnyArray, noise: float = 0.0) -> tuple[AnyArray, AnyArray, Float64]:
    """Left and right singular vectors as columns and the values, cut at the numerical rank."""
    if 0 in M.shape:
        return M[:, :0], M.T[:, :0], np.zeros(0)
    u, s, vt = namespace(M).linalg.svd(M, full_matrices=False)
    values: Float64 = to_numpy(s)
    floor = _ROUNDING * max(*M.shape, 64) * max(values[0], noise)
    rank = int((values > floor).sum())
    return u[:, :rank], vt.T[:, :rank], values[:rank]


def to_numpy(array: AnyArray) -> Float64:
    """The array in NumPy's float64, from whatever device it lies on."""
    plain = array if isinstance(array, np.ndarray) else array.detach().cpu().numpy()
    out: Float64 = plain.astype(np.float64, copy=False)
    return out


def cosines(a: Basis, b: Basis, of_a: str, of_b: str, cross: AnyArray | None = None) -> Float64:
    """`UᵀU'`, shape `(k, k')`: the cosine of every direction of one with every direction of the other.

    `cross` is `Q_aᵀ Q_b` where it is at hand.
    """
    cross = a.Q.T @ b.Q if cross is None else cross
    out: Float64 = a.rotations[of_a].T @ to_numpy(cross) @ b.rotations[of_b]
    return out


def phi_grid(cosine: Float64) -> Float64:
    """φ(i, j) = ‖U_iᵀ U'_j‖_F² / min(i, j) in [0, 1] for all i, j [Hu et al. 2021, eq. 4].

    The squares of `UᵀU'` are summed along both axes, then divided.

    >>> phi_grid(np.array([[1.0, 0.0], [0.0, 0.5]])).tolist()
    [[1.0, 1.0], [1.0, 0.625]]
    """
    sums = np.cumsum(np.cumsum(cosine * cosine, axis=0), axis=1)
    i, j = _dimensions(cosine.shape)
    grid: Float64 = np.minimum(sums / np.minimum(i, j), 1.0)
    return grid


def _dimensions(shape: tuple[int, ...]) -> tuple[Float64, Float64]:
    return np.arange(1.0, shape[0] + 1)[:, None], np.arange(1.0, shape[1] + 1)[None, :]


def chance_grid(rows: int, columns: int, d: int) -> tuple[Float64, Float64]:
    """Mean and standard deviation of φ(i, j) between random subspaces of `R^d`, both `(rows, columns)`.

    Mean max(i, j)/d; deviation √(2ij(d−i)(d−j) / (d²(d−1)(d+2))) / min(i, j), which is zero where one
    of them is the whole space.

    >>> [float(x[0, 0]) for x in chance_grid(1, 1, 2)]
    [0.5, 0.3535533905932738]
    """
    i, j = _dimensions((rows, columns))
    variance = 2 * i * j * (d - i) * (d - j) / (d * d * max(d - 1, 1) * (d + 2.0))
    return np.maximum(i, j) / d, np.sqrt(np.maximum(variance, 0.0)) / np.minimum(i, j)


def excess(phi: float, chance: float) -> float:
    """(φ − chance)/(1 − chance): 0 at chance, 1 at equality; NaN where chance is 1."""
    return (phi - chance) / (1 - chance) if chance < 1 else math.nan


def tied(values: Float64, count: int) -> NDArray[np.bool_]:
    """For k = 1 … count: whether the k leading directions are not unique, as σ_k and σ_{k+1} coincide.

    >>> tied(np.array([3.0, 1.0, 1.0]), 3).tolist()
    [False, True, False]
    """
    gaps = np.full(len(values), math.inf)
    if len(values):
        gaps[:-1] = (values[:-1] - values[1:]) / values[0]
    out: NDArray[np.bool_] = gaps[:count] <= TIE
    return out


def principal_cosines(cosine: Float64) -> Float64:
    """Cosines of the principal angles between the two spans, descending, `min(k, k')` of them."""
    if 0 in cosine.shape:
        return np.zeros(0)
    values = np.asarray(np.linalg.svd(cosine, compute_uv=False), dtype=np.float64)
    return np.minimum(values, 1.0)


def chance_edge(k: int, other: int, d: int) -> float:
    """Upper edge of cos² of the principal angles between random subspaces, (√(a(1−b)) + √(b(1−a)))².

    `a = k/d`, `b = k'/d` [Wachter 1980]; 1 where the two together fill the space.

    >>> round(chance_edge(1, 1, 100), 4)
    0.0396
    """
    a, b = k / d, other / d
    if a + b >= 1:
        return 1.0
    return (math.sqrt(a * (1 - b)) + math.sqrt(b * (1 - a))) ** 2


def shared_dimensions(principal: Float64, k: int, other: int, d: int, threshold: float = 0.5) -> int:
    """How many principal directions have cos² above the chance edge by `threshold` of what is left to 1.

    Directions that two subspaces must share because they overfill the space are not counted.

    >>> shared_dimensions(np.array([1.0, 0.9, 0.1]), 3, 3, 1000)
    2
    """
    edge = chance_edge(k, other, d)
    square = np.asarray(principal) ** 2
    if edge < 1:
        return int((square >= edge + threshold * (1 - edge)).sum())
    return max(int((square > 1 - 1e-9).sum()) - max(k + other - d, 0), 0)
