import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tunescope.errors import BadInput, Missing
from tunescope.source.checkpoints import open_checkpoint
from tunescope.source.runs import find_runs


def checkpoint(
    folder: Path, step: int, *, state: dict[str, object] | None = None, weights: bool = True
) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    if weights:
        save_file({"w": np.ones((2, 2), dtype=np.float32)}, path / "adapter_model.safetensors")
    if state is not None:
        (path / "trainer_state.json").write_text(json.dumps(state))
    return path


def state(step: int, max_steps: int = 1000) -> dict[str, object]:
    history = [{"step": s, "loss": 3.0 - s / 1000, "learning_rate": 1e-4} for s in range(100, step + 1, 100)]
    return {"global_step": step, "max_steps": max_steps, "epoch": step / 500, "log_history": history}


def test_checkpoints_come_in_order_of_step_not_of_name(tmp_path: Path) -> None:
    for step in (1000, 200, 90):
        checkpoint(tmp_path / "run", step, state=state(step))
    (run,) = find_runs([(None, str(tmp_path / "run"))])
    assert [c.step for c in run.checkpoints] == [90, 200, 1000]
    assert run.label == "run"
    assert run.checkpoints[1].epoch == 0.4
    assert run.checkpoints[1].losses == {100: 2.9, 200: 2.8}
    assert run.checkpoints[2].max_steps == 1000


def test_a_linked_checkpoint_has_the_step_of_the_link(tmp_path: Path) -> None:
    for number, step in enumerate((10, 20)):
        real = checkpoint(tmp_path / "store", step, state=state(step)).rename(tmp_path / f"blob-{number}")
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / f"checkpoint-{step}").symlink_to(real)
    (run,) = find_runs([(None, str(tmp_path / "run"))])
    assert [c.step for c in run.checkpoints] == [10, 20]
    (named,) = find_runs([(None, str(tmp_path / "run" / f"checkpoint-{step}")) for step in (10, 20)])
    assert [c.step for c in named.checkpoints] == [10, 20]


def test_a_half_written_checkpoint_is_skipped_with_a_notice(tmp_path: Path) -> None:
    checkpoint(tmp_path, 100, state=state(100))
    checkpoint(tmp_path, 200)
    (run,) = find_runs([(None, str(tmp_path))])
    assert [c.step for c in run.checkpoints] == [100]
    assert [n.slug for n in run.notices] == ["half-written"]
    assert "checkpoint-200" in run.notices[0].text


def test_a_half_written_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    checkpoint(tmp_path, 100, state=state(100))
    broken = checkpoint(tmp_path, 200)
    with pytest.raises(BadInput, match="half-written"):
        find_runs([(None, str(broken))])


def test_without_any_trainer_state_steps_come_from_the_names(tmp_path: Path) -> None:
    checkpoint(tmp_path, 5)
    checkpoint(tmp_path, 10)
    (run,) = find_runs([(None, str(tmp_path))])
    assert [c.step for c in run.checkpoints] == [5, 10]
    assert [n.slug for n in run.notices] == ["no-trainer-state"]


def test_checkpoints_named_one_by_one_make_one_run(tmp_path: Path) -> None:
    paths = [checkpoint(tmp_path / "run", step, state=state(step)) for step in (300, 100)]
    checkpoint(tmp_path / "run", 200, state=state(200))
    (run,) = find_runs([(None, str(path)) for path in paths])
    assert (run.label, [c.step for c in run.checkpoints]) == ("run", [100, 300])


def test_a_state_that_names_another_step_is_noticed(tmp_path: Path) -> None:
    checkpoint(tmp_path, 100, state=state(90))
    (run,) = find_runs([(None, str(tmp_path))])
    assert [n.slug for n in run.notices] == ["step-mismatch"]


def captured(folder: Path, **facts: object) -> None:
    folder.mkdir(parents=True)
    (folder / "capture.parquet").write_bytes(b"")
    if facts:
        (folder / "run.json").write_text(json.dumps(facts))


