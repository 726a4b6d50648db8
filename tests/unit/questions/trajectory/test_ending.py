"""Whether a loss still falls at its end: a verdict only beyond the noise of the last two quarters."""

import numpy as np
import polars as pl
import pytest

from tunescope.questions.trajectory.ending import ending_words, endings_sentence, loss_ending
from tunescope.questions.trajectory.loss import known_losses, logged_losses, rising_loss
from tunescope.questions.trajectory.seams import SavedState
from tunescope.questions.trajectory.summary import half_of_last, halfway_sentence, halfway_words
from tunescope.source.training_run import CAPTURED
from tunescope.statistics.series import ending

NOISE = np.random.default_rng(3).standard_normal(80)


def logged(losses: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"step": range(len(losses)), "loss": losses})


def test_a_loss_that_still_falls_is_told_with_the_size_and_the_error_of_its_fall() -> None:
    found = loss_ending(logged(np.linspace(4, 2, 80) + 0.05 * NOISE))
    assert found is not None
    assert found["verdict"] == "falls"
    # A quarter of a straight way from 4 to 2.
    assert found["change"] == pytest.approx(-0.5, abs=0.05)
    assert 0 < found["stderr"] < 0.1
    assert "it still fell" in ending_words(found)


def test_a_loss_that_rises_again_is_told() -> None:
    found = loss_ending(logged(np.r_[np.linspace(4, 2, 40), np.linspace(2, 3, 40)] + 0.02 * NOISE))
    assert found is not None
    assert found["verdict"] == "rises"


def test_of_a_level_loss_no_verdict_is_given_but_its_figure() -> None:
    found = loss_ending(logged(2 + 0.3 * NOISE))
    assert found is not None
    assert found["verdict"] == "not_told"
    assert f"± {found['stderr']:.2g}" in ending_words(found)


def test_a_fall_below_one_percent_of_the_loss_is_not_worth_a_verdict() -> None:
    found = loss_ending(logged(np.linspace(2.03, 2, 80)))
    assert found is not None
    assert found["p"] < 0.001
    assert found["verdict"] == "not_told"


def test_the_p_of_a_run_is_multiplied_by_the_runs_of_the_study() -> None:
    losses = logged(np.linspace(2.4, 2, 80) + 0.2 * NOISE)
    one, many = loss_ending(losses), loss_ending(losses, runs=7)
    assert one is not None
    assert many is not None
    assert many["p"] == pytest.approx(min(7 * one["p"], 1.0))


def test_the_error_of_white_noise_is_that_of_two_means() -> None:
    """The mean square of z over many draws is that of Student's t with its degrees of freedom."""
    draws = np.random.default_rng(0)
    found = [ending(draws.standard_normal(200)) for _ in range(300)]
    z = [(e.last - e.before) / e.error for e in found if e is not None]
    assert len(z) == 300
    assert np.std(z) == pytest.approx(1.0, abs=0.15)


def test_fewer_than_twelve_losses_tell_nothing_and_the_sentence_says_so() -> None:
    assert loss_ending(logged(2 + 0.3 * NOISE[:11])) is None
    run = {"loss_last": 2.0, "loss_ending": None, "losses": 6, "order": CAPTURED}
    assert endings_sentence({"r": run}) == (
        "Training loss at the end: 6 losses are in the capture, which has those of its own steps; "
        "whether it still fell is told from 12 on."
    )
    logged_once = {**run, "losses": 1, "order": "steps as the names checkpoint-# number them"}
    assert "1 loss is in the trainer's log;" in str(endings_sentence({"r": logged_once}))
    assert "1 to 6 losses are in the captures and logs;" in str(
        endings_sentence({"r": run, "s": logged_once})
    )
    assert endings_sentence({"r": {"loss_last": None, "loss_ending": None}}) is None


def test_one_sentence_groups_the_runs_by_how_they_end() -> None:
    falls = loss_ending(logged(np.linspace(4, 2, 80) + 0.05 * NOISE))
    level = loss_ending(logged(2 + 0.3 * NOISE))
    runs = {name: {"loss_last": 2.0, "loss_ending": ended} for name, ended in (("a", falls), ("b", level))}
    told = endings_sentence(runs)
    assert told is not None
    assert "it still fell in a; in b whether it still fell or rose is not told" in told


def test_half_of_the_last_size_is_reached_at_a_captured_step() -> None:
    assert half_of_last([1, 2, 3], [0.4, 0.5, 1.0]) == 2
    assert half_of_last([1], [0.0]) is None
    assert half_of_last([1, 2], [None, 1.0]) == 2


def test_half_is_placed_between_the_captures_around_it_or_by_the_first_one() -> None:
    def words(steps: list[int], norms: list[float | None]) -> str | None:
        half = half_of_last(steps, norms)
        return halfway_words({"steps": steps, "delta_frobenius_norm": norms, "half_of_last_at": half})

    assert words([23, 46, 69], [0.712, 0.9, 1.08]) == "by its first capture, step 23 (66%)"
    assert words([500, 2000, 4000], [1.765, 2.5, 3.712]) == "between steps 500 (47%) and 2,000"
    assert words([1, 2, 3], [0.4, 0.5, 1.0]) == "at step 2"
    assert words([10, 20, 40], [0.1, 0.2, 1.0]) == "between steps 20 and 40"
    assert words([10, 20], [None, 1.0]) == "by step 20 (100%)"
    assert words([10], [1.0]) is None
    run = {"steps": [23, 46], "delta_frobenius_norm": [0.7, 1.0], "half_of_last_at": 23}
    assert halfway_sentence({"a": run}).endswith("at step 23 (a). That was by the first capture in a (70%).")


def checkpoints(log: dict[int, float], steps: list[int]) -> tuple[pl.DataFrame, list[SavedState]]:
    """What checkpoints say of a log, each with the loss logged last before it beside its step."""
    so_far = [{at: loss for at, loss in log.items() if at <= step} for step in steps]
    frame = pl.DataFrame({"step": steps, "loss": [known[max(known)] for known in so_far]})
    return frame, [SavedState(step, None, known) for step, known in zip(steps, so_far, strict=True)]


def test_a_loss_shown_again_beside_a_checkpoint_that_logged_none_counts_once() -> None:
    log = {step: 3 - step / 40 + 0.05 * NOISE[step] for step in range(5, 66, 5)}
    by_step, states = checkpoints(log, [23, 46, 65])
    assert logged_losses(by_step, states) == log
    assert known_losses(by_step, states) == len(log) == 13
    ended, alone = loss_ending(by_step, states), ending(np.array(list(log.values())))
    assert ended is not None
    assert alone is not None
    assert (ended["before"], ended["last"], ended["p"]) == (alone.before, alone.last, alone.p)
    climbing = {step: 1 + step / 20 + 0.01 * NOISE[step] for step in log}
    (finding,) = rising_loss("r", *checkpoints(climbing, [23, 46, 65]))
    assert finding.evidence["n"] == 13


def test_a_loss_that_a_capture_repeats_until_the_next_is_logged_counts_once() -> None:
    by_step = pl.DataFrame({"step": [1, 2, 3, 4, 5, 6], "loss": [None, 2.5, 2.5, 2.5, 2.25, 2.5]})
    assert logged_losses(by_step, []) == {2: 2.5, 5: 2.25, 6: 2.5}


def test_the_loss_of_a_checkpoint_without_a_log_is_its_own() -> None:
    by_step = pl.DataFrame({"step": [1, 2], "loss": [2.5, 2.5]})
    assert logged_losses(by_step, [SavedState(1), SavedState(2)]) == {1: 2.5, 2: 2.5}
