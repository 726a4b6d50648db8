"""φ against its definition, bases against dense SVDs, chance against simulation."""

import numpy as np
import pytest

from tunescope.linalg import overlap


def factors(seed: int, d_out: int = 40, d_in: int = 30, r: int = 6) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.standard_normal((d_out, r)), random.standard_normal((r, d_in))


def by_loops(U: np.ndarray, V: np.ndarray) -> np.ndarray:
    """‖U_iᵀ V_j‖²_F / min(i, j), one pair at a time, as the definition reads."""
    return np.array(
        [
            [np.linalg.norm(U[:, :i].T @ V[:, :j]) ** 2 / min(i, j) for j in range(1, V.shape[1] + 1)]
            for i in range(1, U.shape[1] + 1)
        ]
    )


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("of", ["delta", "factor"])
def test_phi_equals_the_definition_by_loops(side: int, of: str) -> None:
    name = of if of == "delta" else "AB"[side]
    a, b = (overlap.product_bases(*factors(seed, r=r))[side] for seed, r in ((0, 6), (1, 4)))
    grid = overlap.phi_grid(overlap.cosines(a, b, name, name))
    np.testing.assert_allclose(grid, by_loops(a.directions(name), b.directions(name)), atol=1e-10)


def test_the_leading_directions_span_what_a_dense_svd_of_the_product_does() -> None:
    B, A = factors(3)
    U, values, Vt = np.linalg.svd(B @ A)
    right, left = overlap.product_bases(B, A)
    np.testing.assert_allclose(left.values["delta"], values[:6], rtol=1e-10)
    for k in range(1, 7):
        for basis, dense in ((left, U), (right, Vt.T)):
            found = basis.directions("delta", k)
            np.testing.assert_allclose(found @ found.T, dense[:, :k] @ dense[:, :k].T, atol=1e-9)


def test_a_factors_own_directions_are_those_of_its_dense_svd() -> None:
    B, A = factors(4)
    right, left = overlap.product_bases(B, A)
    for found, dense in (
        (right.directions("A", 2), np.linalg.svd(A)[2][:2].T),
        (left.directions("B", 2), np.linalg.svd(B)[0][:, :2]),
    ):
        np.testing.assert_allclose(found @ found.T, dense @ dense.T, atol=1e-9)


@pytest.mark.parametrize(
    "columns",
    [
        np.array([[1.0, 1.0], [1.0, 1.0 + 1e-9], [0.0, 0.0]]),
        np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]),
        np.array([[1e-200, 3.0], [1e-200, 1.0], [0.0, 2.0]]),
        np.ones((2, 3)),
    ],
)
def test_nearly_dependent_zero_tiny_and_wide_columns_still_give_orthonormal_ones(columns: np.ndarray) -> None:
    Q, R = overlap.orthonormal(columns)
    np.testing.assert_allclose(Q.T @ Q, np.eye(Q.shape[1]), atol=1e-12)
    np.testing.assert_allclose(Q @ R, columns, atol=1e-12)


def test_ill_conditioned_factors_keep_orthogonality() -> None:
    random = np.random.default_rng(0)
    M = np.linalg.qr(random.standard_normal((200, 8)))[0] * 10.0 ** -np.arange(0, 16, 2)
    Q, R = overlap.orthonormal(M @ np.linalg.qr(random.standard_normal((8, 8)))[0])
    np.testing.assert_allclose(Q.T @ Q, np.eye(8), atol=1e-12)
    assert np.isfinite(R).all()


@pytest.mark.parametrize("size", [1e-160, 1e160])
def test_extreme_sizes_neither_overflow_nor_lose_rank(size: float) -> None:
    B, A = factors(5)
    plain, extreme = overlap.product_bases(B, A)[0], overlap.product_bases(B * size, A)[0]
    assert extreme.rank("delta") == 6
    np.testing.assert_allclose(extreme.values["delta"], plain.values["delta"] * size, rtol=1e-9)


def test_the_basis_ends_at_the_numerical_rank() -> None:
    B, A = factors(6)
    B[:, 3:] = B[:, :3]
    right, left = overlap.product_bases(B, A)
    assert right.rank("delta") == left.rank("B") == 3
    assert right.rank("A") == 6
    assert overlap.product_bases(B * 0, A)[1].rank("delta") == 0


