"""What the hub refuses, in our own words: never in those of its answer, which may quote the request."""

import errno
from typing import Any

from tunescope.errors import Exhausted, Missing
from tunescope.hub_session import LongWaitError
from tunescope.network import SwollenError, TooSlowError, status_of

_LOG_IN = "log in with `hf auth login` (or set HF_TOKEN), and ask for access on the model's page"
_GATED = ("hub-denied", "access to this repository must be asked for", _LOG_IN)
_DENIED = ("hub-denied", "this repository may not be read", _LOG_IN)
_NO_REVISION = ("hub-not-found", "there is no such revision", "check what follows the @")
_NO_REPOSITORY = (
    "hub-not-found",
    "the hub has no such repository, or it is private",
    "check the id; if it is private, " + _LOG_IN,
)
_NO_ID = (
    "hub-not-found",
    "this is no valid id on the hub",
    "write org/name[@revision][:folder], or check the path if it is meant to be local",
)
_NOT_ACCEPTED = (
    "hub-denied",
    "the token was not accepted: it is wrong or has expired",
    "log in again with `hf auth login`, or unset HF_TOKEN for what is public",
)
NOT_THE_HUB = (
    "hub-unavailable",
    "something else than the hub answered, such as a page to log in at",
    "check the network, a proxy and HF_ENDPOINT",
)
MOVED = (
    "hub-moved",
    "the repository changed while it was being fetched",
    "run again, or name a commit: org/name@COMMIT",
)
_TOO_LARGE = (
    "hub-too-large",
    "a file of this size is not fetched in the plain way",
    "pip install hf_xet, without HF_HUB_DISABLE_XET; or the server states a wrong size",
)
UNAVAILABLE = (
    "hub-unavailable",
    "the hub did not answer as it should",
    "try again later; check the network, a proxy and HF_ENDPOINT",
)


def refusal_of(errors: Any, error: Exception, place: str) -> Missing | None:
    """The error of ours for one that the hub answered; `None` for one of the connection, or of ours."""
    status = status_of(error)
    said = _said(errors, error, status)
    if said is None:
        return None
    if isinstance(error, LongWaitError):
        return missing(said, place, str(error))
    return missing(said, place, type(error).__name__ if status is None else f"HTTP status {status}")


def missing(said: tuple[str, str, str], place: str, found: str) -> Missing:
    """The error of ours: slug, sentence and remedy, with what was found."""
    slug, what, fix = said
    return Missing(slug, what, file=place, found=found, fix=fix)


def _said(errors: Any, error: Exception, status: int | None) -> tuple[str, str, str] | None:
    if isinstance(error, errors.GatedRepoError):
        return _GATED
    if isinstance(error, errors.RevisionNotFoundError):
        return _NO_REVISION
    if status == 403:
        return _DENIED
    if status == 401 and _has_token():
        # Without a token the hub answers so for what is not there, too.
        return _NOT_ACCEPTED
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 404):
        return _NO_REPOSITORY
    if isinstance(error, errors.FileMetadataError) or type(error).__name__ == "TooManyRedirects":
        return NOT_THE_HUB
    if isinstance(error, OSError) and "Consistency check failed" in str(error):
        return MOVED
    if isinstance(error, ValueError) and "too large to be downloaded" in str(error):
        return _TOO_LARGE
    if isinstance(error, errors.HFValidationError):
        return _NO_ID
    return None if status is None else UNAVAILABLE


_CACHE = {errno.ENOSPC: "disk-full", errno.EDQUOT: "disk-full", errno.EROFS: "cannot-write",
          errno.EACCES: "cannot-write", errno.EPERM: "cannot-write"}  # fmt: skip


def out_of_reach(error: Exception) -> str | None:
    """Why nothing can be had from the hub (no network, no name, no answer in time), or `None`.

    Raises `Exhausted` where it is the cache that took no more.
    """
    number = getattr(error, "errno", None)
    if isinstance(error, OSError) and number in _CACHE:
        raise Exhausted(
            _CACHE[number], "the hub's cache cannot be written", file=error.filename, found=error.strerror,
            fix="make room or grant the permission, or set HF_HOME to another folder",
        ) from None  # fmt: skip
    if isinstance(error, TooSlowError):
        return f"the hub answers too slowly ({error})"
    if isinstance(error, SwollenError):
        return f"the hub's answer unpacks to far more than was sent ({error})"
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, OSError) or kinds & {"TransportError", "RequestError", "TimeoutException"}:
        return f"the hub cannot be reached ({type(error).__name__})"
    return None


def _has_token() -> bool:
    # Deferred: an extra.
    from huggingface_hub import get_token

    return get_token() is not None