def test_a_sweep_is_found_with_domain_rate_and_seed(tmp_path: Path) -> None:
    for domain in ("cpp", "python"):
        for rate in ("2e-4", "1e-3"):
            captured(tmp_path / "RUNS" / domain / f"lr-{rate}" / "seed-0")
    runs = find_runs([(None, str(tmp_path / "RUNS"))])
    assert [(r.domain, r.learning_rate, r.seed) for r in runs] == [
        ("cpp", 1e-3, 0), ("cpp", 2e-4, 0), ("python", 1e-3, 0), ("python", 2e-4, 0),
    ]  # fmt: skip
    assert runs[0].label == "cpp/lr-1e-3/seed-0"
    assert all(r.capture for r in runs)


def test_what_the_run_says_of_itself_wins_over_its_path(tmp_path: Path) -> None:
    captured(tmp_path / "here", domain="physics", learning_rate=5e-4, seed=3)
    (run,) = find_runs([("mine", str(tmp_path / "here"))])
    assert (run.label, run.domain, run.learning_rate, run.seed) == ("mine", "physics", 5e-4, 3)


def test_parts_of_a_killed_run_are_a_capture(tmp_path: Path) -> None:
    (tmp_path / "capture.parts").mkdir()
    (tmp_path / "capture.parts" / "step-000000001.parquet").write_bytes(b"")
    (run,) = find_runs([(None, str(tmp_path))])
    assert run.capture


def test_two_sweeps_with_equal_paths_keep_their_labels_apart(tmp_path: Path) -> None:
    for root in ("lora", "full"):
        captured(tmp_path / root / "cpp" / "lr-2e-4" / "seed-0")
    runs = find_runs([(None, str(tmp_path / "lora")), (None, str(tmp_path / "full"))])
    assert [r.label for r in runs] == ["lora/cpp/lr-2e-4/seed-0", "full/cpp/lr-2e-4/seed-0"]
    assert len(find_runs([(None, str(tmp_path / "lora"))] * 2)) == 1


def test_runs_of_one_name_are_called_after_what_tells_their_folders_apart(tmp_path: Path) -> None:
    for domain in ("cats", "dogs"):
        captured(tmp_path / domain / "out" / "seed-0")
    places = [str(tmp_path / domain / "out" / "seed-0") for domain in ("cats", "dogs")]
    assert [r.label for r in find_runs([(None, p) for p in places])] == ["cats/seed-0", "dogs/seed-0"]
    assert [r.label for r in find_runs([("mine", p) for p in places])] == ["cats/mine", "dogs/mine"]


def test_places_without_runs_are_named(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="not-found"):
        find_runs([(None, str(tmp_path / "absent"))])
    with pytest.raises(BadInput, match="no-run"):
        find_runs([(None, str(tmp_path))])
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(BadInput, match="no-run"):
        find_runs([(None, str(tmp_path / "notes.txt"))])


@pytest.mark.parametrize("text", ["{", "[1, 2]", '{"a": ' * 5000])
def test_a_broken_trainer_state_is_named(tmp_path: Path, text: str) -> None:
    path = checkpoint(tmp_path, 100)
    (path / "trainer_state.json").write_text(text)
    with pytest.raises(BadInput, match=r"bad-json[\s\S]*trainer_state"):
        find_runs([(None, str(tmp_path))])


