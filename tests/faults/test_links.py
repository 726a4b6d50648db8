"""Symbolic links that lead to each other in the place of an input: an answer from every command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .disk.commands import COMMANDS, make_inputs

LOOPED = [
    "tuned/adapter_model.safetensors", "tuned/adapter_config.json", "tuned", "model/model.safetensors",
    "model/config.json", "model", "merged.safetensors", "run/checkpoint-20",
    "run/checkpoint-20/trainer_state.json",
    "run/checkpoint-20/adapter_model.safetensors", "run", "a/adapter_model.safetensors", "a",
]  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("links") / "inputs"
    folder.mkdir()
    make_inputs(folder)
    return folder


def _is_given(verb: str, name: str) -> bool:
    given = COMMANDS[verb].arguments(Path("/i"), Path("/o"))
    return any(f"/i/{name.split('/')[0]}" in str(argument) for argument in given)


WAYS = [
    (verb, name)
    for verb in ("norms", "subspace", "check", "verify", "trajectory")
    for name in LOOPED
    if _is_given(verb, name)
]


@pytest.mark.parametrize(("verb", "name"), WAYS)
def test_links_in_a_circle_in_the_place_of_an_input_are_named_or_looked_past(
    run: Callable[..., Any], inputs: Path, tmp_path: Path, verb: str, name: str
) -> None:
    place, kept, other = inputs / name, tmp_path / "kept", (inputs / name).with_name("other-link")
    place.rename(kept)
    place.symlink_to(other)
    other.symlink_to(place)
    try:
        ran = run(*COMMANDS[verb].arguments(inputs, tmp_path / "out"))
    finally:
        place.unlink()
        other.unlink()
        kept.rename(place)
    assert ran.code in (0, 1, 3, 4), ran.err
    assert ran.code in (0, 1) or name.split("/")[-1] in ran.err
    assert (tmp_path / "out" / "study.json").exists() == (ran.code in (0, 1))
