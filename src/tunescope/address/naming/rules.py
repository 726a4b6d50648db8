"""What a naming rule is, and where the rules come from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prefix:
    """What stands before a part of a pipeline: `spelled` → `means`, flat or dotted."""

    spelled: str
    means: str
    source: str


@dataclass(frozen=True, slots=True)
class Blocks:
    """A list of blocks with layer numbers of its own: the end of its path, and the stack that it is."""

    path: str
    stack: str
    source: str

    @property
    def end(self) -> str:
        """A regular expression for the end of the path of the list."""
        return rf"(^|\.){re.escape(self.path)}$"


@dataclass(frozen=True, slots=True)
class Tower:
    """A part of a model with blocks of its own: a regular expression for its path, and its stack."""

    stack: str
    path: str
    source: str


@dataclass(frozen=True, slots=True)
class Rename:
    """A module within the blocks of one stack: a regular expression for its whole path, and its one name.

    `blocks` is a regular expression for the end of the list's path.
    """

    blocks: str
    spelled: str
    name: str
    source: str


def renames(blocks: str, source: str, names: Mapping[str, str]) -> tuple[Rename, ...]:
    """Rules of one source for one list of blocks: spelled → name."""
    return tuple(Rename(blocks, spelled, name, source) for spelled, name in names.items())
