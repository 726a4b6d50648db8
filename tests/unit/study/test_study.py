"""A study is one value: saved and read back whole, refused where a file differs, drawn again alone."""

import gc
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

import tunescope
from tunescope.errors import BadInput, Missing, UsageError
from tunescope.study.study import Study


def adapter(folder: Path, seed: int, layers: int = 6) -> Path:
    """A LoRA adapter with attention and MLP in every layer."""
    random = np.random.default_rng(seed)
    tensors = {}
    for layer in range(layers):
        for module, (out, inside) in {"self_attn.q_proj": (16, 12), "mlp.up_proj": (24, 12)}.items():
            stem = f"base_model.model.model.layers.{layer}.{module}"
            tensors[f"{stem}.lora_A.weight"] = random.standard_normal((4, inside)).astype(np.float32)
            tensors[f"{stem}.lora_B.weight"] = random.standard_normal((out, 4)).astype(np.float32)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "up_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("adapters")
    return adapter(root / "one", 1), adapter(root / "two", 2)


@pytest.fixture(scope="module", params=["norms", "subspace"])
def study(request: pytest.FixtureRequest, pair: tuple[Path, Path]) -> Study:
    found: Study = getattr(tunescope, request.param)(*map(str, pair))
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_saved_is_read_back_and_saves_to_the_same_bytes(study: Study, tmp_path: Path) -> None:
    study.save(tmp_path / "a", figures=())
    back = tunescope.read(tmp_path / "a")
    assert back.equals(study)
    assert study.equals(back)
    assert back.table.frame.schema == study.table.frame.schema
    back.save(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert back.markdown() == study.markdown()


def test_two_studies_of_different_sources_are_not_equal(study: Study, pair: tuple[Path, Path]) -> None:
    other = getattr(tunescope, study.kind)(*(str(path) for path in reversed(pair)))
    assert not study.equals(other)


def test_every_file_is_listed_with_its_hash_and_a_change_is_refused_by_name(
    study: Study, tmp_path: Path
) -> None:
    out = study.save(tmp_path / "s", figures=("svg",))
    record = json.loads((out / "study.json").read_text())
    assert {"study.json", *record["files"]} == set(contents(out))
    for name in ("readout.md", f"tables/{study.question.main}.parquet"):
        path = out / name
        kept = path.read_bytes()
        path.write_bytes(kept + b" ")
        with pytest.raises(BadInput, match="study-changed") as raised:
            tunescope.read(out)
        assert raised.value.file == str(path)
        path.unlink()
        with pytest.raises(BadInput, match="no such file"):
            tunescope.read(out)
        path.write_bytes(kept)
    assert tunescope.read(out).equals(study)


@pytest.mark.parametrize(
    "record",
    ["", "[]", "{}", '{"schema_version": 99}', '{"schema_version": 1, "kind": "norms"}', "[" * 100_000],
)
def test_a_record_that_cannot_be_used_is_refused(tmp_path: Path, record: str) -> None:
    (tmp_path / "study.json").write_text(record)
    with pytest.raises(BadInput):
        tunescope.read(tmp_path)


def test_a_folder_without_a_study_is_missing_one(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no-study"):
        tunescope.read(tmp_path)


def test_a_study_of_an_unknown_question_asks_for_an_upgrade(study: Study, tmp_path: Path) -> None:
    out = study.save(tmp_path / "s", figures=())
    record = json.loads((out / "study.json").read_text())
    (out / "study.json").write_text(json.dumps(record | {"kind": "astrology"}))
    with pytest.raises(BadInput, match="unknown-study"):
        tunescope.read(out)


def test_pictures_and_sentences_are_made_without_the_weights(tmp_path: Path) -> None:
    source = adapter(tmp_path / "gone", 3)
    tunescope.norms(str(source)).save(tmp_path / "s", figures=())
    for path in source.iterdir():
        path.unlink()
    study = tunescope.read(tmp_path / "s")
    names = study.figures()
    assert "norm_heatmap_gone_normalized" in names
    assert all(names.values())
    for name in names:
        assert study.figure(name).get_axes()
    assert study.markdown().startswith("# How much changed")
    study.save(tmp_path / "s", overwrite=True, figures=("svg", "pdf"))
    drawn = {path.suffix for path in (tmp_path / "s" / "figures").iterdir()}
    assert drawn == {".svg", ".pdf", ".md"}


def test_tables_begin_with_their_keys_and_say_unit_and_meaning_of_every_column(study: Study) -> None:
    for table in study.tables.values():
        columns = table.frame.columns
        assert columns[0] in ("model_id", "model_a")
        assert set(table.meta["columns"]) == set(columns)
        assert all(entry["meaning"] for entry in table.meta["columns"].values())


def test_columns_do_not_depend_on_the_number_of_sources(pair: tuple[Path, Path]) -> None:
    one, two = tunescope.norms(str(pair[0])), tunescope.norms(*map(str, pair))
    assert {n: t.frame.columns for n, t in one.tables.items()} == {
        n: t.frame.columns for n, t in two.tables.items()
    }


def test_sources_say_where_they_came_from_and_what_they_held(study: Study, pair: tuple[Path, Path]) -> None:
    first = study.sources[0]
    assert first["label"] == "one"
    assert first["location"] == str(pair[0])
    assert first["bytes"] > 0
    assert first["digest"]["kind"].startswith("sha256")


def test_live_objects_are_told_by_their_type_and_a_notebook_shows_findings_and_a_map(
    pair: tuple[Path, Path],
) -> None:
    opened = tunescope.open_source(str(pair[0]))
    study = tunescope.norms(opened)
    assert study.arguments["sources"] == [f"one={pair[0]}"]
    page = study._repr_html_()
    assert "data:image/png;base64," in page
    assert "<script" not in page
    assert page.count("<iframe") == 1


def test_saving_leaves_the_collector_of_garbage_as_it_was(study: Study, tmp_path: Path) -> None:
    # What a command of another test has set aside may end at any time.
    gc.unfreeze()
    found = gc.get_freeze_count(), gc.get_threshold()
    study.save(tmp_path / "s", figures=("svg",))
    assert (gc.get_freeze_count(), gc.get_threshold()) == found


def test_overwriting_keeps_foreign_files_and_removes_what_the_old_study_had(
    study: Study, tmp_path: Path
) -> None:
    out = study.save(tmp_path / "s", figures=("png",))
    (out / "notes.txt").write_text("mine")
    (out / "tables" / "mine.csv").write_text("1")
    study.save(out, overwrite=True, figures=())
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "tables" / "mine.csv").read_text() == "1"
    assert not (out / "figures").exists()
    assert tunescope.read(out).equals(study)
    with pytest.raises(UsageError, match="output-exists"):
        study.save(out)


def test_a_study_whose_folder_became_a_link_is_not_written_through(study: Study, tmp_path: Path) -> None:
    import shutil

    out, away = study.save(tmp_path / "s", figures=()), tmp_path / "away"
    away.mkdir()
    (away / "coverage.csv").write_text("precious")
    shutil.rmtree(out / "tables")
    (out / "tables").symlink_to(away)
    with pytest.raises(UsageError, match="output-linked"):
        study.save(out, overwrite=True)
    assert {p.name: p.read_text() for p in away.iterdir()} == {"coverage.csv": "precious"}


def test_rows_given_lazily_are_written_as_held_ones(tmp_path: Path) -> None:
    from tunescope.table import Table, read_parquet

    frame = pl.DataFrame({"model_id": ["a", "b"], "x": [1.0, None]})
    frame.write_parquet(tmp_path / "part.parquet")
    lazy = Table(pl.scan_parquet(tmp_path / "part.parquet"), "t", {"columns": {}})
    lazy.write_parquet(tmp_path / "t.parquet")
    assert read_parquet(tmp_path / "t.parquet").equals(Table(frame, "t", {"columns": {}}))
    assert len(lazy) == 2


def test_live_objects_stand_in_the_arguments_by_their_labels(pair: tuple[Path, Path], tmp_path: Path) -> None:
    folder = pair[0]
    state = load_file(folder / "adapter_model.safetensors")
    opened = tunescope.open_source(
        state, label="mine", config=json.loads((folder / "adapter_config.json").read_text())
    )
    plain = {name.removeprefix("base_model.model."): array for name, array in state.items()}
    study = tunescope.norms(str(folder), plain, plain)
    assert study.arguments["sources"] == [str(folder), *(s["label"] for s in study.sources[1:])]
    assert len(set(study.arguments["sources"])) == 3
    assert tunescope.norms([opened]).arguments["sources"] == [f"mine={opened.location}"]
    study.save(tmp_path / "s", figures=())
    assert tunescope.read(tmp_path / "s").equals(study)
