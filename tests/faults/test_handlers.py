"""What catches errors catches those of the library that it calls, never a bug of ours beside the call."""

import ast
import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import tunescope
from tunescope.errors import BadInput, Exhausted, TunescopeError, raised_by
from tunescope.source import peft_merge

from .fuzz.kinds import KINDS
from .fuzz.trial import Bench

_SOURCES = Path(tunescope.__file__).parent

# Whatever a tracker raises, which is code of others, training goes on; and the one frame around commands.
_FOR_ALL = {"training/trackers.py", "cli/__init__.py"}


def test_a_handler_of_everything_raises_again_what_it_does_not_know() -> None:
    lacking = [
        f"{path.relative_to(_SOURCES)}:{handler.lineno}"
        for path in sorted(_SOURCES.rglob("*.py"))
        if str(path.relative_to(_SOURCES)) not in _FOR_ALL
        for handler in ast.walk(ast.parse(path.read_text()))
        if isinstance(handler, ast.ExceptHandler)
        if handler.type is None or getattr(handler.type, "id", "") in ("Exception", "BaseException")
        if not any(isinstance(node, ast.Raise) and node.exc is None for node in ast.walk(handler))
    ]
    assert lacking == []


def _error_of(call: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        call()
    return caught.value


def test_an_error_comes_from_a_library_where_its_code_raised_it_or_what_it_called() -> None:
    inside = _error_of(lambda: json.loads("{"))
    assert raised_by(inside, "json")
    called_back = _error_of(lambda: json.loads("{}", object_hook=lambda _: {}["absent"]))
    assert not raised_by(called_back, "json")
    assert not raised_by(_error_of(lambda: {}["absent"]), "json")


def _ia3(folder: Path) -> tuple[Path, Path]:
    """An adapter that only PEFT can merge, and its base."""
    weight = {"model.layers.0.self_attn.q_proj.weight": np.ones((4, 6), np.float32)}
    (folder / "base").mkdir()
    save_file(weight, folder / "base" / "model.safetensors")
    (folder / "tuned").mkdir()
    name = "base_model.model.model.layers.0.self_attn.q_proj.ia3_l"
    save_file({name: np.full((4, 1), 2.0, np.float32)}, folder / "tuned" / "adapter_model.safetensors")
    said = {"peft_type": "IA3", "target_modules": ["q_proj"], "feedforward_modules": []}
    (folder / "tuned" / "adapter_config.json").write_text(json.dumps(said))
    return folder / "tuned", folder / "base"


@pytest.mark.parametrize("function", ["_holder", "_kind", "_settings", "_tensor", "_merged"])
@pytest.mark.parametrize("bug", [ValueError, KeyError, TypeError, AttributeError])
def test_a_bug_beside_pefts_merge_is_not_taken_for_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, bug: type[Exception]
) -> None:
    pytest.importorskip("peft")
    tuned, base = _ia3(tmp_path)

    def broken(*_: Any, **__: Any) -> None:
        raise bug("planted")

    monkeypatch.setattr(peft_merge, function, broken)
    with pytest.raises(bug, match="planted"):
        tunescope.norms(tuned, base=base)


