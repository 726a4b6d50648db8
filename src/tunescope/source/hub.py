"""Adapters on the Hugging Face hub: only the adapter's own files are fetched, into the hub's own cache."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from tunescope.errors import Missing, TunescopeError, printable
from tunescope.extras import advice
from tunescope.network import patiently, status_of
from tunescope.source.locate import adapter_names
from tunescope.source.spec import HubId

T = TypeVar("T")


def fetch(hub: HubId) -> tuple[Path, str]:
    """The local folder that holds the adapter, and where it came from, down to the commit.

    What the cache holds is not fetched again; offline the cache alone is used. Raises `Missing` for an id
    or folder that does not exist, for a repository that may not be read, and where nothing can be reached.
    """
    huggingface_hub, offline = connected(hub)
    if offline:
        return _cached(huggingface_hub, hub, "the hub is switched off (HF_HUB_OFFLINE)")
    try:
        return patiently(lambda: _download(huggingface_hub, hub), spell(hub))
    except TunescopeError:
        raise
    except Exception as error:
        if (refusal := _refusal(huggingface_hub.errors, error, hub)) is not None:
            raise refusal from None
        if _unreachable(error):
            return _cached(huggingface_hub, hub, f"the hub cannot be reached ({type(error).__name__})")
        raise


def connected(hub: HubId) -> tuple[Any, bool]:
    """The hub's library, and whether it must not be connected to."""
    try:
        # Deferred: an extra, and slow to import.
        import huggingface_hub
        import huggingface_hub.errors
        from huggingface_hub import constants
    except ImportError:
        raise Missing(
            "no-hub",
            "reading from the hub needs huggingface_hub, which is not installed",
            file=spell(hub),
            fix=f"name a local path, or {advice('hub')}",
        ) from None
    return huggingface_hub, bool(constants.HF_HUB_OFFLINE)


def answered(library: Any, hub: HubId, call: Callable[[], T], offline: bool = False) -> T:
    """What `call` gets from the hub, which is asked patiently; its refusals as errors of ours."""
    try:
        return patiently(call, spell(hub))
    except TunescopeError:
        raise
    except Exception as error:
        refusal = _refusal(library.errors, error, hub)
        if refusal is None and (
            _unreachable(error) or isinstance(error, library.errors.LocalEntryNotFoundError)
        ):
            refusal = _not_cached(hub, "the hub is switched off" if offline else "the hub cannot be reached")
        if refusal is None:
            raise
        raise refusal from None


def _download(library: Any, hub: HubId) -> tuple[Path, str]:
    commit, names = _listing(library, hub)
    folder = downloaded(library, hub, commit, adapter_names(names))
    return folder, _place(hub, folder)


def downloaded(library: Any, hub: HubId, commit: str, names: Sequence[str], at_once: int = 1) -> Path:
    """The folder of the cache that holds these files of one commit; `names` are paths from the hub's."""

    def download(revision: str | None) -> set[Path]:
        def get(name: str) -> Path:
            path = Path(library.hf_hub_download(hub.repo, _prefix(hub) + name, revision=revision))
            return path.parents[name.count("/")]

        if at_once == 1:
            return {get(name) for name in names}
        with ThreadPoolExecutor(at_once) as pool:
            started = [pool.submit(get, name) for name in names]
            try:
                return {one.result() for one in started}
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    # By its name, so that the cache remembers the branch; by its commit where the branch moved meanwhile.
    folders = download(hub.revision)
    return folders.pop() if len(folders) == 1 else download(commit).pop()


def listing(library: Any, hub: HubId) -> tuple[str, list[str]]:
    """The commit, and the files in the folder that is meant; raises as `fetch`."""
    return answered(library, hub, lambda: _listing(library, hub))


def names_of(library: Any, hub: HubId) -> tuple[str, list[str]]:
    """The commit, and all files below the folder that is meant, by paths from there; raises as `fetch`."""

    def look() -> tuple[str, list[str]]:
        info = _info(library, hub)
        return str(info.sha), _below(info, hub)

    return answered(library, hub, look)


def _below(info: Any, hub: HubId) -> list[str]:
    prefix = _prefix(hub)
    return [s.rfilename.removeprefix(prefix) for s in info.siblings if s.rfilename.startswith(prefix)]


def _listing(library: Any, hub: HubId) -> tuple[str, list[str]]:
    info = _info(library, hub)
    names = _below(info, hub)
    beside = [name for name in names if "/" not in name]
    if not adapter_names(beside):
        raise _no_adapter(hub, names)
    return str(info.sha), beside


