"""The documentation is true: every command, option and error slug stands in it, and its names exist."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import tunescope
from tunescope.cli import VERBS, app

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "tunescope"
RAISED = {"UsageError", "BadInput", "Missing", "Exhausted", "TunescopeError", "Notice"}


def command(verb: str) -> click.Command:
    found = app.get_command(click.Context(app), verb)
    assert found is not None
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_is_in_the_readme_and_has_help_with_examples(verb: str) -> None:
    assert f"tunescope {verb}" in (ROOT / "README.md").read_text()
    found = command(verb)
    assert found.help
    assert f"tunescope {verb}" in (found.epilog or "")
    for option in found.params:
        if isinstance(option, click.Option):
            assert option.help, f"{verb} {option.opts} has no help"


@pytest.mark.parametrize("verb", VERBS)
def test_examples_in_help_and_readme_use_options_that_exist(verb: str) -> None:
    known = {
        name
        for p in command(verb).params
        if isinstance(p, click.Option)
        for name in (*p.opts, *p.secondary_opts)
    }
    texts = [command(verb).epilog or "", (ROOT / "README.md").read_text()]
    for text in texts:
        joined = text.replace("\\\n", " ")
        for line in re.findall(rf"tunescope {verb} (.*)", joined):
            used = set(re.findall(r"(?<=\s)(--?[a-z][a-z-]*)", " " + line.split("#")[0].split("`")[0]))
            assert used <= known | {"--help", "-h"}, f"{line}: {used - known}"


# What other programs that the documentation names take.
FOREIGN = ("torchrun ", "accelerate ", "scripts/", "hf download", "gather it with")


@pytest.mark.parametrize(
    "page", ["README.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_options_that_the_documentation_names_exist(page: str) -> None:
    every = [parameter for verb in VERBS for parameter in command(verb).params]
    known = {option for parameter in every for option in (*parameter.opts, *parameter.secondary_opts)}
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    ours = [line for line in lines if not any(foreign in line for foreign in FOREIGN)]
    named = {option for line in ours for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", line)}
    assert named <= known | {"--help", "--version"}


def slugs() -> Iterator[tuple[str, str]]:
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            value = node.args[0].value
            if (name in RAISED or name == "notice") and isinstance(value, str):
                yield value, path.name


def test_every_slug_is_explained() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    missing = sorted({slug for slug, _ in slugs() if f"`{slug}`" not in page})
    assert not missing, missing


def test_the_errors_page_explains_nothing_that_is_gone() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    text = "".join(path.read_text() for path in SOURCE.rglob("*.py"))
    listed = re.findall(r"^\| `([a-z0-9_-]+)`", page, flags=re.MULTILINE)
    assert listed
    assert [slug for slug in listed if f'"{slug}"' not in text] == []


def test_links_of_every_page_lead_somewhere() -> None:
    for page in [
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "benchmarks").glob("*.md")),
    ]:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    settings = tomllib.loads((ROOT / "zensical.toml").read_text())
    pages = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    assert sorted(_pages(settings["project"]["nav"])) == pages


def _pages(entries: list[dict[str, Any]]) -> Iterator[str]:
    for entry in entries:
        for value in entry.values():
            if isinstance(value, str):
                yield value
            else:
                yield from _pages(value)


def test_the_comparison_gives_figures_that_were_measured() -> None:
    measured = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    page = (ROOT / "docs" / "comparison.md").read_text()
    figures = {cell for row in re.findall(r"^\|(.*)\|$", page, flags=re.MULTILINE) for cell in row.split("|")}
    numbers = {cell.strip() for cell in figures if re.fullmatch(r"\s*[\d.]+( MB)?\s*", cell)}
    assert len(numbers) > 8
    assert [number for number in numbers if not re.search(rf"[ ×]{re.escape(number)}[ ×]", measured)] == []


def test_the_page_of_python_has_every_public_name() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    homes = {f"{home}.{name}" for name, home in tunescope._HOME.items()}
    assert set(re.findall(r"^::: (\S+)$", page, flags=re.MULTILINE)) == homes


def test_every_public_name_exists_and_has_a_docstring() -> None:
    for name in tunescope.__all__:
        assert getattr(tunescope, name).__doc__ or name == "__version__"


def test_files_and_functions_stay_small() -> None:
    """Under 300 lines a file and 40 a function, so that each can be read at once."""
    long = []
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text()
        if text.count("\n") > 300:
            long.append(f"{path.name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 40:
                long.append(f"{path.name}: {node.name} has {(node.end_lineno or 0) - node.lineno + 1} lines")
    assert not long, long
