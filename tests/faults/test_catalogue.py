"""The page of bad inputs names, for every entry, tests that exist."""

import ast
import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PAGE = _ROOT / "docs" / "bad-inputs.md"
_ROW = re.compile(r"^\| (\d+) \| .* \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)


def test_every_entry_of_the_catalogue_has_a_row_in_order() -> None:
    assert [int(number) for number, *_ in _ROW.findall(_PAGE.read_text())] == list(range(1, 111))


def test_every_test_that_the_catalogue_names_exists() -> None:
    present = {
        node.name
        for path in (_ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    for number, _, _, proof in _ROW.findall(_PAGE.read_text()):
        named = re.findall(r"`(\w+)`", proof)
        assert named, number
        assert not [name for name in named if f"test_{name}" not in present], number


def test_every_exit_code_of_the_catalogue_is_one_of_ours() -> None:
    for number, _, codes, _ in _ROW.findall(_PAGE.read_text()):
        assert {int(code) for code in codes.split(", ")} <= {0, 1, 2, 3, 4, 5, 130, 141, 143}, number
