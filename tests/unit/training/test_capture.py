"""The capture against NumPy on saved tensors, and in every way that a training can go."""

import errno
import logging
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from peft import LoraConfig, get_peft_model
from polars.testing import assert_frame_equal
from safetensors.torch import load_file, save_file
from transformers import EarlyStoppingCallback, TrainerCallback

from tunescope.errors import BadInput, Exhausted, Missing, UsageError
from tunescope.training.capture import TrainingCapture
from tunescope.training.motion import Motion
from tunescope.training.recording import PARTS, SCHEMA, Progress, progress, read_capture
from tunescope.training.trainable import clean_name, trainable

from .conftest import adapted, llama


class Saved(TrainerCallback):
    """Keeps every trainable tensor after every step, as NumPy arrays."""

    def __init__(self):
        self.steps = {}

    def keep(self, step, model):
        self.steps[step] = {
            name: parameter.detach().double().numpy().copy()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }

    def on_train_begin(self, args, state, control, model, **kwargs):
        self.keep(state.global_step, model)

    def on_step_end(self, args, state, control, model, **kwargs):
        self.keep(state.global_step, model)


def capture_of(trainer):
    return read_capture(trainer.args.output_dir).to_polars()


def check_against(frame, saved, columns=("mean", "variance", "abs_mean", "abs_variance")):
    """Every row of the table against NumPy's statistics of the saved tensors."""
    for row in frame.iter_rows(named=True):
        (name,) = [name for name in saved.steps[0] if matches(name, row)]
        delta = saved.steps[row["step"]][name] - saved.steps[0][name]
        size = np.abs(delta)
        expected = dict(zip(columns, (delta.mean(), delta.var(), size.mean(), size.var()), strict=True))
        for column, value in expected.items():
            assert row[column] == pytest.approx(value, rel=1e-10, abs=1e-18), (name, column)
        assert row["numel"] == delta.size


def matches(name, row):
    path = clean_name(name).removesuffix(".weight").removesuffix(".default")
    tail = "" if row["factor"] == "W" else f".lora_{row['factor']}"
    if row["layer"] is None:
        return path.removeprefix("model.") == row["module_type"] + tail
    return path.endswith(f".layers.{row['layer']}.{row['module_type']}{tail}")


def test_lora_statistics_and_norms_equal_numpys(trained):
    saved = Saved()
    trainer = trained(TrainingCapture(every_steps=2), callbacks=[saved])
    frame = capture_of(trainer)
    assert frame["step"].unique().sort().to_list() == [2, 4, 6]
    assert frame.height == 3 * 2 * 2 * 2
    assert frame.columns == list(SCHEMA)
    check_against(frame, saved)
    for row in frame.filter(pl.col("factor") == "A").iter_rows(named=True):
        at = f"layers.{row['layer']}.{row['module_type']}.lora_"
        factors = {
            (step, factor): tensor
            for step in (0, row["step"])
            for factor in "AB"
            for name, tensor in saved.steps[step].items()
            if f"{at}{factor}" in name
        }
        dense = 2.0 * (
            factors[row["step"], "B"] @ factors[row["step"], "A"] - factors[0, "B"] @ factors[0, "A"]
        )
        assert row["delta_frobenius_norm"] == pytest.approx(np.linalg.norm(dense), rel=1e-10)
    assert frame["component_name"].unique().sort().to_list() == [
        "L0_ATTN_Q",
        "L0_ATTN_V",
        "L1_ATTN_Q",
        "L1_ATTN_V",
    ]


def test_norm_counts_from_a_start_that_is_not_zero(trained):
    """With Gaussian factors B₀A₀ is not zero, and ΔW is s(BA - B₀A₀)."""
    saved = Saved()
    model = adapted(init_lora_weights=False)
    frame = capture_of(trained(TrainingCapture(every_steps=6), model, callbacks=[saved]))
    row = frame.filter(component_name="L1_ATTN_V", factor="B").row(0, named=True)
    at = "base_model.model.model.layers.1.self_attn.v_proj.lora_{}.default.weight"
    now, start = ({f: saved.steps[step][at.format(f)] for f in "AB"} for step in (6, 0))
    dense = 2.0 * (now["B"] @ now["A"] - start["B"] @ start["A"])
    assert row["delta_frobenius_norm"] == pytest.approx(np.linalg.norm(dense), rel=1e-9)


