from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from tunescope.questions.trajectory import layers
from tunescope.questions.trajectory.findings import motion_findings
from tunescope.questions.trajectory.seams import SavedState
from tunescope.questions.trajectory.sentences import nothing_stands_out
from tunescope.questions.trajectory.sight import visible_effects
from tunescope.questions.trajectory.unseen import why_unseen
from tunescope.study.finding import Finding

STEPS = tuple(range(10, 110, 10))
LAYERS = 9


def motion(
    norm: Callable[[int, int], float],
    *,
    loss: Callable[[int], float] | None = None,
    kinds: str = "qv",
    **given: Any,
) -> pl.DataFrame:
    """Rows of one run whose ‖ΔW‖ at (step index, layer) is given; B and A of a layer's modules."""
    rows = [
        {
            "run": "r", "step": step, "epoch": step / 100, "stack": "model", "layer": layer, "numel": 16,
            "module_type": f"self_attn.{kind}_proj", "family": "attention",
            "component_name": f"L{layer}_ATTN_{kind.upper()}",
            "factor": factor, "reference": "start", "mean": 0.1 * norm(t, layer), "abs_mean": norm(t, layer),
            "variance": norm(t, layer) ** 2,
            "abs_variance": 1.0, "delta_frobenius_norm": norm(t, layer),
            "schedule_learning_rate": 1e-3 * (1 - t / len(STEPS)), "loss": None if loss is None else loss(t),
        } | given
        for t, step in enumerate(STEPS) for layer in range(LAYERS) for kind in kinds for factor in "AB"
    ]  # fmt: skip
    return layers.frame(rows)


def found(frame: pl.DataFrame, states: list[SavedState] | None = None) -> dict[str, Finding]:
    updates = layers.updates(layers.matrices(frame))
    findings = motion_findings("r", frame, updates, layers.by_step(frame), states or [])
    return {f.kind: f for f in findings}


def steady(t: int, _: int) -> float:
    return 0.1 * (t + 1)


def test_a_steady_even_run_has_nothing_to_say() -> None:
    assert found(motion(steady, loss=lambda t: 2.0 - 0.1 * t)) == {}


