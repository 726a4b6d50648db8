"""Folders that a DeepSpeed engine saved."""

import json
import subprocess
from pathlib import Path

import pytest
import torch

from tunescope import trajectory
from tunescope.errors import BadInput
from tunescope.source.open import open_source

SHAPE = (9, 7)
WEIGHTS = tuple(f"model.layers.{layer}.mlp.down_proj.weight" for layer in range(3))


def save(run: Path, step: int, module: dict[str, torch.Tensor], name: str = "mp_rank_00") -> Path:
    """One folder as `save_checkpoint` of the engine writes it."""
    folder = run / f"global_step{step}"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(
        {"module": module, "global_steps": step, "ds_version": "0.17.0"}, folder / f"{name}_model_states.pt"
    )
    optimizer = {"optimizer_state_dict": {"zero_stage": 2}, "ds_version": "0.17.0"}
    torch.save(optimizer, folder / "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt")
    return folder


def test_a_run_of_whole_weights_is_read_from_the_states_of_its_module(tmp_path: Path) -> None:
    torch.manual_seed(2)
    moved = {name: torch.randn(SHAPE) for name in WEIGHTS}
    for step in (10, 20):
        save(tmp_path / "run", step, {name: step * value for name, value in moved.items()})
    found = trajectory(tmp_path / "run").tables["motion_by_step"].frame["delta_frobenius_norm"].to_list()
    expected = sum((10 * value).double().square().sum().item() for value in moved.values()) ** 0.5
    assert found == pytest.approx([0.0, expected], rel=1e-6)


def test_an_adapter_in_a_trainers_checkpoint_is_read_there(tmp_path: Path) -> None:
    a, b = torch.ones(2, 7), torch.ones(9, 2)
    for step in (5, 10):
        module = {
            "base_model.model.x.0.up.base_layer.weight": torch.zeros(SHAPE),
            "base_model.model.x.0.up.lora_A.default.weight": a,
            "base_model.model.x.0.up.lora_B.default.weight": step * b,
        }
        save(tmp_path / f"checkpoint-{step}", step, module)
    study = trajectory(f"l={tmp_path}", scale={"l": 0.5})
    found = study.tables["motion_by_step"].frame["delta_frobenius_norm"].to_list()
    assert found == pytest.approx([0.5 * step * float((b @ a).norm()) for step in (5, 10)], rel=1e-6)


def test_weights_in_parts_are_refused_with_what_joins_them(tmp_path: Path) -> None:
    folder = save(tmp_path / "zero3", 7, {}, "zero_pp_rank_0_mp_rank_00")
    with pytest.raises(BadInput) as refusal:
        open_source(folder)
    command = f"python -m deepspeed.utils.zero_to_fp32 {tmp_path}/zero3 OUT --tag global_step7"
    assert (refusal.value.slug, command in str(refusal.value)) == ("split-by-deepspeed", True)
    for part in (0, 1):
        folder = save(tmp_path / "parallel", 7, {}, f"mp_rank_0{part}")
    with pytest.raises(BadInput) as refusal:
        open_source(folder)
    assert refusal.value.slug == "split-by-deepspeed"


def test_the_command_that_joins_parts_runs_as_it_is_told(tmp_path: Path) -> None:
    run = tmp_path / "my run's weights"
    folder = save(run, 7, {}, "zero_pp_rank_0_mp_rank_00")
    # Says what the script that DeepSpeed leaves there is called with.
    (run / "zero_to_fp32.py").write_text("import json, sys; print(json.dumps(sys.argv))")
    with pytest.raises(BadInput) as refusal:
        open_source(folder)
    command, _, then = str(refusal.value.fix).rpartition(", then ")
    said = subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout
    assert json.loads(said) == [str(run / "zero_to_fp32.py"), str(run), "OUT", "--tag", "global_step7"]
    assert then == "name OUT"
