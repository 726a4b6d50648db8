"""Layer by layer motion in the trackers that a trainer reports to."""

import logging

import polars as pl
import pytest
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback, TrackioCallback, WandbCallback

from tunescope.training.capture import TrainingCapture
from tunescope.training.recording import read_capture

from .conftest import adapted, llama


class Board(TensorBoardCallback):
    """As the trainer's, with a writer that remembers, for TensorBoard is not installed."""

    def __init__(self):
        self.tb_writer, self.seen = self, {}

    def add_scalar(self, name, value, step):
        self.seen.setdefault(name, {})[step] = value

    def on_train_begin(self, *args, **kwargs):
        pass

    on_log = on_train_end = on_train_begin


class Wandb(WandbCallback):
    """As the trainer's, whose service is gone."""

    def __init__(self, problem):
        self._wandb, self.problem, self.calls = self, problem, 0

    def log(self, values):
        self.calls += 1
        raise self.problem

    def on_train_begin(self, *args, **kwargs):
        pass

    on_log = on_train_end = on_save = on_train_begin


class Trackio(TrackioCallback):
    """As the trainer's, with trackio's own rule of steps: what is given, or else one more than the last."""

    def __init__(self):
        self._trackio, self.rows, self.next = self, [], 0

    def log(self, values, step=None):
        step = self.next if step is None else step
        self.next = max(self.next, step + 1)
        self.rows.append((step, values))

    def on_train_begin(self, *args, **kwargs):
        pass

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.log({"train/loss": logs.get("loss"), "train/global_step": state.global_step})

    on_train_end = on_save = on_train_begin


def test_every_layers_motion_reaches_the_trackers_as_it_is_captured(trained):
    board = Board()
    trainer = trained(TrainingCapture(every_steps=2), callbacks=[board])
    frame = read_capture(trainer.args.output_dir).frame
    names = [f"tunescope/{of}/layer_0{layer}" for of in ("delta_norm", "delta_abs_mean") for layer in (0, 1)]
    assert sorted(board.seen) == sorted(names)
    for layer in (0, 1):
        rows = frame.filter(layer=layer)
        norms = (
            rows.filter(factor="B").group_by("step").agg((pl.col("delta_frobenius_norm") ** 2).sum().sqrt())
        )
        means = rows.group_by("step").agg(pl.col("abs_mean").mean())
        assert board.seen[f"tunescope/delta_norm/layer_0{layer}"] == pytest.approx(dict(norms.iter_rows()))
        assert board.seen[f"tunescope/delta_abs_mean/layer_0{layer}"] == pytest.approx(
            dict(means.iter_rows())
        )


def test_trackio_is_told_the_step_and_counts_no_rows_of_ours_into_the_trainers_curves(trained):
    trackio = Trackio()
    trained(TrainingCapture(every_steps=2), callbacks=[trackio])
    ours = [(step, row) for step, row in trackio.rows if "tunescope/delta_norm/layer_00" in row]
    assert [step for step, _ in ours] == [row["train/global_step"] for _, row in ours] == [2, 4, 6]
    losses = {row["train/global_step"]: step for step, row in trackio.rows if row.get("train/loss")}
    assert max(abs(step - at) for at, step in losses.items()) == 1


def test_numbers_of_layers_sort_as_text(trained):
    board = Board()
    trained(TrainingCapture(every_steps=6), adapted(llama(num_hidden_layers=12)), callbacks=[board])
    layers = [name for name in sorted(board.seen) if "delta_norm" in name]
    assert layers == [f"tunescope/delta_norm/layer_{i:02d}" for i in range(12)]


def test_one_argument_turns_it_off(trained):
    board = Board()
    trained(TrainingCapture(every_steps=2, report=False), callbacks=[board])
    assert board.seen == {}


@pytest.mark.parametrize("problem", [ConnectionError("gone"), ValueError("bad"), RuntimeError("no run")])
def test_a_tracker_that_fails_stops_neither_training_nor_capture_nor_other_trackers(trained, caplog, problem):
    wandb, board, capture = Wandb(problem), Board(), TrainingCapture(every_steps=1)
    with caplog.at_level(logging.WARNING, "tunescope"):
        trainer = trained(capture, callbacks=[wandb, board])
    assert trainer.state.global_step == 6
    assert capture.failure is None
    assert wandb.calls == 1
    assert caplog.text.count("no longer given to Wandb") == 1
    assert set(board.seen["tunescope/delta_norm/layer_00"]) == {1, 2, 3, 4, 5, 6}


def test_callbacks_that_are_no_trackers_are_left_alone(trained):
    class Mine(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            assert not any(name.startswith("tunescope") for name in logs)

    assert trained(TrainingCapture(every_steps=1), callbacks=[Mine()]).state.global_step == 6
