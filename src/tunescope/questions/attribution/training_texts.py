"""Whether the texts that are scored were trained on, where the record of a run of `finetune` can tell."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tunescope.corpus import data_hash, read_rows
from tunescope.documents import parse_json
from tunescope.paths import local_path

Seen = Literal["held_out", "trained_on", "not_known"]

SAID: Mapping[Seen, str] = {
    "held_out": "by its record, the run that trained this model did not train on these texts",
    "trained_on": "this model was trained on these texts, so the gain is not the one on new texts",
    "not_known": "not known whether this model was trained on these texts: no record of its training names "
    "them",
}
# An adapter or a checkpoint lies in the folder of its run.
_ABOVE = 2


def seen_in_training(tuned: Any, data: Any) -> Seen:
    """What the record of the run that left `tuned` says of a file of texts; `not_known` of anything else.

    A record names the digest of the rows that a domain was read from, and of those that were held out.
    """
    record = _record(tuned)
    if record is None or not isinstance(data, str | Path) or not Path(data).is_file():
        return "not_known"
    digest = data_hash(read_rows(str(data)))
    for domain, said in record["data"].items():
        if digest == said.get("held_out_sha256"):
            return "held_out"
        if digest == said.get("sha256"):
            return "trained_on" if domain == record["domain"] else "held_out"
    return "not_known"


def _record(tuned: Any) -> dict[str, Any] | None:
    """`run.json` of the folder that holds the model, or of one above it."""
    if not isinstance(tuned, str | Path):
        return None
    place = local_path(tuned).absolute()
    if not place.exists():
        return None
    for folder in (place, *list(place.parents)[:_ABOVE]):
        try:
            found = parse_json((folder / "run.json").read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(found, dict) and isinstance(found.get("data"), dict) and "domain" in found:
            return found
    return None