def _prefix(hub: HubId) -> str:
    return f"{hub.folder}/" if hub.folder else ""


def _info(library: Any, hub: HubId) -> Any:
    """What the hub says about the repository; a page in the place of its answer is no answer."""
    try:
        return library.HfApi().model_info(hub.repo, revision=hub.revision)
    except library.errors.HFValidationError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _missing(_NOT_THE_HUB, hub, type(error).__name__) from None


def _place(hub: HubId, folder: Path) -> str:
    """Where a folder of the cache came from: repository, commit, folder."""
    parts = folder.parts
    return place_of(hub, parts[parts.index("snapshots") + 1] if "snapshots" in parts else "unknown")


def place_of(hub: HubId, commit: str) -> str:
    """The place that a study keeps: repository, commit, folder."""
    return f"hf://{hub.repo}@{commit}" + (f"/{hub.folder}" if hub.folder else "")


def _no_adapter(hub: HubId, names: Sequence[str]) -> Missing:
    below = sorted(
        {
            n.rsplit("/", 1)[0]
            for n in names
            if n.endswith(("adapter_config.json", "adapters.safetensors")) and "/" in n
        }
    )
    fix = "name one of them: " + ", ".join(f"{hub.repo}:{folder}" for folder in below[:5]) if below else None
    return Missing(
        "no-adapter-on-hub",
        "the repository holds no adapter at this place",
        file=spell(hub),
        expected="adapter_model.safetensors or another file of adapter weights",
        found=", ".join(names[:8]) or "no files",
        fix=fix,
    )


def _cached(library: Any, hub: HubId, why: str) -> tuple[Path, str]:
    patterns = [f"{hub.folder}/*" if hub.folder else "*"]
    try:
        folder = library.snapshot_download(
            hub.repo, revision=hub.revision, local_files_only=True, allow_patterns=patterns
        )
    except FileNotFoundError as error:
        # What is not cached raises one of these; a folder known to lack files (a README, say) may do.
        folder = getattr(error, "snapshot_path", None)
        if folder is None:
            raise _not_cached(hub, why) from None
    path = Path(folder) / (hub.folder or "")
    if not path.is_dir() or not adapter_names([p.name for p in path.iterdir()]):
        raise _not_cached(hub, why)
    return path, _place(hub, path)


def _not_cached(hub: HubId, why: str) -> Missing:
    include = f" --include '{hub.folder}/*'" if hub.folder else ""
    revision = f" --revision {hub.revision}" if hub.revision else ""
    return Missing(
        "hub-offline",
        f"the adapter is not in the local cache, and {why}",
        file=spell(hub),
        found="not cached: " + spell(hub),
        fix=f"with a connection: hf download {hub.repo}{revision}{include}",
    )


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
_NOT_THE_HUB = (
    "hub-unavailable",
    "something else than the hub answered, such as a page to log in at",
    "check the network, a proxy and HF_ENDPOINT",
)
_MOVED = (
    "hub-moved",
    "the repository changed while it was being fetched",
    "run again, or name a commit: org/name@COMMIT",
)
_UNAVAILABLE = ("hub-unavailable", "the hub did not answer as it should", "try again later")


def _refusal(errors: Any, error: Exception, hub: HubId) -> Missing | None:
    """The error of ours for one that the hub answered, without its text, which may quote the request."""
    status = status_of(error)
    said = _said(errors, error, status)
    if said is None:
        return None
    return _missing(said, hub, type(error).__name__ if status is None else f"HTTP status {status}")


def _missing(said: tuple[str, str, str], hub: HubId, found: str) -> Missing:
    slug, what, fix = said
    return Missing(slug, what, file=spell(hub), found=found, fix=fix)


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
    if isinstance(error, errors.FileMetadataError):
        return _NOT_THE_HUB
    if isinstance(error, OSError) and "Consistency check failed" in str(error):
        return _MOVED
    if isinstance(error, errors.HFValidationError):
        return _NO_ID
    return None if status is None else _UNAVAILABLE


def _has_token() -> bool:
    # Deferred: an extra.
    from huggingface_hub import get_token

    return get_token() is not None


def _unreachable(error: Exception) -> bool:
    """Whether the error is one of the connection: no network, no name, no answer in time."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, OSError) or bool(kinds & {"TransportError", "RequestError", "TimeoutException"})


def spell(hub: HubId) -> str:
    revision = f"@{hub.revision}" if hub.revision else ""
    return printable(hub.repo + revision + (f":{hub.folder}" if hub.folder else ""))
