"""Whole sweeps on a tiny model: layout, losses, resuming, refusing."""

import json
import os
import shutil
import socket
import subprocess
import sys

import polars as pl
import pytest
from peft import PeftModel
from polars.testing import assert_frame_equal
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tunescope.cli.finetune import loss_lines
from tunescope.errors import BadInput, Exhausted, Missing, UsageError
from tunescope.training import model
from tunescope.training.fine_tuning import finetune, plan
from tunescope.training.recipe import Recipe
from tunescope.training.recording import read_capture
from tunescope.training.run import Run


@pytest.fixture
def recipe(model_folder):
    def make(**changes):
        settings = {"model": str(model_folder), "quantize": "none", "rank": 2, "alpha": 4, "max_length": 32}
        return Recipe(**settings | {"max_steps": 3, "accumulate": 2} | changes)

    return make


def test_a_sweep_leaves_whole_runs_and_a_transfer_table(recipe, data_files, tmp_path):
    events = []
    runs = finetune(
        recipe(max_steps=None, captures_per_epoch=3),
        data_files,
        tmp_path / "runs",
        rates=[1e-3, 2e-2],
        listener=events.append,
    )
    assert [run.name for run in runs] == [
        f"{domain}/lr-{rate}/seed-0" for domain in ("sums", "words") for rate in ("1e-3", "2e-2")
    ]
    for run in runs:
        assert run.complete
        assert (run.folder / "adapter" / "adapter_model.safetensors").exists()
        assert list(run.folder.glob("checkpoint-*"))
        record = json.loads((run.folder / "run.json").read_text())
        assert record["status"] == "complete"
        assert (record["domain"], record["learning_rate"], record["seed"]) == (
            run.domain,
            run.learning_rate,
            0,
        )
        assert set(record["losses"]) == set(data_files)
        assert record["versions"]["torch"]
        assert record["capture"] == {"status": "complete"}
        steps = read_capture(run.folder).frame["step"].unique()
        assert len(steps) == 3
        assert steps.max() == record["steps"]
    table = pl.read_csv(tmp_path / "runs" / "tables" / "transfer.csv")
    assert table.height == 4 * 2
    assert table.unique(["evaluated_on", "loss_before"]).height == 2
    own = table.filter(pl.col("domain") == pl.col("evaluated_on"), pl.col("learning_rate") > 0.01)
    assert (own["change"] < -0.05).all()
    wide = pl.read_csv(tmp_path / "runs" / "tables" / "transfer_change.csv")
    assert wide.columns == ["run", "domain", "learning_rate", "seed", "sums", "words"]
    assert [event.phase for event in events if event.index == 0 and event.phase != "training"] == [
        "loading",
        "evaluating",
        "done",
    ]


@pytest.mark.parametrize("quantize", ["none", "nf4"])
def test_the_losses_before_training_are_taken_of_the_model_that_is_trained_then(
    recipe, data_files, tmp_path, monkeypatch, quantize
):
    """A model is loaded once for a run, and measuring it first leaves no mark on the training."""
    loaded = []
    load = model.load_base
    monkeypatch.setattr(model, "load_base", lambda *given: loaded.append(given) or load(*given))
    settings, rates = recipe(quantize=quantize, dropout=0.1), [1e-3, 2e-2]
    first, second, *_ = finetune(settings, data_files, tmp_path, rates=rates)
    assert len(loaded) == 4
    losses, motion = first.record["losses"], read_capture(first.folder).frame
    # The same run where the losses were known before it began.
    shutil.rmtree(first.folder)
    again = finetune(settings, data_files, tmp_path, rates=rates)[0]
    assert len(loaded) == 5
    assert_frame_equal(read_capture(again.folder).frame, motion, check_exact=True)
    # The same losses of a run that goes on, for which an untouched model is loaded.
    (tmp_path / "base_losses.json").unlink()
    (second.folder / "complete").unlink()
    finetune(settings, data_files, tmp_path, rates=rates)
    assert len(loaded) == 7
    assert second.record["losses"] == losses | {
        name: losses[name] | {"after": at["after"]} for name, at in second.record["losses"].items()
    }


