"""Every command of the README and the documentation runs in a fresh clone, or its mark says why not.

The blocks of shell commands of a page are run as one script, those of Python as another, in a folder that
stands for a clone in which `tunescope demo --quick` and `tunescope demo` were run. A block after the comment
`<!-- not run: WHY -->` is parsed by the real command line alone: all verbs, options and values must exist.
"""

import contextlib
import itertools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tunescope.cli import VERBS, app
from tunescope.demo import domain_paths
from tunescope.demo import run as demonstration
from tunescope.demo.family import made_family

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<why>[^>]+) -->\n+)?^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S
)
OPERATORS = ("|", "||", "&&", ">", ";")
# Why a block may be left unrun; whatever a processor can do on what ships is not among them.
REASONS = {
    "installs packages",
    "takes minutes; tests/cli/test_demo.py runs it in miniature",
    "needs the hub",
    "needs several processes",
    "needs a file of your own",
    "completion of your shell",
}


def blocks(page: Path) -> Iterator[tuple[str | None, str]]:
    """The reason not to run it, and the text, of every block of shell commands."""
    for found in BLOCK.finditer(page.read_text(encoding="utf-8")):
        language, text = found["language"].strip(), found["text"]
        if language == "sh":
            yield found["why"], text
        else:
            assert not re.search(r"^(\$ )?tunescope ", text, re.M), (
                f"{page.name}: {text[:60]} is no ```sh block"
            )


def commands(text: str) -> Iterator[list[str]]:
    """The words of every call of tunescope, launchers and changes of the environment in front left out."""
    for line in text.replace("\\\n", " ").splitlines():
        words = list(
            itertools.takewhile(lambda word: word not in OPERATORS, shlex.split(line, comments=True))
        )
        while words and (words[0] == "tunescope" or "=" in words[0] or words[0] == "torchrun"):
            if words[0] == "tunescope":
                yield words[1:]
                break
            words = words[words.index("tunescope") :] if words[0] == "torchrun" else words[1:]


def lay_files(page: Path, folder: Path) -> None:
    """Write every file that the page shows: a block that begins with its name in a comment."""
    for found in BLOCK.finditer(page.read_text(encoding="utf-8")):
        if named := re.match(r"# (\S+\.(yaml|toml))\n", found["text"]):
            (folder / named[1]).write_text(found["text"], encoding="utf-8")


def script(page: Path) -> str:
    return "".join(text for why, text in blocks(page) if why is None)


def python(page: Path) -> str:
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return "".join(block["text"] for block in found if block["language"].strip() == "python")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_parses(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_files(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    for why, text in blocks(page):
        assert why is None or why in REASONS, f"{page.name}: {why}"
        for verb, *arguments in filter(None, commands(text)):
            if verb.startswith("-"):
                continue
            assert verb in VERBS, f"{page.name}: tunescope {verb}"
            found = app.get_command(click.Context(app), verb)
            assert found is not None
            with contextlib.suppress(click.exceptions.Exit):  # of --help
                found.make_context(verb, list(arguments))


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both demonstrations leave behind, the training in miniature."""
    folder = tmp_path_factory.mktemp("clone")
    made_family(folder / "demo-quick")
    some = {name: path for name, path in domain_paths().items() if name in ("cpp", "physics")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demonstration, "domain_paths", lambda: some)
        changes = {"max_steps": 2, "batch_size": 2, "max_length": 48, "held_out_rows": 2}
        demonstration.run_demo(folder / "demo-out", changes=changes)
    return folder


def link_made(text: str, clone: Path, folder: Path) -> None:
    """Put what the text reads of a clone, and does not make itself, into a folder."""
    for name in ("src", "demo-quick", "demo-out"):
        if name == "src" or (name in text and not (name == "demo-quick" and "demo --quick" in text)):
            (folder / name).symlink_to((ROOT if name == "src" else clone) / name)


WITH_COMMANDS = [page for page in PAGES if "tunescope " in script(page)]


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.stem)
def test_every_command_runs(page: Path, clone: Path, tmp_path: Path) -> None:
    text = script(page)
    link_made(text, clone, tmp_path)
    lay_files(page, tmp_path)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-x", "-c", text], cwd=tmp_path, env=os.environ | {"PATH": path},
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, f"{page.name}\n{done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr


WITH_PYTHON = [page for page in PAGES if python(page)]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.stem)
def test_all_python_runs(page: Path, clone: Path, tmp_path: Path) -> None:
    text = python(page)
    link_made(text, clone, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, f"{page.name}\n{done.stderr[-2000:]}"