def test_tensors_that_peft_cannot_merge_are_bad_input(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    tuned, base = _ia3(tmp_path)
    name = "base_model.model.model.layers.0.self_attn.q_proj.ia3_l"
    save_file({name: np.full((5, 1), 2.0, np.float32)}, tuned / "adapter_model.safetensors")
    with pytest.raises(BadInput) as caught:
        tunescope.norms(tuned, base=base)
    assert caught.value.exit_code == 3


# Readers that are processes of their own, and the kind of input that each reads.
_APART = [("distributed", "distributed_index"), ("pickled", "pickle")]


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a line of Python in the place of such a reader's script."""
    pytest.importorskip("torch")

    def plant(reader: str, line: str) -> None:
        script = tmp_path / "script.py"
        script.write_text(line)
        monkeypatch.setattr(f"tunescope.source.files.{reader}._SCRIPT", script)

    return plant


@pytest.mark.parametrize(("reader", "kind"), _APART)
def test_a_bug_in_a_reader_that_is_a_process_of_its_own_is_not_taken_for_bad_input(
    tmp_path: Path, planted: Callable[[str, str], None], reader: str, kind: str
) -> None:
    planted(reader, "raise ValueError('planted')")
    finding = Bench(kind, tmp_path).answer([])
    assert finding is not None
    assert finding.raised.startswith("RuntimeError: the reader of")


@pytest.mark.parametrize(("reader", "kind"), _APART)
def test_a_full_disk_under_a_reader_that_unpacks_is_exit_5(
    tmp_path: Path, planted: Callable[[str, str], None], reader: str, kind: str
) -> None:
    planted(reader, "raise OSError(28, 'No space left on device')")
    path = KINDS[kind].make(tmp_path)
    with pytest.raises(Exhausted, match="disk-full") as caught:
        KINDS[kind].use(path)
    assert "TMPDIR" in str(caught.value)


@pytest.mark.parametrize(
    "problem",
    [
        OSError(errno.ENOSPC, "No space left on device", "here"),
        RuntimeError("io: No space left (os error 28)"),
    ],
)
def test_a_disk_that_is_full_is_exit_5_wherever_it_is_met(
    run: Callable[..., Any], adapter: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    """Temporary files of libraries, folders that are made."""

    def full(*_: Any) -> None:
        raise problem

    monkeypatch.setattr("tunescope.source.files.container.parse_header", full)
    ran = run("norms", adapter())
    assert ran.code == 5
    assert "[disk-full]" in ran.err


# Kinds whose damaged file is read by this process, once.
_READ_HERE = (
    "safetensors", "adapter_config", "npz", "shard_index", "norms_csv", "norms_parquet", "study_record",
    "readout", "trainer_state", "capture", "rows_jsonl", "rows_csv", "yaml", "toml", "gguf", "whole_model",
    "peft_loha_config", "distributed_chunk", "importance_state",
)  # fmt: skip


@pytest.mark.parametrize("kind", _READ_HERE)
def test_a_file_that_may_not_be_read_is_exit_4(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """As for whoever is not root: root may read all."""
    import builtins
    import io
    import os

    bench = Bench(kind, tmp_path)
    victim, opened, low = bench._victim, io.open, os.open

    def denied(path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and Path(path) == victim

    def high_open(path: Any, *arguments: Any, **named: Any) -> Any:
        if denied(path):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **named)

    def low_open(path: Any, *arguments: Any, **named: Any) -> int:
        if denied(path):
            raise PermissionError(13, "Permission denied", str(path))
        return low(path, *arguments, **named)

    monkeypatch.setattr(io, "open", high_open)
    monkeypatch.setattr(builtins, "open", high_open)
    monkeypatch.setattr(os, "open", low_open)
    with pytest.raises(TunescopeError) as caught:
        KINDS[kind].use(victim)
    assert caught.value.exit_code == 4, caught.value
    assert str(victim) in str(caught.value)


@pytest.mark.parametrize("denied", ["", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("load", ["load_config", "load_model", "load_tokenizer"])
def test_a_model_of_others_that_may_not_be_read_is_exit_4(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: str, denied: str
) -> None:
    """As for whoever is not root. transformers takes what it cannot open for what is not there."""
    pretrained = pytest.importorskip("tunescope.lm.pretrained")
    folder = KINDS["lm_config"].make(tmp_path).parent
    opened, listed = Path.open, Path.iterdir

    def refuse(path: Path) -> None:
        if path == folder / denied:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    def open_(path: Path, *given: Any, **named: Any) -> Any:
        refuse(path)
        return opened(path, *given, **named)

    def list_(path: Path) -> Any:
        refuse(path)
        return listed(path)

    monkeypatch.setattr(Path, "open", open_)
    monkeypatch.setattr(Path, "iterdir", list_)
    with pytest.raises(TunescopeError, match="denied") as caught:
        getattr(pretrained, load)(folder)
    assert caught.value.exit_code == 4
    assert caught.value.file == str(folder / denied)


def test_a_config_beside_weights_of_any_names_is_refused_where_it_is_broken(tmp_path: Path) -> None:
    """Also where the names alone would tell the format, for the scale stands in it."""
    path = KINDS["peft_loha_config"].make(tmp_path)
    path.write_text("{")
    with pytest.raises(BadInput, match="not JSON"):
        tunescope.norms(tmp_path)


def test_a_config_of_more_layers_than_any_model_is_refused_at_once(tmp_path: Path) -> None:
    path = KINDS["lm_config"].make(tmp_path)
    for layers in (-1, 10**9, 10**20):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": layers}))
        with pytest.raises(BadInput, match="model-unreadable"):
            KINDS["lm_config"].use(path)
