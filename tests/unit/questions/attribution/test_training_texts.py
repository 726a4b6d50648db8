"""What the record of a run says of the texts that a model is scored on."""

import json
from pathlib import Path

import pytest

from tunescope.corpus import Row, data_hash
from tunescope.questions.attribution.training_texts import seen_in_training

ROWS = {name: [Row(f"{name} {n}", str(n)) for n in range(4)] for name in ("held", "trained", "other", "new")}


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """The adapter of a run on `mine`, one domain of two, beside its record; and files of texts."""
    digest = {name: data_hash(rows) for name, rows in ROWS.items()}
    record = {
        "domain": "mine",
        "data": {
            "mine": {"sha256": digest["trained"], "held_out_sha256": digest["held"]},
            "yours": {"sha256": digest["other"]},
        },
    }
    (tmp_path / "run" / "adapter").mkdir(parents=True)
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    for name, rows in ROWS.items():
        lines = [json.dumps({"prompt": row.prompt, "completion": row.completion}) for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    return tmp_path / "run" / "adapter"


@pytest.mark.parametrize(
    ("name", "seen"),
    [("held", "held_out"), ("trained", "trained_on"), ("other", "held_out"), ("new", "not_known")],
)
def test_the_digest_of_the_rows_says_whether_the_run_trained_on_them(
    adapter: Path, tmp_path: Path, name: str, seen: str
) -> None:
    assert seen_in_training(adapter, str(tmp_path / f"{name}.jsonl")) == seen


def test_other_spacing_of_the_same_rows_changes_nothing(adapter: Path, tmp_path: Path) -> None:
    lines = (tmp_path / "held.jsonl").read_text().replace('": "', '":   "')
    (tmp_path / "spaced.jsonl").write_text(lines + "\n\n")
    assert seen_in_training(adapter, str(tmp_path / "spaced.jsonl")) == "held_out"


@pytest.mark.parametrize("record", [None, "[]", "{", '{"domain": "mine"}', '{"data": {}}'])
def test_without_a_record_of_a_run_nothing_is_known(
    adapter: Path, tmp_path: Path, record: str | None
) -> None:
    (tmp_path / "run" / "run.json").unlink()
    if record is not None:
        (tmp_path / "run" / "run.json").write_text(record)
    assert seen_in_training(adapter, str(tmp_path / "held.jsonl")) == "not_known"


def test_of_a_live_model_and_of_a_hub_id_nothing_is_known(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(adapter.parent)
    assert seen_in_training(object(), str(tmp_path / "held.jsonl")) == "not_known"
    assert seen_in_training("org/name", str(tmp_path / "held.jsonl")) == "not_known"
    assert seen_in_training(adapter, [{"input_ids": [1]}]) == "not_known"
