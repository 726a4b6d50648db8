"""Each trap of the training stack, with its guard: 4-bit repacking, trl's rounding, threads, launchers."""

import copy
import subprocess
import sys

import pytest
import torch
from peft import PeftModel
from polars.testing import assert_frame_equal
from transformers import Trainer

from tunescope.errors import UsageError
from tunescope.training import guards
from tunescope.training.capture import TrainingCapture
from tunescope.training.model import load_base, prepare
from tunescope.training.recipe import Recipe
from tunescope.training.recording import read_capture
from tunescope.training.run import Run
from tunescope.training.run import arguments as run_arguments

from .conftest import Tokens, arguments


@pytest.fixture
def base(model_folder):
    """Load the tiny model in 4 bits, as `finetune` does."""

    def load(quantize="nf4"):
        torch.manual_seed(0)
        recipe = Recipe(model=str(model_folder), rank=4, alpha=8, quantize=quantize)
        return prepare(load_base(recipe), recipe)

    return load


def train(model, folder, callbacks=(), **changes):
    trainer = Trainer(
        model=model,
        args=arguments(folder, max_steps=4, learning_rate=2e-2, **changes),
        train_dataset=Tokens(),
        eval_dataset=Tokens(4),
        callbacks=list(callbacks),
    )
    trainer.train()
    return trainer


def motion_of(folder):
    return read_capture(folder).frame.drop("loss")


def test_an_evaluation_in_the_middle_changes_nothing(base, tmp_path):
    folders = tmp_path / "without", tmp_path / "with"
    train(base(), folders[0], [TrainingCapture(every_steps=1)])
    train(base(), folders[1], [TrainingCapture(every_steps=1)], eval_strategy="steps", eval_steps=1)
    assert motion_of(folders[1]).equals(motion_of(folders[0]))


@pytest.mark.parametrize("guarded_by", ["recipe", "capture"])
def test_evaluation_never_repacks_4bit_weights(base, tmp_path, monkeypatch, guarded_by):
    """As on a processor whose instructions bitsandbytes would repack for, if it could."""
    from bitsandbytes.nn import modules

    repacked = []

    def spy(data, state):
        repacked.append(1)
        return data, state

    monkeypatch.setattr(modules, "_convert_weight_packed_for_cpu", spy)
    model = base()
    assert not any(module.support_avx512bf16_for_cpu for module in four_bit(model))
    if guarded_by == "capture":
        for module in four_bit(model):
            module.support_avx512bf16_for_cpu = True
        train(model, tmp_path, [TrainingCapture()], eval_strategy="steps", eval_steps=2)
    else:
        model.eval()
        with torch.no_grad():
            model(Tokens(2).ids)
    assert not repacked


def four_bit(model):
    return [
        module
        for module in model.modules()
        if type(module).__name__ == "Linear4bit" and not hasattr(module, "lora_A")
    ]


def test_weights_that_are_packed_already_are_named(base):
    model = base()
    packed = four_bit(model)[0]
    packed.weight.quant_state.packing_format_for_cpu = True
    assert len(guards.keep_4bit_weights_unpacked(model)) == 1


@pytest.mark.filterwarnings("ignore:Merge lora module to 4-bit:UserWarning")
def test_a_merge_after_an_evaluation_is_right(base, tmp_path):
    from bitsandbytes.functional import dequantize_4bit

    trainer = train(base(), tmp_path, [TrainingCapture()], eval_strategy="steps", eval_steps=2)
    trainer.evaluate()
    model = trainer.model
    assert isinstance(model, PeftModel)
    layer = model.base_model.model.model.layers[1].self_attn.v_proj
    before = dequantize_4bit(layer.base_layer.weight.data, layer.base_layer.weight.quant_state).float()
    expected = before + layer.get_delta_weight("default").float()
    merged = copy.deepcopy(model).merge_and_unload().model.layers[1].self_attn.v_proj
    found = dequantize_4bit(merged.weight.data, merged.weight.quant_state).float()
    # What is left is the rounding to 16 levels again.
    assert (found - expected).norm() < 0.2 * expected.norm()


