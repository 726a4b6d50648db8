"""What is typed, or stands in a file of options, and cannot be: an answer with its exit code, never a bug."""

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tunescope

Run = Callable[..., Any]
Writer = Callable[..., Path]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yaml", "metric: &a [*a]\n"),
        ("c.yaml", "metric: x\nmetric: y\n"),
        ("c.yaml", "metric: !!python/object/apply:os.system [true]\n"),
        ("c.yaml", "a: &a [x]\nmetric: [" + "*a, " * 30 + "]\n"),
        ("c.yaml", "metric: " + "[" * 5000),
        ("c.yaml", "metric: 2001-99-99\n"),
        ("c.yaml", "metric: 0x_\n"),
        ("c.yaml", "metric: 1" + "0" * 5000),
        ("c.yaml", "mertic: x\n"),
        ("c.yaml", "[1, 2]\n"),
        ("c.toml", "metric = " + "[" * 5000),
        ("c.toml", "metric = 1\nmetric = 2\n"),
        ("c.toml", "metric = 1" + "0" * 5000),
        ("c.yaml", "\0"),
        ("c.yaml", "#" * (1 << 21)),
    ],
)
def test_a_file_of_options_that_cannot_be_used_is_exit_2(
    run: Run, adapter: Callable[..., Path], tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    ran = run("norms", adapter(), "--config", tmp_path / name)
    assert ran.code == 2, ran.err[:300]
    assert str(tmp_path / name) in ran.err


def test_a_file_of_options_that_is_not_utf8_or_a_folder_is_exit_2(
    run: Run, adapter: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe")
    assert run("norms", adapter(), "--config", tmp_path / "c.yaml").code == 2
    assert run("norms", tmp_path / "adapter", "--config", tmp_path).code == 2


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--layers", "-1"), "such as 0,20-25"), (("--layers", "9-2"), "such as 0,20-25"),
        (("--layers", "1e9"), "such as 0,20-25"), (("--layers", ""), "such as 0,20-25"),
        (("--scale", "x=nan"), "LABEL=number"), (("--scale", "x=1e999"), "LABEL=number"),
        (("--modules", ","), "at least one"), (("--focus-layer", "-3"), "x>=0"),
        (("--metric", "x" * 5000), "frobenius_norm"),
    ],
)  # fmt: skip
def test_numbers_and_names_out_of_range_are_exit_2(
    run: Run, adapter: Callable[..., Path], flags: tuple[str, str], said: str
) -> None:
    ran = run("norms", adapter(), *flags)
    assert ran.code == 2
    assert said in ran.err, ran.err