@pytest.mark.parametrize(("place", "third"), [("early", 0), ("middle", 1), ("late", 2)])
def test_the_third_that_holds_the_mass_is_named(place: str, third: int) -> None:
    kinds = found(motion(lambda t, i: steady(t, i) * (2 if i // 3 == third else 1)))
    assert set(kinds) == {f"{place}_layers"}
    finding = kinds[f"{place}_layers"]
    assert finding.step == 100
    assert finding.evidence["ratio"] == pytest.approx(2)
    assert "matter" not in finding.text


def test_layers_that_move_first_are_told_from_those_that_move_last() -> None:
    kinds = found(motion(lambda t, i: min(1.0, 0.1 * (t + 1) * (4 if i < 2 else 1))))
    assert kinds["moves_first"].evidence["first_layers"][:2] == [0, 1]
    assert kinds["moves_first"].evidence["halfway_step"]["0"] == pytest.approx(12.5)
    assert kinds["moves_first"].evidence["halfway_step"]["8"] == pytest.approx(50)


def test_layers_that_stop_are_a_plateau_with_the_rate_at_which_they_did() -> None:
    kinds = found(motion(lambda t, i: min(1.0, 0.1 * (t + 1) * (2 if i == 3 else 1))))
    plateau = kinds["plateau"]
    assert plateau.evidence["stopped_at"] == {"3": 50}
    assert plateau.step == 50
    assert plateau.evidence["learning_rate_share"] == pytest.approx(0.6)
    assert plateau.text.endswith("; the learning rate stood at 60% of its peak there.")


def test_a_plateau_under_a_rate_that_fell_says_that_it_fell() -> None:
    """Steps as long as a cosine schedule makes them: the weights stop because the rate does."""
    rate = 0.5 * (1 + np.cos(np.pi * np.arange(len(STEPS)) / len(STEPS)))
    way = np.cumsum(rate**4)
    frame = motion(lambda t, _: float(way[t]))
    of_step = pl.col("step").replace_strict(dict(zip(STEPS, rate.tolist(), strict=True)))
    plateau = found(frame.with_columns(schedule_learning_rate=of_step))["plateau"]
    share = rate[STEPS.index(plateau.step or 0)] / rate[0]
    assert share < 0.5
    assert f"the learning rate had fallen to {share:.0%} of its peak by then, which alone" in plateau.text


def test_a_whole_run_that_stops_is_one_plateau() -> None:
    kinds = found(motion(lambda t, _: min(0.4, 0.1 * (t + 1))))
    assert kinds["plateau"].evidence["layers"] == len(kinds["plateau"].evidence["stopped_at"]) == LAYERS
    assert "all 9 layers" in kinds["plateau"].text


def test_a_run_that_never_moves_is_frozen_and_says_nothing_else() -> None:
    assert set(found(motion(lambda *_: 0.0))) == {"frozen"}
    assert set(found(motion(lambda _, i: 0.3 + 0.1 * i, reference="zero"))) == {"frozen"}


def test_a_weight_that_never_moves_is_named() -> None:
    kinds = found(motion(lambda t, i: 0.0 if i == 5 else steady(t, i)))
    assert kinds["frozen"].components == ("L5_ATTN_Q", "L5_ATTN_V")
    assert kinds["frozen"].evidence["still_components"] == 2
    assert kinds["frozen"].severity == "warning"


def test_tensors_of_whole_checkpoints_that_never_move_are_noted_and_not_called_trained() -> None:
    rows = motion(lambda t, i: 0.0 if i == 5 else steady(t, i))
    states = [SavedState(step) for step in STEPS]
    kinds = found(rows.filter(factor="B").with_columns(factor=pl.lit("W")), states)
    assert (kinds["unchanged"].severity, kinds["unchanged"].components) == (
        "note",
        ("L5_ATTN_Q", "L5_ATTN_V"),
    )
    assert "2 of 18 tensors of r never move" in kinds["unchanged"].text
    assert found(rows, states)["frozen"].severity == "warning"


def test_a_capture_equal_to_the_one_before_is_found() -> None:
    kinds = found(motion(lambda t, i: steady(6 if t == 7 else t, i)))
    assert kinds["frozen"].step == 80
    assert kinds["frozen"].evidence["steps"] == [80]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_stop_being_finite_diverge_at_that_step(bad: float) -> None:
    kinds = found(motion(lambda t, i: bad if t >= 6 else steady(t, i)))
    assert kinds["diverged"].step == 70


def test_weights_that_explode_diverge() -> None:
    kinds = found(motion(lambda t, i: steady(t, i) * (100 if t >= 7 else 1)))
    assert kinds["diverged"].step == 80
    assert kinds["diverged"].evidence["growth"] == pytest.approx(250)


def test_a_long_warm_up_is_no_divergence() -> None:
    assert "diverged" not in found(motion(lambda t, _: 0.001 * (t + 1) ** 2))


def logged(loss: Callable[[int], float], count: int = 40) -> list[SavedState]:
    """A trainer's log of so many losses, as the last checkpoint has it."""
    return [SavedState(STEPS[-1], 100, {step: loss(step) for step in range(1, count + 1)})]


def test_a_loss_that_ends_far_above_its_start_diverges_at_its_lowest_step() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(41)
    falls_and_rises = logged(lambda t: (2.0 - 0.05 * t if t < 20 else 3.2) + noise[t])
    diverged = found(motion(steady), falls_and_rises)["diverged"]
    assert diverged.severity == "warning"
    assert 14 <= (diverged.step or 0) <= 19
    assert diverged.evidence["n"] == 40
    assert diverged.evidence["p"] < 0.02


def test_flat_losses_of_much_noise_do_not_diverge() -> None:
    random = np.random.default_rng(1)
    flat = [found(motion(steady), logged(lambda _: 2 + 0.4 * random.standard_normal())) for _ in range(20)]
    assert sum("diverged" in kinds for kinds in flat) <= 1


def walking(random: np.random.Generator) -> pl.DataFrame:
    """A run whose weights walk at random in three directions each."""
    walks = np.cumsum(random.standard_normal((len(STEPS), LAYERS, 2, 3)), axis=0)
    norms = np.repeat(np.linalg.norm(walks, axis=3).ravel(), 2)  # both factors of a weight carry its norm
    return motion(steady).with_columns(delta_frobenius_norm=norms)


def test_weights_that_walk_in_few_directions_have_no_first_layer() -> None:
    random = np.random.default_rng(2)
    assert sum("moves_first" in found(walking(random)) for _ in range(20)) <= 1


def of_walks(walks: np.ndarray) -> pl.DataFrame:
    """The motion of weights at `(steps, layers, kinds, directions)`, with the cosines between captures."""
    norms, before = np.linalg.norm(walks, axis=3), np.roll(walks, 1, axis=0)
    cosine = (walks * before).sum(axis=3) / (norms * np.linalg.norm(before, axis=3))
    cosine[0] = np.nan
    last = (walks * walks[-1]).sum(axis=3) / (norms * norms[-1])
    columns = {"delta_frobenius_norm": norms, "cosine_to_previous": cosine, "cosine_to_last": last}
    of_factors = {name: np.repeat(values.ravel(), 2) for name, values in columns.items()}
    return motion(steady, kinds="qkvo"[: walks.shape[2]]).with_columns(**of_factors)


def test_a_layer_that_moves_first_shows_in_its_way_where_it_gains_no_ground() -> None:
    """Steps in random directions, of one layer all in the first half: its ‖ΔW‖ alone would say little."""
    random = np.random.default_rng(5)
    for layer in range(LAYERS):
        steps = random.standard_normal((len(STEPS), LAYERS, 4, 8))
        steps[:5, layer] *= 2
        steps[5:, layer] *= 0.02
        walks = np.cumsum(steps, axis=0)
        first = found(of_walks(walks))["moves_first"]
        assert first.evidence["first_layers"] == [layer]
        assert first.evidence["half_of"] == "way between captures"
        assert "Half of the way that its ΔW goes from capture to capture" in first.text
        # The way is the sum of the lengths of the steps; half of it lies between two captures.
        gone = np.cumsum(np.linalg.norm(np.diff(walks, axis=0, prepend=0)[:, layer], axis=2), axis=0)
        halves = [np.interp(gone[-1, k] / 2, np.r_[0, gone[:, k]], (0, *STEPS)) for k in range(4)]
        assert first.evidence["halfway_step"][str(layer)] == pytest.approx(np.mean(halves))


def test_walks_of_known_directions_have_no_first_layer() -> None:
    random = np.random.default_rng(6)
    walks = [np.cumsum(random.standard_normal((len(STEPS), LAYERS, 2, 3)), axis=0) for _ in range(20)]
    assert sum("moves_first" in found(of_walks(walk)) for walk in walks) <= 1


def cosines(frame: pl.DataFrame, at: int, value: float) -> pl.DataFrame:
    return frame.with_columns(
        cosine_to_previous=pl.when(pl.col("step") == at)
        .then(value)
        .when(pl.col("step") > STEPS[0])
        .then(0.95),
        cosine_to_last=pl.lit(0.9),
    )


def test_a_sudden_turn_of_delta_w_is_a_seam() -> None:
    kinds = found(cosines(motion(steady), 60, 0.03))
    assert kinds["seam"].step == 60
    assert kinds["seam"].evidence["cosine"] == pytest.approx(0.03)
    assert "seam" not in found(cosines(motion(steady), 60, 0.6))


def test_checkpoints_far_apart_may_turn_more() -> None:
    frame = cosines(motion(steady), 60, 0.15).filter(pl.col("step").is_in([10, 60]))
    steps = np.linspace(0, 60, 60001)
    squares = np.interp(steps, (0, 10, 60), (0.0, 1e-3, 0.5e-3)) ** 2
    kept = (squares[steps <= 10].sum() / squares.sum()) ** 0.5
    assert found(frame)["seam"].evidence["cosine_threshold"] == pytest.approx(0.5 * kept, rel=1e-3)
    assert "seam" not in found(cosines(frame, 60, 0.25))
    unknown = frame.with_columns(schedule_learning_rate=pl.lit(None, pl.Float64))
    assert "seam" not in found(unknown)
    told = found(cosines(unknown, 60, 0.03))["seam"].evidence["cosine_threshold"]
    assert told == pytest.approx(0.5 * (1 / 6) ** 1.5)


@pytest.mark.parametrize("known", [True, False])
def test_a_walk_whose_steps_lengthen_in_a_warm_up_is_no_seam(known: bool) -> None:
    """Early checkpoints of a rate that rises from zero keep less of their direction than √(t/t')."""
    random = np.random.default_rng(7)
    rates = np.minimum(np.arange(1, 101) / 50, 1.0)
    told = 0
    for _ in range(20):
        steps = rates[:, None, None, None] * random.standard_normal((100, LAYERS, 4, 8))
        frame = of_walks(np.cumsum(steps, axis=0)[np.array(STEPS) - 1])
        there = rates[np.array(STEPS) - 1].tolist()
        rate = pl.col("step").replace_strict(dict(zip(STEPS, there, strict=True)))
        frame = frame.with_columns(schedule_learning_rate=rate if known else pl.lit(None, pl.Float64))
        whole = np.cumsum(steps, axis=0).reshape(100, -1)
        kept = whole[9] @ whole[19] / np.linalg.norm(whole[9]) / np.linalg.norm(whole[19])
        assert kept < 0.5 < 0.5**0.5
        told += "seam" in found(frame)
    assert told <= 1


def test_a_changed_schedule_is_a_seam() -> None:
    states = [SavedState(step, 100 if step < 70 else 250) for step in STEPS]
    seam = found(motion(steady), states)["seam"]
    assert (seam.step, seam.evidence["max_steps_before"], seam.evidence["max_steps_after"]) == (70, 100, 250)
    assert "seam" not in found(motion(steady), [SavedState(step, 100) for step in STEPS])


def test_logs_that_disagree_about_one_step_are_a_seam() -> None:
    logs = [{s: 2.0 - s / 100 for s in STEPS if s <= step} for step in STEPS]
    same = [SavedState(step, 100, log) for step, log in zip(STEPS, logs, strict=True)]
    assert "seam" not in found(motion(steady), same)
    other = [
        *same[:4],
        *(SavedState(s.step, 100, {k: v + 0.1 for k, v in s.losses.items()}) for s in same[4:]),
    ]
    seam = found(motion(steady), other)["seam"]
    assert (seam.step, seam.evidence["logged_step"]) == (50, 10)


def test_growth_across_a_seam_is_not_the_runs() -> None:
    states = [SavedState(step, 100 if step < 80 else 250) for step in STEPS]
    kinds = found(motion(lambda t, i: steady(t, i) * (100 if t >= 7 else 1)), states)
    assert "seam" in kinds
    assert "diverged" not in kinds


def test_values_that_are_not_finite_at_one_step_alone_are_no_divergence_from_there_on() -> None:
    kinds = found(motion(lambda t, i: float("nan") if t == 4 else steady(t, i)))
    text = kinds["diverged"].text
    assert "not finite at step 50, and finite ones after that" in text
    assert "has diverged" not in text
    assert (
        "on its weights"
        in found(motion(lambda t, i: float("nan") if t >= 4 else steady(t, i)))["diverged"].text
    )


def test_a_loss_that_is_never_finite_is_a_divergence_without_a_lowest_step() -> None:
    finding = found(motion(steady, loss=lambda _: float("nan")))["diverged"]
    assert "ends at a number that is not finite" in finding.text
    assert "lowest" not in finding.text


def test_a_single_capture_at_zero_is_where_training_began_not_frozen() -> None:
    start = motion(lambda *_: 0.0).filter(pl.col("step") == STEPS[0])
    assert found(start.with_columns(step=pl.lit(0, pl.Int64))) == {}
    assert "where it began in the one capture" in found(start)["frozen"].text


def test_a_single_checkpoint_has_no_earlier_state_to_stand_still_against() -> None:
    rows = motion(lambda *_: 0.0, reference="first_checkpoint").filter(pl.col("step") == 100)
    assert "frozen" not in found(rows)
    moved = pl.concat(
        [rows.filter(factor="A"), motion(steady, reference="zero").filter(step=100, factor="B")]
    )
    assert "frozen" not in found(moved)
    still = pl.concat(
        [rows.filter(factor="A"), rows.filter(factor="B").with_columns(reference=pl.lit("zero"))]
    )
    assert "frozen" in found(still)


def test_where_nothing_stands_out_the_smallest_effects_that_would_have_are_named() -> None:
    seen = {"third": 1.34, "halfway": 0.21, "still": 0.3, "jump": 0.16, "loss": 1.31}
    run = {"captures": 12, "layers_off_zero": [0, 24], "visible": seen}
    text = nothing_stands_out({"a": run, "b": {**run, "visible": {**seen, "third": 1.52}}})
    assert text == (
        "Nothing stands out in 2 runs of 12 captures and 24 layers. Smallest that would have been found, "
        "nine times in ten: a third of the layers 1.34× to 1.52× another in ‖ΔW‖ (by run), a layer that "
        "moves first or last by 21% of the run, a jump of 16% of the way or a training loss that ends 1.31 "
        "times its start. No layer stands still over the last 30% of the steps."
    )
    one = nothing_stands_out({"a": run, "b": {**run, "visible": {**seen, "jump": None}}})
    assert "a jump of 16% of the way" in one
    assert one.endswith("Too little is known here to tell of jumps between captures in b.")
    blind = nothing_stands_out({"a": {**run, "visible": {**seen, "third": None, "still": None}}})
    assert "Too little is known here to tell of thirds of the layers or layers that stop." in blind


def test_what_keeps_an_effect_from_being_found_is_named_of_every_run() -> None:
    seen = dict.fromkeys(("third", "halfway", "still", "jump"), 0.2)
    run = {"captures": 6, "layers_off_zero": [0, 8], "visible": {**seen, "loss": None}}
    few, noisy = ({**run, "unseen": {"loss": text}} for text in ("6 losses of 10 needed", "no loss is known"))
    assert nothing_stands_out({"a": few}).endswith(
        "to tell of a training loss that ends above its beginning (6 losses of 10 needed)."
    )
    text = nothing_stands_out({"a": few, "b": noisy, "c": few})
    assert text.endswith("that ends above its beginning (6 losses of 10 needed and no loss is known).")


def test_losses_that_ended_lower_are_not_said_to_have_risen_perhaps() -> None:
    seen = {**dict.fromkeys(("third", "halfway", "still", "jump"), 0.2), "loss": None}
    run = {"captures": 6, "layers_off_zero": [0, 8], "visible": seen, "loss_first": 6.3, "loss_last": 2.8}
    run["unseen"] = {"loss": "13 losses that scatter too much to test"}
    told = nothing_stands_out({"a": run, "b": run})
    assert told.endswith(
        "The training loss is lower at the last capture than at the first in all 2 runs; whether by more "
        "than noise is not tested (13 losses that scatter too much to test)."
    )
    assert "Too little is known" not in told
    higher = nothing_stands_out({"a": run, "b": {**run, "loss_last": 6.4}})
    assert "to tell of a training loss that ends above its beginning (13 losses" in higher
    assert "lower" not in higher


def lacks(frame: pl.DataFrame, losses: int = 0) -> dict[str, str]:
    updates, by_step = layers.updates(layers.matrices(frame)), layers.by_step(frame)
    states = [SavedState(100, 100, dict.fromkeys(range(losses), 2.0))]
    none = dict.fromkeys(("third", "halfway", "still", "jump", "loss"))
    return why_unseen(none, updates, by_step, states)


def test_a_run_lacks_captures_layers_kinds_of_weight_directions_or_losses() -> None:
    whole = motion(steady)
    short = lacks(whole.filter(pl.col("step") <= 30), losses=6)
    assert short["halfway"] == short["still"] == "3 captures of 5 needed"
    assert (short["jump"], short["loss"]) == ("3 captures of 9 needed", "6 losses of 10 needed")
    flat = lacks(whole.filter(pl.col("layer") < 3), losses=1)
    assert (flat["third"], flat["halfway"]) == ("3 layers of 7 needed", "3 layers of 4 needed")
    assert flat["loss"] == "1 loss of 10 needed"
    one = whole["module_type"].unique().sort()[0]
    narrow = lacks(whole.filter(pl.col("module_type") == one), losses=30)
    assert narrow["halfway"] == "1 kind of weight in all layers, of 2 needed"
    assert narrow["loss"] == "30 losses that scatter too much to test"
    assert lacks(whole)["halfway"] == "the weights of one layer are half-way at steps too far apart"
    assert lacks(whole)["loss"] == "no loss is known"
    unknown = whole.with_columns(cosine_to_previous=pl.lit(None, pl.Float64))
    assert lacks(unknown)["jump"] == "the directions of ΔW are not known at every capture"


def scattered(later: float = 0.0, at: int = 4) -> pl.DataFrame:
    """A run whose weights have half of their way done at some 45 % of it; one layer does `later`."""
    half = 0.45 + 0.02 * np.random.default_rng(11).standard_normal((LAYERS, 4))
    half[at] += later
    frame = motion(steady, kinds="qkvo")
    share, layer = frame["step"].to_numpy() / STEPS[-1], frame["layer"].to_numpy()
    kind = np.array(["qkvo".index(name.split(".")[1][0]) for name in frame["module_type"]])
    # sᵖ is a half at the share 2^(−1/p).
    pace = -np.log(2) / np.log(half[layer, kind])
    return frame.with_columns(delta_frobenius_norm=pl.Series(share**pace))


def effects(frame: pl.DataFrame, states: list[SavedState] | None = None) -> dict[str, float | None]:
    updates = layers.updates(layers.matrices(frame))
    return visible_effects(frame, updates, layers.by_step(frame), states or [])


def test_the_smallest_early_mover_that_would_be_found_is_found_where_it_is_planted() -> None:
    plain = scattered()
    size = effects(plain)["halfway"]
    assert size is not None
    assert 0.1 < size < 0.2
    assert "moves_first" not in found(plain)
    assert "moves_first" in found(scattered(size))


def test_a_rise_of_the_loss_as_large_as_would_be_found_is_found() -> None:
    random = np.random.default_rng(2)
    flat = 2 * (1 + 0.1 * random.standard_normal(100))

    def logged(losses: np.ndarray) -> list[SavedState]:
        return [SavedState(100, 100, dict(enumerate(losses.tolist())))]

    factor = effects(motion(steady), logged(flat))["loss"]
    assert factor is not None
    assert 1.2 < factor < 1.4
    assert "diverged" not in found(motion(steady), logged(flat))
    risen = flat * np.where(np.arange(100) < 50, 1.0, factor)
    assert "diverged" in found(motion(steady), logged(risen))
    assert effects(motion(steady), logged(flat[:12]))["loss"] is None


def test_a_stop_that_captures_would_show_is_told_by_their_steps() -> None:
    # Captures stand at every tenth of the run: the last one at or before three quarters of it is at 70 %.
    assert effects(motion(steady))["still"] == pytest.approx(0.3)
    assert effects(motion(steady))["jump"] is None


def test_weights_that_one_capture_alone_holds_are_not_still() -> None:
    """Files of different modules, named one after the other: none of them can have moved, or not."""
    frame = motion(steady).filter(pl.col("step").is_in([10, 20]))
    apart = frame.filter((pl.col("layer") < 4) == (pl.col("step") == 10)).with_columns(
        reference=pl.lit("first_checkpoint"), abs_mean=pl.lit(0.0), mean=pl.lit(0.0)
    )
    assert "frozen" not in found(apart)
    both = frame.with_columns(reference=pl.lit("first_checkpoint"), abs_mean=pl.lit(0.0))
    assert "frozen" in found(both)
