"""JSON files beside the weights: configs, indices, trainer states."""

from pathlib import Path
from typing import Any

from tunescope.documents import DocumentError, parse_json
from tunescope.errors import BadInput
from tunescope.source.files.disk import take_snapshot

# Far beyond any config or training log; what is larger was not written as one.
_LARGEST = 2**29


def read_object(path: Path, slug: str, what: str, *, each_key_once: bool = False) -> dict[str, Any]:
    """The JSON object in a file; `what` names the file in a message, such as `the adapter's config`.

    Raises `BadInput` with `slug` where it is no such object, `Missing` where it cannot be read.
    """
    snapshot = take_snapshot(path)
    if snapshot.size > _LARGEST:
        raise BadInput(
            slug,
            f"{what} is far too large",
            file=path,
            expected=f"at most {_LARGEST} bytes",
            found=f"{snapshot.size} bytes",
            fix="remove what is not part of it, or take a sound copy",
        )
    found: object
    try:
        found = parse_json(snapshot.read(0, snapshot.size).tobytes(), each_key_once=each_key_once)
    except DocumentError as error:
        found = error
    if isinstance(found, dict):
        return found
    broken = isinstance(found, DocumentError)
    line = found.line if isinstance(found, DocumentError) else None
    raise BadInput(
        slug,
        f"{what} is not JSON" if broken else f"{what} is not a JSON object",
        file=path if line is None else f"{path}:{line}",
        expected="a JSON object, such as {…}",
        found=found if broken else type(found).__name__,
        fix="copy or download the file again",
    )