def test_an_output_where_nothing_may_be_written_is_exit_5_before_anything_is_computed(
    run: Run, adapter: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for whoever is not root: root may write anywhere."""
    source = adapter()
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path or mode != os.W_OK)
    monkeypatch.setattr("tunescope.source.open.read_file", lambda *_: pytest.fail("nothing must be read"))
    ran = run("norms", source, "-o", tmp_path / "study")
    assert ran.code == 5
    assert "[read-only]" in ran.err


@pytest.mark.parametrize("source", ["~nosuchuser/adapter", "x" * 300, "a/" * 3000, "\udcff"])
def test_a_path_that_cannot_be_is_exit_4(run: Run, source: str) -> None:
    ran = run("norms", source)
    assert ran.code == 4, ran.err[:300]
    assert "Traceback" not in ran.err


def test_an_output_that_is_a_link_to_itself_is_refused(
    run: Run, adapter: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert run("norms", adapter(), "-o", tmp_path / "loop").code in (2, 4, 5)


def test_what_a_spreadsheet_would_run_gets_an_apostrophe(
    run: Run, adapter: Callable[..., Path], tmp_path: Path
) -> None:
    folder = adapter(name="=1+1")
    ran = run("norms", folder, "-o", tmp_path / "out", "--figures", "none", "--spreadsheet-safe")
    assert ran.code == 0, ran.err
    for path in (tmp_path / "out" / "tables").glob("*.csv"):
        cells = [cell for row in csv.reader(io.StringIO(path.read_text())) for cell in row]
        assert not [cell for cell in cells if cell.startswith("=")], path.name


@pytest.mark.parametrize("name", ["x" * 300, "y/" + "é" * 200])
@pytest.mark.parametrize("verb", ["norms", "check", "subspace", "report"])
def test_an_output_whose_name_no_file_can_have_is_exit_2(
    run: Run, adapter: Callable[..., Path], tmp_path: Path, verb: str, name: str
) -> None:
    (tmp_path / "y").mkdir()
    ran = run(verb, adapter(), *([adapter(name="b")] if verb == "subspace" else []), "-o", tmp_path / name)
    assert (ran.code, "[bad-spec]" in ran.err) == (2, True), ran.err
    assert "255 bytes" in ran.err


def test_a_page_is_never_written_over_a_pipe_or_what_is_no_page(
    run: Run, adapter: Callable[..., Path], tmp_path: Path
) -> None:
    study = tmp_path / "study"
    assert run("norms", adapter(), "-o", study, "--figures", "none").code == 0
    os.mkfifo(tmp_path / "pipe")
    for out in (tmp_path / "pipe", study / "study.json"):
        ran = run("report", study, "-o", out, "--overwrite")
        assert (ran.code, "[not-ours]" in ran.err) == (2, True)


def test_weights_whose_squares_no_float_holds_have_no_infinite_norm_and_it_is_said(
    run: Run, tmp_path: Path
) -> None:
    """Doubles beyond 1e154 are finite, their squares are not."""
    for name, value in (("base", 1e200), ("tuned", 2e200)):
        (tmp_path / name).mkdir()
        layers = {
            f"model.layers.{i}.mlp.up_proj.weight": np.full((4, 4), value if i else i + 1.0) for i in (0, 1)
        }
        layers["model.layers.0.mlp.up_proj.weight"] *= value / 1e200
        save_file(layers, tmp_path / name / "model.safetensors")
    ran = run("norms", tmp_path / "tuned", "--base", tmp_path / "base", "--json", "--strict")
    document = json.loads(ran.out)
    assert ran.code == 1
    (found,) = [f for f in document["findings"] if f["kind"] == "non_finite"]
    assert found["components"] == ["L1_MLP_UP"]
    assert "inf" not in run("norms", tmp_path / "tuned", "--base", tmp_path / "base").out.lower().split()


def test_names_that_are_no_utf_8_are_spelled_in_every_output(
    run: Run, adapter: Writer, tmp_path: Path
) -> None:
    place = adapter().rename(tmp_path / "g\udc80d")
    out = tmp_path / "out\udcff"
    assert run("norms", place, "-o", out, "--figures", "none").code == 0
    study = tunescope.read(out)
    assert study.table.to_polars()["model_id"].unique().to_list() == ["g\\udc80d"]
    assert study.sources[0]["location"].endswith("g\\udc80d")
    study.save(tmp_path / "again")
    assert (tmp_path / "again" / "study.json").read_bytes() == (out / "study.json").read_bytes()
    labelled = run("check", f"a\udc80={place}", "--json")
    assert labelled.code == 0, labelled.err
    assert "a\\udc80" in json.loads(labelled.out)["models"]


def test_a_scale_beyond_float64_is_no_clean_bill(run: Run, adapter: Writer) -> None:
    folder = adapter()
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"lora_alpha": 1e308}))
    for path in folder.glob("*.safetensors"):
        save_file({name: value * 1e3 for name, value in load_file(path).items()}, path)
    study = tunescope.norms(folder)
    norms = study.table.to_polars()["frobenius_norm", "spectral_norm"]
    assert not any(norms[name].is_infinite().any() for name in norms.columns)
    assert [f.kind for f in study.findings if f.severity == "warning"] == ["non_finite"]
    assert run("norms", folder, "--strict").code == 1
