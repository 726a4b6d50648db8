"""Studies saved by an earlier version: told and drawn whole, or refused with what they lack."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tunescope
from tunescope.demo.adapters import made_adapters
from tunescope.errors import BadInput
from tunescope.hashes import sha256_of
from tunescope.study.report import report
from tunescope.study.study import Study


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> list[Study]:
    folder = tmp_path_factory.mktemp("studies")
    one, two, _ = map(str, made_adapters(folder / "made").values())
    asked = {
        "n": tunescope.norms([one, two], layers="0-1"),
        "s": tunescope.subspace(one, two, layers="0-1", modules="q_proj", max_rank=4),
        "c": tunescope.check(one),
    }
    for name, study in asked.items():
        study.save(folder / name, figures=(), report=False)
    return [tunescope.read(folder / name) for name in asked]


def lesser(held: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The document without one of its keys, for every key at its first two levels."""
    for key, value in held.items():
        yield {k: v for k, v in held.items() if k != key}
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, dict) and key != "models":
            for inner in first:
                less = {k: v for k, v in first.items() if k != inner}
                yield {**held, key: [less, *value[1:]] if isinstance(value, list) else less}


def told(study: Study) -> str:
    """`whole` or the slug of the refusal, when a study is told, listed and put on a page."""
    try:
        study.markdown()
        study.figures()
        report([study])
    except BadInput as error:
        return error.slug
    return "whole"


def test_a_readout_without_a_key_is_told_whole_or_refused(studies: list[Study]) -> None:
    found = {told(replace(s, readout=less)) for s in studies for less in lesser(dict(s.readout))}
    assert found == {"whole", "older-study"}


def test_a_study_without_a_column_or_a_table_is_told_whole_or_refused(studies: list[Study]) -> None:
    found = set()
    for study in studies:
        for name, table in study.tables.items():
            rest = {key: held for key, held in study.tables.items() if key != name}
            found.add(told(replace(study, tables=rest)))
            for column in table.frame.columns:
                less = {**rest, name: table.with_rows(table.frame.drop(column))}
                found.add(told(replace(study, tables=less)))
    assert found == {"whole", "older-study"}


def test_the_refusal_names_the_folder_and_the_key(studies: list[Study]) -> None:
    study = replace(studies[1], readout={k: v for k, v in studies[1].readout.items() if k != "visible"})
    with pytest.raises(BadInput) as refused:
        report([study])
    assert refused.value.slug == "older-study"
    assert str(studies[1].folder) in str(refused.value)
    assert "'visible'" in str(refused.value)


def test_a_finding_with_more_than_this_version_knows_is_read(studies: list[Study]) -> None:
    record = {
        "kind": "k", "severity": "note", "models": ["a"], "components": [], "step": None, "evidence": {},
        "strength": 1.0, "text": "t", "hue": 3,
    }  # fmt: skip
    assert replace(studies[0], readout={**studies[0].readout, "findings": [record]}).findings[0].kind == "k"


def test_draw_and_report_refuse_an_earlier_study_and_leave_it_as_it_is(
    studies: list[Study], tmp_path: Path
) -> None:
    place = tmp_path / "old"
    studies[1].save(place, figures=(), report=False)
    document = json.loads((place / "tables" / "readout.json").read_text())
    del document["visible"]
    (place / "tables" / "readout.json").write_text(json.dumps(document))
    record = json.loads((place / "study.json").read_text())
    record["files"]["tables/readout.json"] = sha256_of(place / "tables" / "readout.json")
    (place / "study.json").write_text(json.dumps(record))
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    with pytest.raises(BadInput, match="older-study"):
        tunescope.read(place).save(place, overwrite=True)
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
