"""`tunescope check` on the command line: exit codes and the document."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

STEM = "model.layers.0.self_attn.q_proj"


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path, Path]:
    """An adapter's file, a base that it fits, and one that it does not fit."""
    a, b, alpha = np.ones((2, 6), np.float32), np.ones((4, 2), np.float32), np.ones(1, np.float32)
    lora = tmp_path / "lora.safetensors"
    save_file({f"{STEM}.lora_down.weight": a, f"{STEM}.lora_up.weight": b, f"{STEM}.alpha": alpha}, lora)
    fitting, other = tmp_path / "fitting.safetensors", tmp_path / "other.safetensors"
    save_file({f"{STEM}.weight": np.ones((4, 6), np.float32)}, fitting)
    save_file({f"{STEM}.weight": np.ones((4, 5), np.float32)}, other)
    return lora, fitting, other


def test_exit_codes_say_whether_it_attaches(
    run: Any, places: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    lora, fitting, other = places
    assert run("check", lora).code == 0
    assert run("check", lora, "--base", fitting).code == 0
    assert run("check", lora, "--base", other).code == 1
    assert run("check", tmp_path / "absent").code == 4
    (tmp_path / "broken.safetensors").write_bytes(b"not weights at all")
    assert run("check", tmp_path / "broken.safetensors").code == 3


def test_a_study_of_what_attaches_without_a_finding_has_its_page(
    run: Any, places: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    lora, fitting, _ = places
    assert run("check", lora, "--base", fitting, "-o", tmp_path / "study").code == 0
    assert "check: " in (tmp_path / "study" / "report.html").read_text(encoding="utf-8")


def test_the_document_counts_what_attaches(run: Any, places: tuple[Path, Path, Path]) -> None:
    lora, fitting, _ = places
    document = json.loads(run("check", f"x={lora}", "--base", fitting, "--json").out)
    assert document["attaches"] is True
    assert document["models"]["x"]["attached"] == document["models"]["x"]["modules"] == 1
    assert document["base"]["weights"] == 1