def test_full_weights_norms_and_biases(trained):
    saved = Saved()
    model = llama(attention_bias=True)
    frame = capture_of(trained(TrainingCapture(every_steps=3), model, callbacks=[saved]))
    assert set(frame["factor"]) == {"W"}
    check_against(frame, saved)
    last = frame.filter(step=6)
    expected = {
        clean_name(name).removesuffix(".weight"): np.linalg.norm(saved.steps[6][name] - saved.steps[0][name])
        for name in saved.steps[0]
    }
    assert last.height == len(expected)
    assert sorted(last["delta_frobenius_norm"]) == pytest.approx(sorted(expected.values()), rel=1e-10)
    assert {"L0_INPUT_LAYERNORM", "LM_HEAD", "L1_ATTN_Q_BIAS"} <= set(last["component_name"])


def test_learning_rate_and_loss_belong_to_the_step(trained):
    trainer = trained(TrainingCapture(every_steps=1), lr_scheduler_type="linear")
    logged = {entry["step"]: entry for entry in trainer.state.log_history if "loss" in entry}
    for row in capture_of(trainer).iter_rows(named=True):
        assert row["loss"] == logged[row["step"]]["loss"]
        assert row["learning_rate"] == pytest.approx(logged[row["step"]]["learning_rate"], rel=1e-12)
        assert row["epoch"] == pytest.approx(row["step"] / 12)


def test_loss_is_the_last_logged_one_and_null_before_the_first(trained):
    frame = capture_of(trained(TrainingCapture(every_steps=1), logging_steps=4)).unique("step").sort("step")
    losses = frame["loss"].to_list()
    assert losses[:3] == [None] * 3
    assert losses[3] == losses[4] == losses[5] is not None


@pytest.mark.parametrize(("parts", "steps"), [(1, [12, 24]), (4, [3, 6, 9, 12, 15, 18, 21, 24]), (5, None)])
def test_captures_fall_on_equal_parts_of_an_epoch(trained, parts, steps):
    trainer = trained(TrainingCapture(per_epoch=parts), max_steps=-1, num_train_epochs=2)
    found = capture_of(trainer)["step"].unique().sort().to_list()
    assert found == (steps or [3, 5, 8, 10, 12, 15, 17, 20, 22, 24])


def test_gradient_accumulation_counts_optimizer_steps(trained):
    frame = capture_of(trained(TrainingCapture(every_steps=1), gradient_accumulation_steps=3, max_steps=4))
    assert frame["step"].unique().sort().to_list() == [1, 2, 3, 4]


def test_a_cut_epoch_is_recorded_once(trained):
    """`on_epoch_end` comes at the step of the last `on_step_end`."""
    frame = capture_of(trained(TrainingCapture(every_steps=5), max_steps=7))
    assert frame.group_by("step").len().sort("step").rows() == [(5, 8), (7, 8)]


def test_the_last_weights_are_recorded_and_not_the_best(trained, tmp_path):
    saved = Saved()
    trainer = trained(
        TrainingCapture(tmp_path / "out", every_steps=4),
        callbacks=[saved, EarlyStoppingCallback(1)],
        load_best_model_at_end=True,
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=1,
        save_steps=1,
        save_total_limit=1,
        learning_rate=0.5,
        max_steps=10,
    )
    stopped = trainer.state.global_step
    assert stopped < 10
    assert stopped % 4
    frame = read_capture(tmp_path / "out").to_polars()
    assert frame["step"].max() == stopped
    check_against(frame, saved)


