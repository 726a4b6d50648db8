"""Values that two whole models changed alike: no finding where rounding alone decides, however few moved."""

import numpy as np

from tunescope.linalg.changed import EDGE, Common, common_changes
from tunescope.linalg.rounding import rounded
from tunescope.questions.norms.changed import same_values


def rounding_alone(seed: int, size: int = 128, step: float = 3e-6) -> Common:
    """Two trainings whose steps are so small that |w| alone says which values move."""
    rng = np.random.default_rng(seed)
    W = rounded((0.02 * rng.standard_normal((size, size))).astype(np.float32), "bfloat16")
    a, b = (rounded(W + (step * rng.choice([-1, 1], W.shape)).astype(np.float32), "bfloat16") for _ in "ab")
    return common_changes(a != W, b != W, np.abs(W))


def test_two_small_weights_whose_few_moved_values_rounding_decides_are_no_finding() -> None:
    found = [same_values("a", "b", [rounding_alone(seed), rounding_alone(seed + 1000)]) for seed in range(40)]
    assert not any(found)


def test_the_chance_of_a_weight_is_short_by_at_most_what_a_bin_at_the_edge_hides() -> None:
    counts = [rounding_alone(seed) for seed in range(40)]
    assert max(c.both - c.given_weight for c in counts) <= EDGE


def test_values_chosen_in_common_are_found_and_the_excess_asked_for_is_told() -> None:
    (found,) = same_values("a", "b", [Common(10_000, 1_000, 1_200, 600, 120.0, 130.0)])
    assert found.kind == "same_values"
    assert found.evidence["least_excess"] == 0.05 + EDGE / 1_000
    assert found.evidence["excess"] == 0.47
    assert same_values("a", "b", [Common(10_000, 100, 120, 60, 1.2, 13.0)]) == []
