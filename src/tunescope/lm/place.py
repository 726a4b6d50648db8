"""Where a model lies: a folder, or a repository on the hub with its revision and folder."""

import os
import shlex
from pathlib import Path

from tunescope.errors import BadInput, Missing
from tunescope.extras import require
from tunescope.paths import local_path
from tunescope.source.configured_base import configured_base
from tunescope.source.files.disk import unreachable
from tunescope.source.hub_models import fetch_pretrained
from tunescope.source.locate import CONFIG
from tunescope.source.spec import HubId, parse_hub_id


def located(spec: str | Path, *, weights: bool = False) -> Path:
    """The folder of a model; one on the hub is fetched first, without its weights unless they are asked for.

    Whatever loads it meets local files only: it connects to nothing. Raises `Missing` for what looks like a
    path and is not there, and as `fetch_pretrained`.
    """
    found = place(spec)
    if not isinstance(found, Path):
        return fetch_pretrained(found, weights)
    _refuse_denied(found)
    _refuse_adapter(found)
    return found


def check_named(spec: str | Path, what: str) -> None:
    """Refuse a path that is not there, or that holds no model but an adapter, before anything is loaded.

    Raises `Missing`, `BadInput`, and `UsageError` where `what` asks lacks torch; ids on the hub wait.
    """
    require("torch", what)
    if isinstance(found := place(spec), Path):
        _refuse_adapter(found)


def _refuse_adapter(path: Path) -> None:
    """Refuse an adapter where a whole model is needed, with the two ways out."""
    folder, alone = (path, False) if path.is_dir() else (path.parent, path.name.startswith("adapter_model."))
    if not ((folder / CONFIG).is_file() and (alone or not (folder / "config.json").is_file())):
        return
    base = configured_base(str(folder))
    raise BadInput(
        "adapter-not-model",
        "this is an adapter, and a whole model is needed",
        file=path,
        expected="a folder with config.json, the weights and the tokenizer's files",
        found=CONFIG + (f", which names the base {base}" if base else ""),
        fix="name its base, or merge it into that first (PEFT's merge_and_unload); its own effect is told by "
        f"tunescope attribute {shlex.quote(str(path))} --base {shlex.quote(base or 'BASE')} --data TEXTS",
    )


def _refuse_denied(folder: Path) -> None:
    """Refuse what may not be read: the library takes a config that it cannot open for an absent one."""
    try:
        beside = list(folder.iterdir()) if folder.is_dir() else []
        for path in (path for path in beside if path.suffix == ".json" and path.is_file()):
            path.open("rb").close()
    except PermissionError as error:
        raise unreachable(Path(error.filename), error) from None


def place(spec: str | Path) -> Path | HubId:
    """The path that is meant, or the id on the hub."""
    text = os.fspath(spec)
    path = local_path(text)
    if os.path.lexists(path):
        return path
    hub = parse_hub_id(text)
    if hub is None or (text.count("/") > 1 and not text.startswith("hf://")):
        raise Missing(
            "not-found",
            "there is no such model",
            file=text,
            found="nothing at this path; it looks local, so this was not a hub lookup",
            fix="check the path; a hub model is written org/name[@revision][:folder]",
        )
    return hub