def test_whole_runs_are_not_done_again_and_new_ones_are_added(recipe, data_files, tmp_path):
    data = {"sums": data_files["sums"]}
    (run,) = finetune(recipe(), data, tmp_path, rates=[1e-3])
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.is_file()}
    events = []
    finetune(recipe(), data, tmp_path, rates=[1e-3, 2e-3], listener=events.append)
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.is_file()} == before
    assert events[0].phase == "skipped"
    assert Run("sums", 2e-3, 0, tmp_path).complete


def test_the_recorded_losses_are_those_of_the_saved_adapter(recipe, data_files, tmp_path, model_folder):
    import torch

    from tunescope.lm.pretrained import load_tokenizer
    from tunescope.training.collation import Padding
    from tunescope.training.domains import read_domains

    (run,) = finetune(recipe(), {"sums": data_files["sums"]}, tmp_path, rates=[2e-2])
    base = AutoModelForCausalLM.from_pretrained(model_folder)
    tuned = PeftModel.from_pretrained(base, run.folder / "adapter").eval()
    domain = read_domains({"sums": data_files["sums"]}, load_tokenizer(str(model_folder)), recipe())["sums"]
    total, tokens = 0.0, 0
    for example in domain.held_out:
        batch = Padding(0)([example])
        with torch.no_grad():
            scores = tuned(input_ids=batch["input_ids"]).logits[0, :-1].log_softmax(-1)
        for position, label in enumerate(example.labels[1:]):
            if label != -100:
                total, tokens = total - float(scores[position, label]), tokens + 1
    at = run.record["losses"]["sums"]
    assert at["tokens"] == tokens
    assert at["after"] == pytest.approx(total / tokens, rel=1e-5)


def test_full_fine_tuning_is_captured_alike(recipe, data_files, tmp_path):
    (run,) = finetune(recipe(full=True), {"sums": data_files["sums"]}, tmp_path, rates=[1e-3])
    frame = read_capture(run.folder).frame
    assert set(frame["factor"]) == {"W"}
    assert (frame["delta_frobenius_norm"] > 0).all()
    assert AutoModelForCausalLM.from_pretrained(run.folder / "model").num_parameters() > 0
    assert not (run.folder / "capture.start.safetensors").exists()


@pytest.mark.parametrize(("targets", "modules"), [("mlp", 3), ("all", 7), ("q_proj, up_proj", 2)])
def test_targets(recipe, data_files, tmp_path, targets, modules):
    (run,) = finetune(recipe(targets=targets, max_steps=1), {"sums": data_files["sums"]}, tmp_path)
    assert read_capture(run.folder).frame["module_type"].n_unique() == modules


def test_a_killed_run_goes_on_from_its_checkpoint(recipe, data_files, tmp_path):
    data = {"sums": data_files["sums"]}
    settings = recipe(max_steps=6, checkpoints_per_epoch=3, captures_per_epoch=100)
    (straight,) = finetune(settings, data, tmp_path / "straight", rates=[2e-3])

    class Killed(BaseException):
        pass

    def kill(event):
        if event.step == 5:
            raise Killed

    with pytest.raises(Killed):
        finetune(settings, data, tmp_path / "broken", rates=[2e-3], listener=kill)
    (broken,) = finetune(settings, data, tmp_path / "broken", rates=[2e-3])
    assert read_capture(broken.folder).frame.equals(read_capture(straight.folder).frame)
    assert broken.record["losses"] == straight.record["losses"]
    weights = "adapter/adapter_model.safetensors"
    assert (broken.folder / weights).read_bytes() == (straight.folder / weights).read_bytes()


