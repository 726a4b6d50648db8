import numpy as np
import polars as pl
import pytest

from tunescope.questions.trajectory.comparison import comparisons

LAYERS = 8


def tables(runs: dict[tuple[str, float], np.ndarray]) -> tuple[pl.DataFrame, pl.DataFrame]:
    by_step, norms = [], []
    for (domain, rate), profile in runs.items():
        run = f"{domain}/{rate}"
        for step in (1, 2):
            values = profile * step / 2
            by_step.append(
                {"run": run, "domain": domain, "learning_rate": rate, "seed": 0, "step": step,
                 "delta_frobenius_norm": float(np.linalg.norm(values))}
            )  # fmt: skip
            norms += [
                {"run": run, "step": step, "layer": i, "delta_frobenius_norm": float(v)}
                for i, v in enumerate(values)
            ]
    return pl.DataFrame(by_step), pl.DataFrame(norms)


UP = np.arange(1.0, LAYERS + 1)


def test_the_domain_that_moved_furthest_is_named_with_its_norm() -> None:
    found = comparisons(*tables({("cpp", 2e-4): UP, ("physics", 2e-4): 3 * UP}), [])
    (furthest,) = [c for c in found if c["kind"] == "furthest"]
    assert furthest["delta_frobenius_norm"]["physics/0.0002"] == pytest.approx(3 * np.linalg.norm(UP))
    assert furthest["text"].startswith("At a learning rate of 2e-4, physics moved the weights furthest")


ROUGH = np.exp(0.5 * np.random.default_rng(0).standard_normal(12))


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        (ROUGH, ROUGH**2, "rank the layers alike"),
        (ROUGH, ROUGH[::-1], "cannot be told"),
        # Two smooth slopes have nothing in common that chance would not give.
        (np.arange(1.0, 13), np.arange(1.0, 13) ** 2, "cannot be told"),
    ],
)
def test_profiles_are_compared_by_rank(one: np.ndarray, other: np.ndarray, says: str) -> None:
    found = comparisons(*tables({("cpp", 2e-4): one, ("physics", 2e-4): other}), [])
    (profiles,) = [c for c in found if c["kind"] == "profiles"]
    assert says in profiles["text"]
    assert "12 layers" in profiles["text"]


def test_rates_of_one_domain_are_held_against_each_other() -> None:
    (found,) = comparisons(*tables({("cpp", 1e-3): 2.5 * UP, ("cpp", 2e-4): UP}), [])
    assert (found["kind"], found["runs"]) == ("rate", ["cpp/0.0002", "cpp/0.001"])
    assert (found["ratio"], found["rate_ratio"]) == (pytest.approx(2.5), pytest.approx(5))


def test_a_single_run_has_nothing_to_be_compared_with() -> None:
    assert comparisons(*tables({("cpp", 2e-4): UP}), []) == []


def test_low_rank_and_full_runs_are_not_mixed() -> None:
    both = tables({("cpp", 2e-4): UP, ("physics", 2e-4): 3 * UP})
    assert comparisons(*both, ["cpp/0.0002"]) == []


def test_small_differences_between_domains_are_called_equal() -> None:
    found = comparisons(*tables({("cpp", 2e-4): UP, ("physics", 2e-4): 1.05 * UP}), [])
    (furthest,) = [c for c in found if c["kind"] == "furthest"]
    assert "about equally far" in furthest["text"]
