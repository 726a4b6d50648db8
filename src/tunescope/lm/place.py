"""Where a model lies: a folder, or a repository on the hub with its revision and folder."""

import os
from pathlib import Path
from typing import Any

from tunescope.errors import Missing
from tunescope.paths import local_path
from tunescope.source.spec import parse_hub_id


def located(spec: str | Path) -> tuple[str, dict[str, Any]]:
    """Path or repository, and the revision and folder within it as the options of `from_pretrained`.

    Raises `Missing` for what looks like a path and is not there.
    """
    text = os.fspath(spec)
    path = local_path(text)
    if os.path.lexists(path):
        return str(path), {}
    hub = parse_hub_id(text)
    if hub is None or (text.count("/") > 1 and not text.startswith("hf://")):
        raise Missing(
            "not-found",
            "there is no such model",
            file=text,
            found="nothing at this path; it looks local, so this was not a hub lookup",
            fix="check the path; a hub model is written org/name[@revision][:folder]",
        )
    options = {"revision": hub.revision, "subfolder": hub.folder}
    return hub.repo, {key: value for key, value in options.items() if value}
