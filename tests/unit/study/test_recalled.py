"""The command that a study's arguments are asked for with: parsed again it gives the same arguments."""

from typing import Any

import pytest

from tunescope.questions.importance.command import COMMAND as IMPORTANCE
from tunescope.questions.norms.command import COMMAND as NORMS
from tunescope.questions.subspace.command import COMMAND as SUBSPACE
from tunescope.study.recalled import command_line


@pytest.mark.parametrize(
    ("command", "arguments", "expected"),
    [
        (NORMS, {"sources": ["a/", "b=c d/"], "metric": None, "scale": {}}, "tunescope norms a/ 'b=c d/'"),
        (
            NORMS,
            {"sources": ["a/"], "scale": {"a": 0.5}, "shared_scale": False, "layers": "0,2-3"},
            "tunescope norms a/ --own-scale --layers 0,2-3 --scale a=0.5",
        ),
        (SUBSPACE, {"sources": ["a/", "b/"], "sides": ["input", "output"]}, "tunescope subspace a/ b/"),
        (SUBSPACE, {"sources": ["a/", "b/"], "sides": ["output"]}, "tunescope subspace a/ b/ --side output"),
        (
            IMPORTANCE,
            {"model": "m/", "data": "t.jsonl", "layer_importance": False, "seed": 0},
            "tunescope importance m/ --data t.jsonl --no-layer-importance",
        ),
    ],
)
def test_what_differs_from_the_defaults_stands_in_the_command(
    command: Any, arguments: dict[str, Any], expected: str
) -> None:
    assert command_line(command, arguments) == expected