def test_chance_and_its_deviation_agree_with_simulation() -> None:
    random, d, i, j = np.random.default_rng(7), 20, 3, 5
    U = np.linalg.qr(random.standard_normal((4000, d, i)))[0]
    V = np.linalg.qr(random.standard_normal((4000, d, j)))[0]
    phi = (np.einsum("ndi,ndj->nij", U, V) ** 2).sum(axis=(1, 2)) / i
    mean, deviation = overlap.chance_grid(i, j, d)
    assert abs(phi.mean() - mean[-1, -1]) < 4 * deviation[-1, -1] / np.sqrt(4000)
    assert phi.std() == pytest.approx(deviation[-1, -1], rel=0.05)


def test_chance_has_no_deviation_where_one_subspace_is_the_whole_space() -> None:
    mean, deviation = overlap.chance_grid(4, 2, 4)
    assert mean[-1, -1] == 1.0
    assert deviation[-1, -1] == 0.0
    assert deviation[0, 0] > 0


def test_gaussian_adapters_give_z_of_mean_0_and_deviation_1() -> None:
    """Over independent pairs, at every cell of the grid."""
    mean, deviation = overlap.chance_grid(4, 3, 40)
    draws = []
    for seed in range(300):
        a = overlap.product_bases(*factors(2 * seed, r=4))[1]
        b = overlap.product_bases(*factors(2 * seed + 1, r=3))[1]
        draws.append((overlap.phi_grid(overlap.cosines(a, b, "delta", "delta")) - mean) / deviation)
    z = np.array(draws)
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(300)
    assert np.abs(z.std(axis=0) - 1).max() < 0.25


@pytest.mark.parametrize("shared", [0, 1, 3, 6])
def test_a_planted_shared_subspace_is_found_at_its_dimension(shared: int) -> None:
    random = np.random.default_rng(shared)
    common = random.standard_normal((200, shared))
    spans = []
    for _ in range(2):
        own = random.standard_normal((200, 8 - shared))
        mixed = np.hstack([common, own]) @ random.standard_normal((8, 8))
        spans.append(np.linalg.qr(mixed)[0])
    principal = overlap.principal_cosines(spans[0].T @ spans[1])
    assert overlap.shared_dimensions(principal, 8, 8, 200) == shared


def test_directions_that_overfill_the_space_are_not_called_shared() -> None:
    random = np.random.default_rng(0)
    a, b = (np.linalg.qr(random.standard_normal((10, k)))[0] for k in (8, 6))
    principal = overlap.principal_cosines(a.T @ b)
    assert (principal[:4] > 1 - 1e-9).all()
    assert overlap.shared_dimensions(principal, 8, 6, 10) == 0


def test_the_chance_edge_bounds_the_principal_angles_of_random_subspaces() -> None:
    random = np.random.default_rng(1)
    top = []
    for _ in range(50):
        a, b = (np.linalg.qr(random.standard_normal((300, k)))[0] for k in (30, 20))
        top.append(overlap.principal_cosines(a.T @ b)[0] ** 2)
    edge = overlap.chance_edge(30, 20, 300)
    assert 0.85 * edge < np.mean(top) < edge


def test_repeated_singular_values_are_told() -> None:
    B = np.linalg.qr(np.random.default_rng(0).standard_normal((20, 4)))[0] * np.array([3.0, 1.0, 1.0, 0.5])
    right, _ = overlap.product_bases(B, np.eye(4, 10))
    assert overlap.tied(right.values["delta"], 4).tolist() == [False, True, False, False]


def test_torch_gives_the_same_grids() -> None:
    torch = pytest.importorskip("torch")
    grids = []
    for convert in (np.asarray, torch.tensor):
        a, b = (overlap.product_bases(*map(convert, factors(seed)))[1] for seed in (0, 1))
        grids.append(overlap.phi_grid(overlap.cosines(a, b, "B", "B")))
    np.testing.assert_allclose(grids[0], grids[1], atol=1e-10)
