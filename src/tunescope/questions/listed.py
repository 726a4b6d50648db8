"""The list of all questions, and a saved study of any of them read back."""

import importlib
from pathlib import Path

from tunescope.errors import BadInput
from tunescope.study.question import Question
from tunescope.study.reading import load
from tunescope.study.saving import RECORD
from tunescope.study.study import Study

# Every question has a folder of this name, with a `question.py` in it.
KINDS = ("check", "norms", "subspace", "trajectory", "importance", "attribution", "verify")


def question(kind: str) -> Question:
    """The question of a kind; raises `BadInput` for one that this version does not know."""
    if kind not in KINDS:
        raise BadInput(
            "unknown-study", f"there is no question {kind!r}", file=RECORD, expected=", ".join(KINDS),
            found=kind, fix="upgrade tunescope",
        )  # fmt: skip
    found: Question = importlib.import_module(f"tunescope.questions.{kind}.question").QUESTION
    return found


def read(folder: str | Path) -> Study:
    """The study that a command or `Study.save` wrote into `folder`, every file checked.

    Raises `Missing` where there is none, and `BadInput` for a file that differs from what was saved.
    """
    return load(Path(folder), question)
