"""What a saved study holds, in which a key that an earlier version left out is an answer, not a crash."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import polars as pl

from tunescope.errors import BadInput


class Recorded(dict[str, Any]):
    """A mapping read from `folder`; asked for a key that it has not, it refuses the study.

    Raises `BadInput` for such a key; `get` and `in` answer as those of any mapping.
    """

    def __init__(self, held: Mapping[str, Any], folder: Path) -> None:
        super().__init__(held)
        self.folder = folder

    def __missing__(self, key: str) -> NoReturn:
        refuse(self.folder, f"nothing named {key!r}")


def recorded(value: Any, folder: Path) -> Any:
    """Plain JSON values with every mapping in them, at any depth, as `Recorded`."""
    if isinstance(value, Mapping):
        return Recorded({key: recorded(held, folder) for key, held in value.items()}, folder)
    return [recorded(one, folder) for one in value] if isinstance(value, list) else value


@contextlib.contextmanager
def telling(folder: Path | None) -> Iterator[None]:
    """Within it a column that the tables of the study from `folder` do not have refuses the study."""
    try:
        yield
    except pl.exceptions.ColumnNotFoundError as error:
        if folder is None:
            raise
        refuse(folder, str(error).partition("\n")[0])


def refuse(folder: Path, found: str) -> NoReturn:
    """Raise the refusal of a study that lacks what this version needs."""
    raise BadInput(
        "older-study", "the study lacks what this version tells and draws", file=folder,
        expected="a study that this version wrote", found=found,
        fix="run the command that made it again, with --overwrite",
    )  # fmt: skip
