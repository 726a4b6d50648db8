"""A bug in any function that reading a sound input calls is an error of that bug, never an answer."""

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .fuzz.trial import Bench

# One of each family: what differs between the others is the arithmetic of a method.
_TRIED = (
    "safetensors", "adapter_config", "kohya", "diffusers_metadata", "npz", "shard_index", "norms_csv",
    "study_record", "rows_jsonl", "rows_csv", "rows_gzip", "spec", "yaml", "toml", "peft_loha", "peft_vera",
    "importance_state", "attribution_state", "sidecar", "hub_record", "whole_model", "model_index",
    "adapter_on_base", "checked", "gguf", "lycoris", "litgpt_settings", "megatron_settings", "torchtune",
    "control_lora", "base_losses", "sweep_record",
)  # fmt: skip
# What is above the readers, and `_is_there`, of which a bug leaves the lock held.
_NOT = (
    "tunescope.errors",
    "tunescope.questions",
    "tunescope.study",
    "tunescope.statistics",
    "tunescope.writing",
)


def test_a_bug_in_any_function_that_reads_is_an_error_of_that_bug(tmp_path: Path) -> None:
    """A ValueError, which most handlers of damage catch; each function once, from whichever kind calls it."""
    seen: set[types.FunctionType] = set()
    taken = [
        f"{kind}: {function.__module__}.{function.__name__}"
        for kind in _TRIED
        for function, answered in _planted(Bench(kind, tmp_path), seen)
        if answered
    ]
    assert taken == []
    assert len(seen) > 200


def _planted(bench: Bench, seen: set[types.FunctionType]) -> Iterator[tuple[types.FunctionType, bool]]:
    """Each function that is called and not `seen`, and whether its bug was taken for bad input."""
    bench.read()
    for function in _called(bench):
        if function in seen:
            continue
        seen.add(function)
        reached: list[bool] = []

        def broken(*_: Any, reached: list[bool] = reached, **__: Any) -> None:
            reached.append(True)
            raise ValueError("planted")

        with pytest.MonkeyPatch.context() as patch:
            for module in [m for name, m in sys.modules.items() if name.startswith("tunescope")]:
                for name in [name for name, value in vars(module).items() if value is function]:
                    patch.setattr(module, name, broken)
            finding = bench.answer([])
        # Some are held by tables of readers, where the planted one is not.
        if reached:
            yield function, finding is None or finding.raised != "ValueError: planted"


def _called(bench: Bench) -> list[types.FunctionType]:
    """The functions of modules below the questions that reading the sound input calls."""
    codes: dict[types.CodeType, str] = {}

    def note(frame: types.FrameType, event: str, _: object) -> None:
        name = frame.f_globals.get("__name__", "")
        if event == "call" and name.startswith("tunescope.") and not name.startswith(_NOT):
            codes[frame.f_code] = name

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        bench.read()
    finally:
        sys.setprofile(before)
    named = [(code, vars(sys.modules[name]).get(code.co_name)) for code, name in codes.items()]
    return [f for code, f in named if isinstance(f, types.FunctionType) and f.__code__ is code]
