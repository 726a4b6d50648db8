"""What the shell offers for the values of options: sources, labels, words, saved studies."""

from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from tunescope.address.families import FAMILIES

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

# What a study's folder holds, and what `--modules` is given most often beside the families.
_RECORD = "study.json"
_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def words(names: Iterable[str]) -> Complete:
    """Words of a list with commas; those that stand in front are kept and not offered again."""
    known = tuple(names)

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        front, comma, begun = incomplete.rpartition(",")
        given = front.split(",")
        return [
            CompletionItem(f"{front}{comma}{name}")
            for name in known
            if name.startswith(begun) and name not in given
        ]

    return complete


modules: Complete = words([*FAMILIES, *_MODULES])


def source(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """A path, behind its label where it has one."""
    label, sign, begun = incomplete.rpartition("=")
    if not sign:
        return [CompletionItem(incomplete, type="file")]
    return [CompletionItem(f"{label}={path}") for path in _paths(begun, lambda _: True)]


def labels(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """`LABEL=` of every source on the line that was given one."""
    # Where an option waits for its value click leaves all words unsorted; bash hands over `a=b` as three.
    given = " ".join(ctx.args).replace(" = ", "=").split()
    found = dict.fromkeys(word.partition("=")[0] for word in given if "=" in word and word[0] != "-")
    return [CompletionItem(f"{label}=") for label in found if label.startswith(incomplete)]


def study(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Folders that hold a study, and folders on the way to one."""
    return [CompletionItem(path) for path in _paths(incomplete, _may_hold_study)]


def _may_hold_study(path: Path) -> bool:
    if not path.is_dir():
        return False
    return (path / _RECORD).is_file() or any(entry.is_dir() for entry in path.iterdir())


def _paths(begun: str, wanted: Callable[[Path], bool]) -> list[str]:
    """Entries of the folder that `begun` is in; folders end in a slash, hidden ones wait for their dot."""
    head, _, stem = begun.rpartition("/")
    folder = Path(f"{head}/" if head or begun.startswith("/") else ".")
    front = f"{head}/" if begun.count("/") else ""
    try:
        entries = sorted(folder.expanduser().iterdir())
        found = [path for path in entries if path.name.startswith(stem) and wanted(path)]
    except OSError:
        return []
    shown = [path for path in found if stem.startswith(".") or not path.name.startswith(".")]
    return [f"{front}{path.name}{'/' if path.is_dir() else ''}" for path in shown]
