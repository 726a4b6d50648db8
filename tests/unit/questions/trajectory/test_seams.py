"""Unrelated checkpoints are told whatever their matrices, or it is said that they cannot be."""

import numpy as np
import polars as pl
import pytest

from tunescope.questions.trajectory import layers
from tunescope.questions.trajectory.seams import LEAST_WEIGHTS, seams, untested_turns

STEPS = (10, 20, 40)


def unrelated(seed: int, weights: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """By step, and by step and weight: checkpoints of which every ΔW is a random product of rank 4."""
    random = np.random.default_rng(seed)
    updates = [
        [random.standard_normal((16, 4)) @ random.standard_normal((4, 16)) for _ in range(weights)]
        for _ in STEPS
    ]
    rows = []
    for t, step in enumerate(STEPS):
        for i, update in enumerate(updates[t]):
            before, last = updates[max(t - 1, 0)][i], updates[-1][i]
            size, sizes = np.linalg.norm(update), np.linalg.norm(update) * np.linalg.norm(before)
            rows.append({
                "run": "r", "step": step, "stack": "model", "layer": i, "numel": 256,
                "module_type": "self_attn.q_proj", "family": "attention", "component_name": f"L{i}_ATTN_Q",
                "factor": "W", "reference": "zero", "mean": 0.0, "abs_mean": 1.0, "variance": 1.0,
                "abs_variance": 1.0, "delta_frobenius_norm": size,
                "cosine_to_previous": (update * before).sum() / sizes if t else None,
                "cosine_to_last": (update * last).sum() / (size * np.linalg.norm(last)),
            })  # fmt: skip
    frame = layers.frame(rows)
    return layers.by_step(frame), layers.updates(layers.matrices(frame))


@pytest.mark.parametrize("weights", [LEAST_WEIGHTS, 8, 28])
def test_unrelated_checkpoints_are_always_told(weights: int) -> None:
    for seed in range(25):
        by_step, updates = unrelated(seed, weights)
        assert [f.step for f in seams("r", by_step, updates)] == [20, 40]
        assert untested_turns(by_step, updates) == []


@pytest.mark.parametrize("weights", range(1, LEAST_WEIGHTS))
def test_with_few_weights_they_are_never_told_and_that_is_said(weights: int) -> None:
    for seed in range(25):
        by_step, updates = unrelated(seed, weights)
        assert list(seams("r", by_step, updates)) == []
        (notice,) = untested_turns(by_step, updates)
        assert "too few to tell whether another run begins there" in notice.text
        assert "steps 10 and 20" in notice.text


def test_more_seams_than_a_sentence_names_are_one_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "STEPS", tuple(range(10, 130, 10)))
    by_step, updates = unrelated(3, 12)
    (found,) = seams("r", by_step, updates)
    assert found.evidence["steps"] == list(range(20, 130, 10))
    assert (found.step, found.evidence["previous_step"], found.strength) == (20, 10, 11.0)
    assert found.text.startswith("r mixes runs at 11 of the 11 places between its checkpoints; the first: ")
    assert found.text.count("between step") == 1
