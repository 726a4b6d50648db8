from pathlib import Path

import pytest

from tunescope.errors import BadInput
from tunescope.source.steps import bare, gaps, numbered, series


@pytest.mark.parametrize(
    ("name", "number", "unit"),
    [
        ("checkpoint-1500", 1500, "step"),
        ("checkpoint_7", 7, "step"),
        ("global_step_100", 100, "step"),
        ("global_step500", 500, "step"),
        ("step_20", 20, "step"),
        ("step-000100", 100, "step"),
        ("iter_0002000", 2000, "step"),
        ("epoch_3", 3, "epoch"),
        ("epoch12", 12, "epoch"),
        ("checkpoint-epoch-2", 2, "epoch"),
        ("0000100_adapters.safetensors", 100, "step"),
        ("style-000004.safetensors", 4, "epoch"),
        ("style-step00000500.safetensors", 500, "step"),
        ("style_000000250.safetensors", 250, "step"),
        ("epoch=1-step=200.ckpt", 200, "step"),
        ("checkpoint_100k", 100_000, "step"),
        ("ckpt-2M", 2_000_000, "step"),
        ("step-1.5k", 1_500, "step"),
        ("lora_step_2.5k.safetensors", 2_500, "step"),
        ("iter_0000100", 100, "step"),
        ("epoch-2-step-300", 300, "step"),
        ("step_300_epoch_2", 300, "step"),
        ("name--val_loss=0.53-step=900-consumed_samples=7200.0.ckpt", 900, "step"),
        ("stage1-step140000-tokens294B", 140_000, "step"),
        ("500_steps", 500, "step"),
        ("style-500steps.safetensors", 500, "step"),
        ("3-epochs", 3, "epoch"),
        ("global_step100_hf", 100, "step"),
        ("style_000000250_high_noise.safetensors", 250, "step"),
        ("2026-01-01_12-00-00-save-100-1-40.safetensors", 100, "step"),
        ("lora_weight_e1_s200.pt", 200, "step"),
        ("adapter_2.pt", 2, "epoch"),
    ],
)
def test_every_tools_numbering_is_read(name: str, number: int, unit: str) -> None:
    found = numbered(Path("runs") / name)
    assert found is not None
    assert (found.number, found.unit) == (number, unit)


@pytest.mark.parametrize(
    "name",
    [
        "seed-0", "lr-2e-4", "lora_r16.safetensors", "rank_8", "model-00001-of-00002.safetensors",
        "adapter_model.safetensors", "llama-3", "rng_state_0.pth", "qwen2.5-0.5b.safetensors",
        "step-1.5", "checkpoint-1.2345k", "checkpoint-1e3", "model-1.5step", "100", "misstep_5", "step_4b",
    ],
)  # fmt: skip
def test_a_number_that_counts_no_steps_is_none(name: str) -> None:
    assert numbered(Path(name)) is None


def test_epochs_within_a_name_do_not_part_a_series() -> None:
    paths = [Path(f"epoch={epoch}-step={100 * (epoch + 1)}.ckpt") for epoch in (1, 0, 10)]
    (ordered,) = series(paths).values()
    assert [one.number for one in ordered] == [100, 200, 1100]


@pytest.mark.parametrize(
    "names",
    [
        ["checkpoint_900k", "checkpoint_1m", "checkpoint_1.5m"],
        ["epoch_1_step_50", "epoch_2_step_100"],
        ["a-val_loss=0.5-step=10.ckpt", "a-val_loss=0.25-step=20.ckpt"],
        ["step1000-tokens4B", "step2000-tokens8B"],
        ["lora_weight_e0_s100.pt", "lora_weight_e1_s200.pt"],
        ["2026-01-01_12-00-00-save-100-1-40.safetensors", "2026-01-01_12-30-00-save-200-3-20.safetensors"],
    ],
)
def test_what_changes_beside_the_step_does_not_part_a_series(names: list[str]) -> None:
    (ordered,) = series(map(Path, reversed(names))).values()
    assert [one.path.name for one in ordered] == names


@pytest.mark.parametrize(("name", "number"), [("0", 0), ("0200", 200), ("150000.safetensors", 150_000)])
def test_a_bare_number_is_one(name: str, number: int) -> None:
    found = bare(Path(name))
    assert found is not None
    assert (found.number, found.bare) == (number, True)


@pytest.mark.parametrize("name", ["20260131", "1769817600", "20260131120000", "1.5", "7b", "v2", "9" * 40])
def test_days_clock_times_and_sizes_are_no_bare_numbers(name: str) -> None:
    assert bare(Path(name)) is None


@pytest.mark.parametrize("digits", ["1" + "0" * 20, str(2**63), "9" * 400])
def test_a_step_that_no_training_has_is_refused(digits: str) -> None:
    with pytest.raises(BadInput, match="step-too-large"):
        numbered(Path(f"checkpoint-{digits}"))


@pytest.mark.parametrize(
    ("steps", "every", "lacking"),
    [
        ([10, 20, 30], None, []),
        ([10, 20, 40], None, [30]),
        ([10, 20, 40, 45], None, [30]),
        ([900, 1000], 100, [100, 200, 300, 400, 500, 600, 700, 800]),
        ([2, 3, 4], None, [1]),
        ([1, 2, 4, 8, 16], None, []),
        ([3, 10, 20], None, []),
        ([1, 1001, 2001], None, []),
        ([7], None, []),
        ([10**17, 2 * 10**17], 1, []),
    ],
)
def test_what_lacks_in_an_even_series_is_known(
    steps: list[int], every: int | None, lacking: list[int]
) -> None:
    assert gaps(steps, every) == lacking