def supervised(model, folder, callbacks, **changes):
    """trl's trainer on ready-made tokens, with its defaults that slow a CPU down switched off."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = Dataset.from_list([{"input_ids": row.tolist(), "labels": row.tolist()} for row in Tokens(16).ids])
    settings = {
        "output_dir": str(folder),
        "max_steps": 4,
        "per_device_train_batch_size": 2,
        "learning_rate": 2e-5,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "logging_steps": 1,
        "max_length": None,
        "dataloader_pin_memory": False,
    }
    args = SFTConfig(**settings | changes)
    return SFTTrainer(model=model, args=args, train_dataset=rows, callbacks=callbacks)


@pytest.mark.parametrize("late", [False, True])
def test_sft_adapters_move_in_float32(base, tmp_path, late):
    """trl narrows the adapter of a quantised model to bfloat16, where steps of 2e-5 mostly vanish."""
    capture = TrainingCapture(every_steps=1)
    trainer = supervised(base(), tmp_path, [] if late else [capture])
    trainable = [p for p in trainer.model.parameters() if p.requires_grad]
    if late:
        assert {p.dtype for p in trainable} == {torch.bfloat16}
        trainer.add_callback(capture)
    trainer.train()
    assert {p.dtype for p in trainable} == {torch.float32}
    table = read_capture(tmp_path)
    assert table.meta["dtypes"] == ["float32"]
    assert capture.failure is None
    # Adam's first step moves every weight by the learning rate, which bfloat16 would round to 0 or to more.
    first = table.frame.filter(step=1, factor="B")
    assert first["abs_mean"].to_list() == pytest.approx([2e-5] * first.height, rel=0.05)


def test_a_resumed_sft_run_gives_the_rows_of_an_uninterrupted_one(base, tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 2, "gradient_accumulation_steps": 2}
    supervised(base(), tmp_path, [TrainingCapture(every_steps=1)], **saving).train()
    straight = read_capture(tmp_path).frame
    again = supervised(base(), tmp_path, [TrainingCapture(every_steps=1)], **saving)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    resumed = read_capture(tmp_path).frame
    assert resumed["step"].unique().sort().to_list() == [1, 2, 3, 4]
    assert_frame_equal(resumed.drop("loss"), straight.drop("loss"), rel_tol=1e-6, abs_tol=1e-12)


def test_trls_own_defaults_are_captured_as_they_are(base, tmp_path):
    """It trains under bfloat16 autocast with checkpointing and logs every tenth step."""
    defaults = {"bf16": True, "gradient_checkpointing": True, "logging_steps": 10}
    capture = TrainingCapture(every_steps=1)
    supervised(base(), tmp_path, [capture], **defaults).train()
    frame = read_capture(tmp_path).frame
    assert capture.failure is None
    assert frame["loss"].is_null().all()
    assert (frame.filter(factor="B")["abs_mean"] > 0).all()


def test_what_changes_numbers_is_not_left_to_a_trainers_defaults(tmp_path):
    run = Run("d", 1e-3, 5, tmp_path)
    recipe = Recipe(model="x", batch_size=2, accumulate=4, epochs=2, warmup=0.1, checkpoints_per_epoch=2)
    found = run_arguments(run, recipe, 100, [], on_gpu=False)
    assert (found.bf16, found.fp16, found.logging_steps, found.use_cpu) == (False, False, 1, True)
    assert (found.seed, found.data_seed, found.learning_rate, found.num_train_epochs) == (5, 5, 1e-3, 2)
    # 50 batches make 13 steps of an epoch.
    assert (found.save_steps, found.warmup_steps, found.weight_decay) == (6, 2, 0.0)


def test_half_precision_adapters_are_left_alone_in_other_trainers(base, tmp_path):
    model = base("none")
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.bfloat16()
    train(model, tmp_path, [TrainingCapture(every_steps=4)])
    assert read_capture(tmp_path).meta["dtypes"] == ["bfloat16"]


@pytest.mark.parametrize("quantize", ["nf4", "int8", "none"])
def test_the_recipe_trains_adapters_in_float32(base, quantize):
    model = base(quantize)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert all("lora_" in name for name in names)


THREADS = """
import torch
from tunescope.training.guards import few_threads
print(few_threads(), torch.get_num_threads())
"""


@pytest.mark.parametrize(("given", "expected"), [(None, "True 1"), ("2", "False 2")])
def test_threads_do_not_fight_unless_asked_to(given, expected, monkeypatch):
    # torch follows MKL's count where one is set, which another test of this process may have done.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


@pytest.mark.parametrize(
    ("environment", "refused"),
    [
        ({"ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "127.0.0.1"}, True),
        ({"ACCELERATE_USE_CPU": "true", "MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "1"}, True),
        ({"ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "2"}, False),
        ({"ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "127.0.0.1", "PMI_SIZE": "2"}, False),
        ({"ACCELERATE_USE_CPU": "True", "ACCELERATE_DYNAMO_BACKEND": "NO"}, True),
        ({"ACCELERATE_USE_CPU": "True"}, False),
        ({"MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "1"}, False),
        ({}, False),
    ],
)
def test_a_launch_that_starts_one_process_of_several_is_refused(environment, refused):
    if refused:
        with pytest.raises(UsageError, match="torchrun"):
            guards.refuse_degraded_launch(environment)
    else:
        guards.refuse_degraded_launch(environment)
