"""The base that an adapter's config names, for whoever did not give one."""

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from tunescope.errors import TunescopeError, UsageError
from tunescope.paths import local_path
from tunescope.source.files.documents import read_object
from tunescope.source.locate import CONFIG
from tunescope.source.spec import parse_hub_id, parse_spec


def configured_base(place: str) -> str | None:
    """The base that the config of an adapter on this disk names; `None` where there is none to read.

    >>> configured_base("no/such/adapter") is None
    True
    """
    path = local_path(place)
    config = (path if path.is_dir() else path.parent) / CONFIG
    try:
        stated = read_object(config, "adapter-config", "the adapter's config") if config.is_file() else {}
    except (TunescopeError, OSError):
        return None
    name = stated.get("base_model_name_or_path")
    return name if isinstance(name, str) and name.strip() else None


def base_wanted(sources: Iterable[str]) -> UsageError:
    """The error of a command that needs a base and was given none, with what the adapters' configs name."""
    places = [parse_spec(source)[1] for source in sources]
    named = {place: base for place in places if (base := configured_base(place)) is not None}
    found, fix = "no --base", "add --base with the folder or the hub id of the model that was tuned"
    for place, base in named.items():
        there = _is_folder(local_path(base))
        found = f"no --base; the config of {place} names {base}"
        if there or parse_hub_id(base) is not None:
            fix = f"add --base {shlex.quote(base)}"
        elif _is_folder(beside := local_path(place).resolve().parent / base):
            fix = f"add --base {shlex.quote(str(beside))}"
        else:
            fix = f"add --base with the place where {base} lies now: it is not at that path"
    return UsageError(
        "no-base",
        "this takes the model that was tuned",
        expected="--base BASE: a folder or a hub id",
        found=found,
        fix=fix,
    )


def _is_folder(path: Path) -> bool:
    try:
        return os.path.lexists(path) and path.is_dir()
    except (OSError, ValueError):
        return False