def test_a_sharded_whole_model_is_opened_with_all_its_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = {
        "model-00001-of-00002.safetensors": {"model.layers.0.mlp.up_proj.weight": rng.normal(size=(4, 3))},
        "model-00002-of-00002.safetensors": {
            "model.layers.1.mlp.up_proj.weight": rng.normal(size=(4, 3)),
            "model.norm.weight": rng.normal(size=4),
        },
    }  # fmt: skip
    index = {name: file for file, tensors in parts.items() for name in tensors}
    for file, tensors in parts.items():
        save_file({n: t.astype(np.float32) for n, t in tensors.items()}, tmp_path / file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    saved = open_checkpoint(tmp_path)
    assert saved.kind == "full"
    assert sorted((a.layer, a.module_type) for a in saved.weights if a.layer is not None) == [
        (0, "mlp.up_proj"), (1, "mlp.up_proj"),
    ]  # fmt: skip
    assert all(w.whole for w in saved.weights.values())


def saved(path: Path, metadata: dict[str, str] | None = None, value: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    down, up = "lora_unet_down_blocks_0_x.lora_down.weight", "lora_unet_down_blocks_0_x.lora_up.weight"
    tensors = {down: np.ones((2, 4), np.float32), up: np.full((4, 2), value, np.float32)}
    save_file(tensors, path, metadata)
    return path


def steps_of(*paths: Path) -> list[list[int]]:
    return [[c.step for c in run.checkpoints] for run in find_runs([(None, str(path)) for path in paths])]


@pytest.mark.parametrize(
    "inner",
    ["pytorch_lora_weights.safetensors", "adapter_model/adapter_model.safetensors",
     "actor/lora_adapter/adapter_model.safetensors", "model-00001-of-00001.safetensors", "pytorch_model.bin"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["checkpoint-{}", "global_step_{}", "step_{}", "epoch_{}"])
def test_numbered_folders_hold_their_weights_in_many_places(tmp_path: Path, name: str, inner: str) -> None:
    for step in (9, 10, 100):
        saved(tmp_path / name.format(step) / inner)
        (tmp_path / name.format(step) / "optimizer_0").mkdir()
        saved(tmp_path / name.format(step) / "optimizer_0" / "model.safetensors")
    assert steps_of(tmp_path) == [[9, 10, 100]]


def test_a_checkpoint_with_two_unknown_folders_of_weights_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        saved(tmp_path / "checkpoint-5" / name / "adapter_model.safetensors")
    with pytest.raises(BadInput, match="ambiguous-weights"):
        find_runs([(None, str(tmp_path))])


def test_files_count_their_own_steps_and_the_last_one_joins_where_it_says_its_own(tmp_path: Path) -> None:
    for epoch in (1, 2):
        said = {"ss_steps": str(50 * epoch), "ss_epoch": str(epoch)}
        saved(tmp_path / f"style-{epoch:06d}.safetensors", said, epoch)
    saved(tmp_path / "style.safetensors", {"ss_steps": "150", "ss_epoch": "3"}, 3)
    (run,) = find_runs([(None, str(tmp_path))])
    assert [(c.step, c.epoch) for c in run.checkpoints] == [(50, 1.0), (100, 2.0), (150, 3.0)]
    assert "ss_steps" in run.order


def test_a_last_file_that_says_no_step_is_left_out_with_a_notice_unless_it_is_the_last_again(
    tmp_path: Path,
) -> None:
    for step in (100, 200):
        saved(tmp_path / f"{step:07d}_adapters.safetensors", value=step)
    saved(tmp_path / "adapters.safetensors", value=200)
    (run,) = find_runs([(None, str(tmp_path))])
    assert (run.notices, [c.step for c in run.checkpoints]) == ((), [100, 200])
    saved(tmp_path / "adapters.safetensors", value=250)
    (run,) = find_runs([(None, str(tmp_path))])
    assert [n.slug for n in run.notices] == ["last-left-out"]


def test_two_series_of_one_folder_are_two_runs(tmp_path: Path) -> None:
    for step in (1, 2):
        saved(tmp_path / f"cat-{step:06d}.safetensors")
        saved(tmp_path / f"dog-{step:06d}.safetensors")
    runs = find_runs([("mine", str(tmp_path))])
    assert [run.label for run in runs] == ["mine/cat", "mine/dog"]


def test_weights_named_one_by_one_come_in_the_order_given(tmp_path: Path) -> None:
    paths = [saved(tmp_path / name / "adapter_model.safetensors").parent for name in ("warm", "cold", "end")]
    (run,) = find_runs([(None, str(path)) for path in paths])
    assert [(c.step, c.path.name) for c in run.checkpoints] == [(1, "warm"), (2, "cold"), (3, "end")]
    assert "order" in run.order
    two = [("a", str(paths[0])), ("b", str(paths[1])), ("a", str(paths[2])), ("b", str(paths[0]))]
    assert [(r.label, [c.path.name for c in r.checkpoints]) for r in find_runs(two)] == [
        ("a", ["warm", "end"]), ("b", ["cold", "warm"]),
    ]  # fmt: skip
    with pytest.raises(BadInput, match="no-run"):
        find_runs([(None, str(paths[0]))])


def test_numbered_files_named_one_by_one_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"{step:07d}_adapters.safetensors") for step in (300, 100)]
    assert steps_of(*paths) == [[100, 300]]
    inside = [saved(tmp_path / f"checkpoint-{s}" / "adapter_model.safetensors") for s in (20, 10)]
    assert steps_of(*inside) == [[10, 20]]


def test_numbered_weights_each_in_a_folder_of_its_own_are_one_run(tmp_path: Path) -> None:
    files = [saved(tmp_path / f"disk{i}" / f"name-{i:06d}.safetensors") for i in (3, 1, 2)]
    folders = [checkpoint(tmp_path / f"node{i}", 10 * i) for i in (2, 1)]
    assert steps_of(*files) == [[1, 2, 3]]
    assert steps_of(*folders) == [[10, 20]]
    # Ends of two trainings are two runs.
    assert steps_of(checkpoint(tmp_path / "seed-0", 90), checkpoint(tmp_path / "seed-1", 90)) == [[90], [90]]


def test_bare_numbers_of_folders_above_count_only_under_one_name(tmp_path: Path) -> None:
    other = [
        saved(tmp_path / f"{i}" / f"{n}.safetensors") for i, n in ((34, "warm"), (35, "cold"), (36, "end"))
    ]
    alike = [saved(tmp_path / "run" / f"{i}" / "adapter_model.safetensors") for i in (200, 100)]
    assert steps_of(*other) == [[1, 2, 3]]
    assert steps_of(*alike) == [[100, 200]]


def test_a_gap_and_a_lost_beginning_are_noticed(tmp_path: Path) -> None:
    for step in (300, 400, 600):
        checkpoint(tmp_path, step, state=state(step))
    (run,) = find_runs([(None, str(tmp_path))])
    assert [n.slug for n in run.notices] == ["steps-missing"] * 2
    assert "100, 200" in run.notices[0].text
    assert "500" in run.notices[1].text


def test_a_folder_of_links_to_itself_is_looked_at_once(tmp_path: Path) -> None:
    for i in range(12):
        (tmp_path / f"l{i}").symlink_to(".")
    checkpoint(tmp_path / "run", 10)
    (run,) = find_runs([(None, str(tmp_path))])
    assert run.label == "run"


def test_a_checkpoint_that_is_a_link_has_the_step_of_its_name(tmp_path: Path) -> None:
    for i, step in enumerate((10, 20)):
        saved(tmp_path / "store" / f"blob{i}" / "adapter_model.safetensors")
        (tmp_path / f"checkpoint-{step}").symlink_to(tmp_path / "store" / f"blob{i}")
    assert steps_of(tmp_path) == [[10, 20]]


def strange(folder: Path, log: object) -> Path:
    path = checkpoint(folder, 100)
    said = {"global_step": 100, "max_steps": 10**30, "epoch": "nan", "log_history": log, "save_steps": 0}
    (path / "trainer_state.json").write_text(json.dumps(said))
    return path


@pytest.mark.parametrize("log", [5, [5], "text", {"step": 1}])
def test_a_log_that_is_no_list_of_entries_is_refused(tmp_path: Path, log: object) -> None:
    path = strange(tmp_path, log)
    with pytest.raises(BadInput, match="bad-json") as caught:
        find_runs([(None, str(tmp_path))])
    assert str(path) in str(caught.value.file)


@pytest.mark.parametrize(
    "entry",
    [{"step": 10**20, "loss": 1.0}, {"step": 1, "loss": 10**400}, {"step": True, "loss": "x"}, {"step": 1}],
)
def test_entries_of_a_log_that_no_trainer_writes_give_no_losses(tmp_path: Path, entry: object) -> None:
    strange(tmp_path, [entry])
    (run,) = find_runs([(None, str(tmp_path))])
    (only,) = run.checkpoints
    assert (only.losses, only.max_steps, only.epoch) == ({}, None, None)


@pytest.mark.parametrize("name", ["checkpoint-final", "last-checkpoint", "best/adapter"])
def test_weights_that_number_no_step_are_named(tmp_path: Path, name: str) -> None:
    for step in (10, 20):
        checkpoint(tmp_path / "run", step, state=state(step))
    (tmp_path / "run" / name).mkdir(parents=True)
    save_file({"w": np.ones((2, 2), dtype=np.float32)}, tmp_path / "run" / name / "adapter_model.safetensors")
    (run,) = find_runs([(None, str(tmp_path / "run"))])
    assert [c.step for c in run.checkpoints] == [10, 20]
    (notice,) = run.notices
    assert notice.slug == "last-left-out"
    assert notice.text.startswith(f"{name.partition('/')[0]} has weights")


def test_an_adapter_in_the_folder_of_the_run_itself_is_named(tmp_path: Path) -> None:
    for step in (10, 20):
        checkpoint(tmp_path / "run", step, state=state(step))
    save_file({"w": np.ones((2, 2), dtype=np.float32)}, tmp_path / "run" / "adapter_model.safetensors")
    (run,) = find_runs([(None, str(tmp_path / "run"))])
    assert [n.text.partition(" has")[0] for n in run.notices] == ["the folder itself"]


def test_a_step_is_not_said_to_be_missing_that_an_unread_name_may_be(tmp_path: Path) -> None:
    for step in ("1e3", "2000", "3000"):
        folder = tmp_path / "run" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        save_file({"w": np.ones((2, 2), dtype=np.float32)}, folder / "adapter_model.safetensors")
    (run,) = find_runs([(None, str(tmp_path / "run"))])
    assert "steps-missing" not in {notice.slug for notice in run.notices}
    assert any(notice.text.startswith("checkpoint-1e3 has weights") for notice in run.notices)


def bare_run(folder: Path, *names: str, told: bool = False) -> list[Path]:
    """Adapters in folders of these names; `told` where each has a trainer's state, of 50 steps a folder."""
    paths = [saved(folder / name / "adapter_model.safetensors").parent for name in names]
    for i, path in enumerate(paths if told else ()):
        (path / "trainer_state.json").write_text(json.dumps(state(50 * (i + 1))))
    return paths


def test_folders_of_bare_numbers_are_steps_and_said_to_be_taken_so(tmp_path: Path) -> None:
    paths = bare_run(tmp_path / "run", "100", "200", "1000")
    for specs in (
        [tmp_path / "run"],
        [tmp_path],
        paths[::-1],
        [p / "adapter_model.safetensors" for p in paths],
    ):
        (run,) = find_runs([(None, str(spec)) for spec in specs])
        assert ([c.step for c in run.checkpoints], run.label) == ([100, 200, 1000], "run")
        assert "bare numbers, 100, 200, 1000" in run.order
        assert "last-left-out" not in {notice.slug for notice in run.notices}


def test_files_of_bare_numbers_are_steps(tmp_path: Path) -> None:
    for step in (50, 100):
        saved(tmp_path / f"{step}.safetensors")
    assert steps_of(tmp_path) == [[50, 100]]


def test_a_trainers_state_says_what_bare_numbers_count(tmp_path: Path) -> None:
    bare_run(tmp_path, "1", "2", "3", told=True)
    (run,) = find_runs([(None, str(tmp_path))])
    assert [c.step for c in run.checkpoints] == [50, 100, 150]
    assert "global_step" in run.order
    assert run.notices == ()


def test_bare_numbers_of_separate_trainings_are_not_steps(tmp_path: Path) -> None:
    for seed, folder in enumerate(bare_run(tmp_path / "ends", "0", "1", told=True)):
        (folder / "trainer_state.json").write_text(json.dumps(state(500)))
        checkpoint(tmp_path / "seeds" / str(seed), 100, state=state(100))
        saved(tmp_path / "seeds" / str(seed) / "adapter_model.safetensors")
    with pytest.raises(BadInput, match="same-step"):
        find_runs([(None, str(tmp_path / "ends"))])
    assert steps_of(tmp_path / "seeds") == [[100], [100]]


def test_days_are_no_steps(tmp_path: Path) -> None:
    paths = bare_run(tmp_path, "20260130", "20260131")
    with pytest.raises(BadInput, match=r"ambiguous-weights[\s\S]*20260130, 20260131"):
        find_runs([(None, str(tmp_path))])
    assert steps_of(*paths) == [[1, 2]]


@pytest.mark.parametrize(
    "names", [("checkpoint-100", "step_200"), ("100", "200", "checkpoint-300"), ("100", "epoch_2")]
)
def test_names_that_number_steps_each_in_their_own_way_are_refused(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    paths = bare_run(tmp_path, *names)
    with pytest.raises(BadInput, match="mixed-steps") as caught:
        find_runs([(None, str(path)) for path in paths])
    assert names[-1] in str(caught.value.found)


def test_several_weights_of_one_numbered_folder_have_no_step_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "max_steps500"
    assert steps_of(*[saved(folder / f"{name}.safetensors") for name in ("cat", "dog")]) == [[1, 2]]
    assert steps_of(*bare_run(tmp_path / "steps_9", "cat", "dog")) == [[1, 2]]


def test_a_folder_of_files_whose_names_number_nothing_is_refused_with_their_names(tmp_path: Path) -> None:
    paths = [saved(tmp_path / "out" / f"{name}.safetensors") for name in ("early", "late")]
    with pytest.raises(BadInput, match=r"number no steps[\s\S]*early.safetensors, late.safetensors"):
        find_runs([(None, str(tmp_path / "out"))])
    assert steps_of(*paths) == [[1, 2]]


def in_epochs(folder: Path, epochs: dict[int, tuple[int, ...]]) -> list[Path]:
    """Checkpoints of steps in folders of epochs."""
    paths = [folder / f"epoch_{epoch}" / f"step_{step}" for epoch, steps in epochs.items() for step in steps]
    for path in paths:
        path.mkdir(parents=True)
        save_file({"w": np.ones((2, 2), dtype=np.float32)}, path / "adapter_model.safetensors")
    return paths


def test_steps_within_folders_of_epochs_are_one_run_in_the_order_of_the_steps(tmp_path: Path) -> None:
    paths = in_epochs(tmp_path / "run", {0: (50, 100), 1: (150,), 10: (200,), 2: (160,)})
    (run,) = find_runs([(None, str(tmp_path / "run"))])
    assert [c.step for c in run.checkpoints] == [50, 100, 150, 160, 200]
    assert (run.label, run.order) == ("run", "steps as the names epoch_#/step_# number them")
    (named,) = find_runs([(None, str(path)) for path in paths])
    assert [c.step for c in named.checkpoints] == [50, 100, 150, 160, 200]


def test_steps_that_begin_anew_in_every_epoch_are_runs_of_their_own_and_one_where_they_are_named(
    tmp_path: Path,
) -> None:
    paths = in_epochs(tmp_path, {0: (50, 100), 1: (50, 100)})
    runs = find_runs([(None, str(tmp_path))])
    assert [run.label for run in runs] == ["epoch_0", "epoch_1"]
    assert all("steps-begin-anew" in {notice.slug for notice in run.notices} for run in runs)
    (named,) = find_runs([(None, str(path)) for path in paths])
    assert [c.path for c in named.checkpoints] == paths
    assert "order in which the 4 were named" in named.order