@pytest.mark.parametrize("at", [3, 4])
def test_a_resumed_run_gives_the_rows_of_an_uninterrupted_one(trained, tmp_path, at):
    """With a checkpoint between two captures, and at the step of one."""
    whole = TrainingCapture(every_steps=2)
    straight = capture_of(trained(whole, folder=tmp_path / "straight", max_steps=6))
    folder = tmp_path / "broken"

    class Stop(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(
            TrainingCapture(every_steps=2),
            folder=folder,
            callbacks=[Stop()],
            save_strategy="steps",
            save_steps=at,
        )
    assert read_capture(folder).frame["step"].max() == at - at % 2
    trained(TrainingCapture(every_steps=2), folder=folder, resume=str(folder / f"checkpoint-{at}"))
    assert_frame_equal(read_capture(folder).frame, straight, rel_tol=1e-9, abs_tol=1e-15)
    assert not (folder / PARTS).exists()


def test_rows_after_the_checkpoint_are_dropped_on_resume(trained, tmp_path):
    trained(TrainingCapture(every_steps=1), save_strategy="steps", save_steps=2)
    before = read_capture(tmp_path).frame
    trained(TrainingCapture(every_steps=3), resume=str(tmp_path / "checkpoint-4"), max_steps=6)
    after = read_capture(tmp_path).frame
    assert after["step"].unique().sort().to_list() == [1, 2, 3, 4, 6]
    assert_frame_equal(after.filter(pl.col("step") == 6), before.filter(pl.col("step") == 6), rel_tol=1e-9)


def test_without_the_start_a_resumed_run_records_nothing(trained, tmp_path, caplog):
    trained(TrainingCapture(tmp_path / "a", every_steps=1), save_strategy="steps", save_steps=2)
    capture = TrainingCapture(tmp_path / "b", every_steps=1)
    with caplog.at_level(logging.WARNING, "tunescope"):
        trainer = trained(capture, resume=str(tmp_path / "checkpoint-4"))
    assert trainer.state.global_step == 6
    assert isinstance(capture.failure, Missing)
    assert "step zero" in caplog.text
    with pytest.raises(Missing):
        read_capture(tmp_path / "b")


def test_captures_are_readable_before_the_end(trained, tmp_path):
    seen = []

    class Reader(TrainerCallback):
        def on_optimizer_step(self, args, state, control, **kwargs):
            if state.global_step:
                seen.append(read_capture(tmp_path).frame["step"].max())

    trained(TrainingCapture(every_steps=1), callbacks=[Reader()])
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("broken", ["Motion.measure", "Recording.append", "trainable"])
def test_a_failing_capture_never_stops_the_training(trained, monkeypatch, caplog, broken):
    capture = TrainingCapture(every_steps=2)
    monkeypatch.setattr(f"tunescope.training.capture.{broken}", lambda *_: 1 / 0)
    with caplog.at_level(logging.WARNING, "tunescope"):
        trainer = trained(capture)
    assert trainer.state.global_step == 6
    assert isinstance(capture.failure, ZeroDivisionError)
    assert caplog.text.count("capture has stopped") == 1


def test_a_panic_below_the_writer_never_stops_the_training(trained, monkeypatch):
    """It reaches Python as something that is no `Exception`."""

    def panic(*_):
        raise pl.exceptions.PanicException("out of bounds")

    monkeypatch.setattr("tunescope.training.capture.Recording.append", panic)
    capture = TrainingCapture(every_steps=2)
    assert trained(capture).state.global_step == 6
    assert isinstance(capture.failure, pl.exceptions.PanicException)


def test_a_second_training_leaves_the_capture_of_the_first_and_says_so(trained, tmp_path, caplog):
    trained(TrainingCapture(every_steps=3))
    names = ("capture.parquet", "capture.start.safetensors")
    before = [(tmp_path / name).read_bytes() for name in names]
    capture = TrainingCapture(every_steps=2)
    with caplog.at_level(logging.WARNING, "tunescope"):
        trainer = trained(capture, adapted(r=2))
    assert trainer.state.global_step == 6
    assert isinstance(capture.failure, UsageError)
    assert not capture.whole
    assert "capture-exists" in caplog.text
    assert [(tmp_path / name).read_bytes() for name in names] == before
    assert not (tmp_path / PARTS).exists()


@pytest.mark.parametrize("name", ["capture.parquet", "capture.parts/step-000000003.parquet"])
def test_even_a_torn_capture_is_replaced_only_where_asked(trained, tmp_path, name):
    (tmp_path / PARTS).mkdir()
    (tmp_path / name).write_bytes(b"PAR1 torn")
    capture = TrainingCapture(every_steps=3)
    trained(capture)
    assert isinstance(capture.failure, UsageError)
    assert (tmp_path / name).read_bytes() == b"PAR1 torn"
    capture = TrainingCapture(every_steps=3, overwrite=True)
    trained(capture)
    assert capture.failure is None
    assert read_capture(tmp_path).frame["step"].unique().sort().to_list() == [3, 6]


def test_a_resumed_training_with_another_start_touches_nothing(trained, tmp_path):
    trained(TrainingCapture(every_steps=1), save_strategy="steps", save_steps=2)
    before = (tmp_path / "capture.parquet").read_bytes()
    start = tmp_path / "capture.start.safetensors"
    save_file({name: tensor[:1] for name, tensor in load_file(start).items()}, start)
    capture = TrainingCapture(every_steps=1)
    trained(capture, resume=str(tmp_path / "checkpoint-4"))
    assert isinstance(capture.failure, BadInput)
    assert (tmp_path / "capture.parquet").read_bytes() == before


def test_a_recording_is_finished_only_at_its_end(trained, tmp_path):
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 5:
                raise KeyboardInterrupt

    trained(TrainingCapture(every_steps=1), save_strategy="steps", save_steps=2)
    assert progress(tmp_path) == Progress(True, 6)
    resumed = {"resume": str(tmp_path / "checkpoint-2"), "max_steps": 8}
    with pytest.raises(KeyboardInterrupt):
        trained(TrainingCapture(every_steps=2), callbacks=[Stop()], **resumed)
    assert progress(tmp_path) == Progress(False, 8)
    assert read_capture(tmp_path).frame["step"].unique().sort().to_list() == [1, 2, 4]
    trained(TrainingCapture(every_steps=2), **resumed)
    assert progress(tmp_path) == Progress(True, 8)
    assert read_capture(tmp_path).frame["step"].unique().sort().to_list() == [1, 2, 4, 6, 8]


@pytest.fixture
def disk(monkeypatch):
    """`disk.full` tells of a file's name whether there is no room for it."""

    class Disk:
        full = staticmethod(lambda _: False)

    real = os.replace

    def replace(source, target, **more):
        if Disk.full(Path(target).name):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(source, target, **more)

    monkeypatch.setattr(os, "replace", replace)
    return Disk


def test_what_a_full_disk_does_not_take_is_written_once_there_is_room(trained, disk, tmp_path, caplog):
    straight = capture_of(trained(TrainingCapture(every_steps=1), folder=tmp_path / "straight"))
    refused = []

    def full(name):
        no_room = name.startswith("step-") and len(refused) < 3
        refused.extend([name] * no_room)
        return no_room

    disk.full = full
    capture = TrainingCapture(every_steps=1)
    with caplog.at_level(logging.WARNING, "tunescope"):
        broken = capture_of(trained(capture, folder=tmp_path / "broken"))
    assert refused
    assert capture.failure is None
    assert capture.whole
    assert caplog.text.count("kept in memory") == 1
    assert_frame_equal(broken, straight)


def test_a_disk_that_stays_full_leaves_an_unfinished_recording(trained, disk, tmp_path):
    disk.full = lambda name: name.startswith("step-") and name > "step-000000002.parquet"
    capture = TrainingCapture(every_steps=1)
    assert trained(capture).state.global_step == 6
    assert isinstance(capture.failure, Exhausted)
    assert not capture.whole
    at = progress(tmp_path)
    assert (at.finished, at.planned) == (False, 6)
    assert read_capture(tmp_path).frame["step"].unique().sort().to_list() == [1, 2]


def test_why_a_recording_stopped_stands_beside_it(trained, monkeypatch, tmp_path):
    measure = Motion.measure
    calls = []

    def fail_at_the_third(motion):
        calls.append(1)
        return measure(motion) if len(calls) < 3 else 1 / 0

    monkeypatch.setattr(Motion, "measure", fail_at_the_third)
    trained(TrainingCapture(every_steps=1))
    at = progress(tmp_path)
    assert not at.finished
    assert at.reason == "ZeroDivisionError: division by zero"
    assert read_capture(tmp_path).frame["step"].unique().sort().to_list() == [1, 2]


@pytest.mark.parametrize(
    ("settings", "name", "module_type"),
    [
        ({"bias": "all"}, "L1_ATTN_Q_BIAS", "self_attn.q_proj.bias"),
        (
            {"trainable_token_indices": [3, 4]},
            "EMBED_TRAINABLE_TOKENS_DELTA",
            "embed_tokens.token_adapter.trainable_tokens_delta",
        ),
        ({"modules_to_save": ["lm_head"]}, "LM_HEAD", "lm_head"),
    ],
)
def test_names_are_the_bare_models_and_free_of_wrappers(settings, name, module_type):
    parts = trainable(adapted(llama(attention_bias=True), **settings))
    found = {module.matrices[0].address.module_type: i for i, module in enumerate(parts.modules)}
    assert parts.modules[found[module_type]].matrices[0].factor == "W"
    assert name in parts.component_names().values()
    assert not any("base_layer" in path or "default" in path for path in found)


def test_an_output_that_cannot_be_written_never_stops_the_training(trained, tmp_path):
    (tmp_path / "file").write_text("")
    capture = TrainingCapture(tmp_path / "file" / "below", every_steps=1)
    assert trained(capture).state.global_step == 6
    assert isinstance(capture.failure, OSError)


def test_other_processes_write_nothing(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.Trainer.is_world_process_zero", lambda _: False)
    trained(TrainingCapture(tmp_path / "second", every_steps=1))
    assert not (tmp_path / "second").exists()


def test_diverged_weights_stay_visible(trained):
    class Break(TrainerCallback):
        def on_step_end(self, args, state, control, model, **kwargs):
            if state.global_step == 3:
                next(p for p in model.parameters() if p.requires_grad).data.fill_(float("nan"))

    frame = capture_of(trained(TrainingCapture(every_steps=1), callbacks=[Break()], max_steps=4))
    broken = frame.filter(step=4, component_name="L0_ATTN_Q")
    assert broken["delta_frobenius_norm"].is_nan().all()


def test_sharded_parameters_are_named_as_skipped(trained, caplog):
    model = adapted()
    sharded = [p for name, p in model.named_parameters() if "layers.1" in name and p.requires_grad]
    for parameter in sharded:
        parameter.ds_id = 7
    with caplog.at_level(logging.WARNING, "tunescope"):
        trainer = trained(TrainingCapture(every_steps=6), model)
    assert "4 parameters not captured (skipped: sharded)" in caplog.text
    table = read_capture(trainer.args.output_dir)
    assert set(table.frame["layer"]) == {0}
    assert len(table.meta["skipped"]) == 4


@pytest.mark.parametrize(
    "settings", [{"use_dora": True}, {"use_rslora": True}, {"modules_to_save": ["lm_head"]}]
)
def test_variants_are_recorded_with_their_own_scale(trained, settings):
    saved = Saved()
    model = adapted(**settings)
    frame = capture_of(trained(TrainingCapture(every_steps=6), model, callbacks=[saved]))
    assert frame.height == len(saved.steps[0])
    module = model.base_model.model.model.layers[0].self_attn.q_proj
    dense = module.get_delta_weight("default") if "use_dora" not in settings else None
    row = frame.filter(component_name="L0_ATTN_Q", factor="A").row(0, named=True)
    if dense is not None:
        assert row["delta_frobenius_norm"] == pytest.approx(dense.norm().item(), rel=1e-5)
    assert row["delta_frobenius_norm"] > 0


def test_other_adapters_have_statistics_and_no_norm(trained):
    from peft import AdaLoraConfig

    torch.manual_seed(0)
    config = AdaLoraConfig(
        init_r=4, target_r=4, total_step=100, target_modules=["q_proj"], task_type="CAUSAL_LM"
    )
    frame = capture_of(trained(TrainingCapture(every_steps=6), get_peft_model(llama(), config)))
    assert frame["delta_frobenius_norm"].is_null().all()
    assert (frame.filter(factor="A")["abs_mean"] > 0).all()


def test_experts_are_recorded_one_by_one():
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = MixtralConfig(**sizes, num_key_value_heads=2, vocab_size=32, num_local_experts=3)
    lora = LoraConfig(
        r=2,
        target_modules=["q_proj"],
        target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
    )
    model = get_peft_model(MixtralForCausalLM(config), lora)
    parts = trainable(model)
    start = {name: tensor.detach().clone() for name, tensor in parts.parameters.items()}
    for parameter in parts.parameters.values():
        parameter.data.add_(torch.randn_like(parameter))
    dense = {name: at.get_delta_weight("default").double() for name, at in expert_layers(model)}
    values = Motion(parts, start).measure()
    for name, parameter in parts.parameters.items():
        parameter.data.copy_(start[name])
    for target, at in expert_layers(model):
        moved = (dense[target] - at.get_delta_weight("default").double()).flatten(1).norm(dim=1)
        rows = [
            (matrix.address.expert, value[4])
            for matrix, value in zip(parts.matrices, values, strict=True)
            if matrix.address.module_type.endswith(target) and matrix.factor == "B"
        ]
        assert [expert for expert, _ in rows] == [0, 1, 2]
        assert [norm for _, norm in rows] == pytest.approx(moved.tolist(), rel=1e-5)


def expert_layers(model):
    """PEFT wraps one parameter in another's wrapper: the outermost first."""
    layer = model.base_model.model.model.layers[0].mlp.experts
    while hasattr(layer, "parameter_name"):
        yield layer.parameter_name, layer
        layer = layer.base_layer


@pytest.mark.parametrize("spacing", [{"every_steps": 0}, {"per_epoch": -1}])
def test_an_impossible_spacing_is_refused(spacing):
    with pytest.raises(UsageError):
        TrainingCapture(**spacing)


def test_weights_sharded_by_fsdp_are_named_as_skipped():
    from torch.distributed import HashStore, destroy_process_group, init_process_group
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        model = llama()
        fully_shard(model.model.layers[0], mesh=init_device_mesh("cpu", (1,)))
        parts = trainable(model)
    finally:
        destroy_process_group()
    assert len(parts.skipped) == 9
    assert all(".layers.0." in name and "sharded" in reason for name, reason in parts.skipped.items())
    assert not any(".layers.0." in name for name in parts.parameters)
