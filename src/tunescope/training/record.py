"""What `run.json` says of a run of a sweep, in the form in which it was written, or a refusal."""

from pathlib import Path
from typing import Any

from tunescope.errors import BadInput, Exhausted, Missing, TunescopeError
from tunescope.source.training_run import number, read_json, whole

# The status of a run that was trained to its end, but not captured to its end.
STOPPED = "capture_stopped"
_ENDED = ("complete", STOPPED)


def read_record(path: Path) -> dict[str, Any]:
    """A run's record, of which everything that is asked for later has its form.

    Raises `BadInput` where it has not.
    """
    record = read_json(path)
    status = record.get("status")
    # A run that has not ended has no losses yet, and why a capture stopped is said of those that did.
    wanted = {
        "settings": (isinstance(record.get("settings", {}), dict), "an object"),
        "losses": (
            _are_losses(record.get("losses", None if status in _ENDED else {})),
            "before, after and tokens of each domain",
        ),
        "capture": (
            status != STOPPED or _says_why(record.get("capture")),
            "an object with reason and exit_code",
        ),
    }
    for name, (fits, expected) in wanted.items():
        if not fits:
            raise BadInput(
                "bad-json", "the record of this run cannot be used", file=path,
                expected=f"{name}: {expected}", found=record.get(name, "nothing"),
                fix=f"bring the file back, or move {path.parent} away to train this run again",
            )  # fmt: skip
    return record


def _are_losses(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(at, dict)
        and all(_is_loss(at.get(side, "none")) for side in ("before", "after"))
        and whole(at.get("tokens")) is not None
        for at in value.values()
    )


def _is_loss(value: object) -> bool:
    """A number, or null for a loss that was none."""
    return value is None or (isinstance(value, int | float) and number(value) is not None)


def _says_why(value: object) -> bool:
    codes = [kind.exit_code for kind in (BadInput, Missing, Exhausted, TunescopeError)]
    return isinstance(value, dict) and "reason" in value and value.get("exit_code") in codes