@pytest.mark.parametrize("quantize", ["none", "nf4"])
def test_a_run_killed_after_its_last_step_is_not_trained_further(recipe, data_files, tmp_path, quantize):
    """The trainer itself would take one step more than asked for when resumed at the end."""
    data = {"sums": data_files["sums"]}
    (straight,) = finetune(recipe(quantize=quantize), data, tmp_path / "straight")

    def kill(event):
        if event.phase == "evaluating":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(recipe(quantize=quantize), data, tmp_path / "broken", listener=kill)
    (broken,) = finetune(recipe(quantize=quantize), data, tmp_path / "broken")
    assert broken.complete
    assert broken.record["steps"] == 3
    assert read_capture(broken.folder).frame.equals(read_capture(straight.folder).frame)
    assert broken.record["losses"] == straight.record["losses"]


def test_other_settings_in_the_same_folder_are_refused(recipe, data_files, tmp_path):
    data = {"sums": data_files["sums"]}
    finetune(recipe(), data, tmp_path)
    with pytest.raises(UsageError, match="rank"):
        finetune(recipe(rank=3), data, tmp_path)


def test_a_folder_with_something_else_is_refused(recipe, data_files, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match="no sweep"):
        finetune(recipe(), data_files, tmp_path)


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "a:b"])
def test_names_that_cannot_be_folders_are_refused(recipe, data_files, tmp_path, name):
    with pytest.raises(UsageError):
        finetune(recipe(), {name: data_files["sums"]}, tmp_path / "x")


def test_a_missing_model_and_missing_data_are_named(recipe, data_files, tmp_path):
    with pytest.raises(Missing, match="no such model"):
        finetune(recipe(model="./nowhere"), data_files, tmp_path / "a")
    with pytest.raises(Missing, match="no data file"):
        finetune(recipe(), {"x": str(tmp_path / "none.jsonl")}, tmp_path / "b")
    (tmp_path / "one.jsonl").write_text('{"text": "only one"}\n')
    with pytest.raises(BadInput, match="too few"):
        finetune(recipe(), {"x": str(tmp_path / "one.jsonl")}, tmp_path / "c")


