"""`--fail-on`: kinds of findings, refused where the command has none of that name."""

import ast
import importlib
from pathlib import Path
from typing import Any

import pytest

from tunescope.cli import VERBS
from tunescope.errors import UsageError
from tunescope.questions.subspace.kinds import KINDS
from tunescope.questions.verify.verdict import VERDICTS
from tunescope.study.finding import NOTICED
from tunescope.study.options import parse_kinds

SOURCE = Path(__file__).parents[2] / "src" / "tunescope"
COMMANDS = {
    verb: module.COMMAND
    for verb, (place, _) in VERBS.items()
    if hasattr(module := importlib.import_module(f"tunescope.{place}"), "COMMAND")
}


def literals(folder: Path, calls: set[str]) -> set[str]:
    """First arguments of these calls that stand there as text."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = (
                    node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                )
                found |= {str(node.args[0].value)} if name in calls else set()
    return found


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_command_declares_every_kind_that_its_question_raises(verb: str) -> None:
    folder = SOURCE / Path(*VERBS[verb][0].split(".")).parent
    assert literals(folder, {"Finding"}) <= {*COMMANDS[verb].kinds, *NOTICED}
    text = "".join(path.read_text() for path in folder.rglob("*.py") if path.name != "command.py")
    made = {"early_layers", "middle_layers", "late_layers"}
    assert {kind for kind in COMMANDS[verb].kinds if f'"{kind}"' not in text} <= made


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_page_of_a_command_lists_every_kind(verb: str) -> None:
    page = SOURCE.parents[1] / "docs" / f"{'attribution' if verb == 'attribute' else verb}.md"
    text = page.read_text(encoding="utf-8")
    assert [kind for kind in COMMANDS[verb].kinds if f"`{kind}`" not in text] == []


def test_kinds_that_are_words_of_a_verdict_are_declared() -> None:
    assert {*VERDICTS} < {*COMMANDS["verify"].kinds}
    assert {*KINDS} - {"identical"} < {*COMMANDS["subspace"].kinds}


def test_every_notice_is_a_kind() -> None:
    slugs = {slug.replace("-", "_") for slug in literals(SOURCE, {"Notice", "notice"})}
    assert slugs <= NOTICED
    text = "".join(path.read_text() for path in SOURCE.rglob("*.py") if path.name != "finding.py")
    assert [k for k in NOTICED if f'"{k}"' not in text and f'"{k.replace("_", "-")}"' not in text] == []


@pytest.mark.parametrize("asked", ["hot_cel", "seams", "not_converged", ","])
def test_an_unknown_kind_is_refused_before_anything_is_read(run: Any, asked: str) -> None:
    done = run("norms", "nowhere/at-all", "--fail-on", asked)
    assert done.code == 2
    assert "unknown-kind" in done.err
    assert ("did you mean hot_cell" in done.err) is (asked == "hot_cel")


def test_a_kind_may_be_spelled_as_its_slug(run: Any, tmp_path: Path) -> None:
    done = run("norms", tmp_path / "absent", "--fail-on", "scale-unknown,hot_cell")
    assert done.code == 4


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_command_takes_its_own_kinds_and_refuses_those_of_others(verb: str) -> None:
    foreign = {kind for command in COMMANDS.values() for kind in command.kinds} - {*COMMANDS[verb].kinds}
    for kind in sorted(foreign - NOTICED):
        with pytest.raises(UsageError):
            parse_kinds(kind, COMMANDS[verb].kinds)
    assert set(parse_kinds(",".join(COMMANDS[verb].kinds), COMMANDS[verb].kinds)) == {*COMMANDS[verb].kinds}
