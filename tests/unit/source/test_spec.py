"""SOURCE arguments: labels, paths and ids."""

import subprocess
import sys
from pathlib import Path

import pytest

from tunescope.errors import UsageError
from tunescope.source.spec import (
    HubId,
    default_label,
    distinct_labels,
    label_path,
    parse_hub_id,
    parse_spec,
)


@pytest.mark.parametrize(
    ("text", "label", "source"),
    [
        ("a=b", "a", "b"),
        ("a=runs/x=y", "a", "runs/x=y"),
        ("my run = x", "my run", " x"),
        ("runs/x", None, "runs/x"),
        ("runs/lr=1e-4/x", None, "runs/lr=1e-4/x"),
        ("a=hf://org/name", "a", "hf://org/name"),
        ("./a=b", None, "./a=b"),
    ],
)
def test_label_and_source(text: str, label: str | None, source: str) -> None:
    assert parse_spec(text) == (label, source)


def test_existing_path_with_an_equals_sign_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=1e-4").mkdir()
    assert parse_spec("lr=1e-4") == (None, "lr=1e-4")


@pytest.mark.parametrize("text", ["=x", "a=", " = ", "", " "])
def test_half_a_label(text: str) -> None:
    with pytest.raises(UsageError, match="bad-spec"):
        parse_spec(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name", HubId("org/name")),
        ("org/name@main", HubId("org/name", "main")),
        ("org/name@refs/pr/1", HubId("org/name", "refs/pr/1")),
        ("org/name:sub/folder", HubId("org/name", None, "sub/folder")),
        ("hf://org/name@v1/sub/folder/", HubId("org/name", "v1", "sub/folder")),
        ("hf://models/org/name", HubId("org/name")),
        ("./org/name", None),
        ("/org/name", None),
        ("~/org", None),
        ("org/name.safetensors", None),
        ("one/two/three", None),
        ("name", None),
        ("org/name with space", None),
    ],
)
def test_hub_ids(text: str, expected: HubId | None) -> None:
    assert parse_hub_id(text) == expected


def test_address_without_a_repository() -> None:
    with pytest.raises(UsageError, match="bad-spec"):
        parse_hub_id("hf://org")


@pytest.mark.parametrize(
    ("place", "label"),
    [("x/poetry.safetensors", "poetry"), ("x/adapters.npz", "x"), ("x/run-1.5", "run-1.5"), ("/x/y/", "y")],
)
def test_default_labels(place: str, label: str) -> None:
    assert default_label(place) == label


@pytest.mark.parametrize(
    ("places", "labels"),
    [
        (["r/cpp/lr-1/seed-0/adapter", "r/python/lr-1/seed-0/adapter"], ["cpp", "python"]),
        (
            ["r/cpp/lr-1/seed-0", "r/cpp/lr-2/seed-0", "r/go/lr-1/seed-0"],
            ["cpp/lr-1", "cpp/lr-2", "go/lr-1"],
        ),
        (["a/x.safetensors", "b/x.safetensors"], ["a", "b"]),
        (["one/deep/run/final", "two/final"], ["run", "two"]),
        (["hf://me/first@0a/x", "hf://me/second@0b/x"], ["0a", "0b"]),
        (["same/place", "same/place"], ["place", "place"]),
    ],
)
def test_labels_are_the_shortest_parts_that_tell_paths_apart(places: list[str], labels: list[str]) -> None:
    assert distinct_labels([label_path(place) for place in places]) == labels


def test_opening_adapters_loads_no_heavy_library() -> None:
    heavy = ["torch", "polars", "matplotlib", "scipy", "pandas", "peft", "transformers", "huggingface_hub"]
    code = f"import sys, tunescope.source; print(set({heavy}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