def test_a_second_process_on_the_same_folder_is_refused(recipe, data_files, tmp_path):
    code = (
        "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    )
    (tmp_path / ".lock").write_text("process 1 on a-host\n")
    command = [sys.executable, "-c", code, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(Exhausted, match="process 1 on a-host"):
            finetune(recipe(), data_files, tmp_path)
        other.communicate(b"\n")


@pytest.mark.parametrize("left", ["", "process {pid} on {host}", "process 1 on 3f2a9c0d1b7e", "\0\xff"])
def test_what_a_dead_process_wrote_into_its_lock_keeps_nobody_out(recipe, data_files, tmp_path, left):
    """Also where its number is another program's by now, or its host is gone."""
    (tmp_path / ".lock").write_text(left.format(pid=os.getppid(), host=socket.gethostname()))
    (run,) = finetune(recipe(max_steps=1), {"sums": data_files["sums"]}, tmp_path)
    assert run.complete
    assert not (tmp_path / ".lock").exists()


def test_a_folder_with_a_capture_of_another_training_is_refused_and_kept(recipe, data_files, tmp_path):
    (run,) = plan(tmp_path, {"sums": data_files["sums"]}, [1e-3], [0])
    run.folder.mkdir(parents=True)
    (tmp_path / "sweep.json").write_text("{}")
    (run.folder / "capture.parquet").write_bytes(b"of another training")
    with pytest.raises(UsageError) as caught:
        finetune(recipe(), {"sums": data_files["sums"]}, tmp_path, rates=[1e-3])
    assert (caught.value.slug, caught.value.exit_code) == ("capture-exists", 2)
    assert str(run.folder) in str(caught.value)
    assert [path.name for path in run.folder.iterdir()] == ["capture.parquet"]
    assert (run.folder / "capture.parquet").read_bytes() == b"of another training"


@pytest.mark.parametrize(
    "changes",
    [
        {"rank": 0},
        {"epochs": float("nan")},
        {"batch_size": -1},
        {"quantize": "int3"},
        {"full": True, "quantize": "nf4"},
        {"held_out": 0.0},
    ],
)
def test_settings_that_cannot_work_are_refused(changes):
    with pytest.raises(UsageError):
        Recipe(model="x", **changes)


@pytest.mark.parametrize("rate", [0.0, -1e-3, float("inf"), float("nan"), 11.0])
def test_rates_that_cannot_work_are_refused(recipe, data_files, tmp_path, rate):
    with pytest.raises(UsageError):
        finetune(recipe(), data_files, tmp_path / "x", rates=[rate])


def test_an_unknown_target_is_refused_with_the_known_ones(recipe, data_files, tmp_path):
    with pytest.raises(UsageError, match="q_proj"):
        finetune(recipe(targets="query"), data_files, tmp_path)


@pytest.mark.parametrize("changes", [{"optimizer": "sgdd"}, {"report_to": ["paper"]}])
def test_what_the_libraries_do_not_have_is_refused(recipe, data_files, tmp_path, changes):
    report_to = changes.pop("report_to", [])
    with pytest.raises(UsageError, match="not-installed"):
        finetune(recipe(**changes), data_files, tmp_path / "x", report_to=report_to)


def test_a_model_that_is_none_is_refused(recipe, data_files, tmp_path, model_folder):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(model_folder, broken)
    (broken / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(BadInput, match="model-unreadable"):
        finetune(recipe(model=str(broken)), data_files, tmp_path / "x")


@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_a_full_disk_is_named_and_the_sweep_goes_on_afterwards(recipe, data_files, tmp_path, kind):
    data = {"sums": data_files["sums"]}

    def fill(event):
        if event.step == 2:
            raise kind("No space left on device (os error 28)")

    with pytest.raises(Exhausted, match="disk is full"):
        finetune(recipe(), data, tmp_path, listener=fill)
    (run,) = finetune(recipe(), data, tmp_path)
    assert run.complete


@pytest.mark.parametrize("changes", [{"quantize": "nf4"}, {"quantize": "none"}, {"full": True}])
def test_gradient_checkpointing_changes_memory_and_not_the_motion(recipe, data_files, tmp_path, changes):
    data = {"sums": data_files["sums"]}
    frames = []
    for wanted in (False, True):
        settings = recipe(gradient_checkpointing=wanted, max_steps=2, **changes)
        (run,) = finetune(settings, data, tmp_path / str(wanted))
        frames.append(read_capture(run.folder).frame)
    assert_frame_equal(frames[0], frames[1], rel_tol=1e-4, abs_tol=1e-9)


@pytest.fixture
def changed_model(model_folder, tmp_path):
    """A copy of the model with its weights changed."""

    def make(change):
        folder = tmp_path / "changed"
        shutil.copytree(model_folder, folder)
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        return str(folder)

    return make


def test_a_model_that_lacks_weights_is_refused(recipe, data_files, changed_model, tmp_path):
    folder = changed_model(lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(BadInput) as caught:
        finetune(recipe(model=folder), data_files, tmp_path / "runs")
    assert caught.value.slug == "weights-missing"
    assert "layers.1.mlp.up_proj" in str(caught.value.found)


def test_losses_that_are_no_numbers_stay_visible(recipe, data_files, changed_model, tmp_path):
    folder = changed_model(lambda weights: weights["model.norm.weight"].fill_(float("nan")))
    data = {"sums": data_files["sums"]}
    for _ in range(2):
        (run,) = finetune(recipe(model=folder, max_steps=1), data, tmp_path / "runs")
    table = pl.read_csv(tmp_path / "runs" / "tables" / "transfer.csv")
    assert table["change"].is_null().all()
    assert table["tokens"].item() > 0
    assert "not a number" in loss_lines([run])[1]


def test_a_model_without_its_tokenizer_is_named(recipe, data_files, model_folder, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(model_folder / name, bare)
    with pytest.raises(BadInput) as caught:
        finetune(recipe(model=str(bare)), data_files, tmp_path / "runs")
    assert caught.value.slug == "tokenizer-missing"
    assert not (tmp_path / "runs").exists()
