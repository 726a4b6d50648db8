"""Adapters on the Hugging Face hub: only the adapter's own files are fetched, into the hub's own cache."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from tunescope.errors import Missing, TunescopeError
from tunescope.extras import advice
from tunescope.hub_refusals import MOVED, NOT_THE_HUB, missing, out_of_reach, refusal_of
from tunescope.hub_session import bound
from tunescope.network import patiently
from tunescope.source.files.sniff import HEAD_BYTES, is_page
from tunescope.source.locate import adapter_names
from tunescope.source.spec import HubId, spell

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
        if (refusal := refusal_of(huggingface_hub.errors, error, spell(hub))) is not None:
            raise refusal from None
        if (why := out_of_reach(error)) is not None:
            return _cached(huggingface_hub, hub, why)
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
    if not (offline := bool(constants.HF_HUB_OFFLINE)):
        bound(huggingface_hub)
    return huggingface_hub, offline


def answered(library: Any, hub: HubId, call: Callable[[], T], offline: bool = False) -> T:
    """What `call` gets from the hub, which is asked patiently; its refusals as errors of ours."""
    try:
        return patiently(call, spell(hub))
    except TunescopeError:
        raise
    except Exception as error:
        if (refusal := refusal_of(library.errors, error, spell(hub))) is not None:
            raise refusal from None
        if (why := out_of_reach(error)) is not None:
            raise _not_cached(hub, "the hub is switched off" if offline else why) from None
        raise


def _download(library: Any, hub: HubId) -> tuple[Path, str]:
    commit, names = _listing(library, hub)
    folder = downloaded(library, hub, commit, adapter_names(names))
    return folder, _place(hub, folder)


def downloaded(library: Any, hub: HubId, commit: str, names: Sequence[str], at_once: int = 1) -> Path:
    """The folder of the cache that holds these files of one commit; `names` are paths from the hub's.

    Raises `Missing` where a page stands in the place of a file, and where they are of several commits.
    """

    def download(revision: str | None) -> set[Path]:
        def get(name: str) -> Path:
            path = Path(library.hf_hub_download(hub.repo, _prefix(hub) + name, revision=revision))
            _refuse_page(hub, path)
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
    if len(folders) > 1 and len(folders := download(commit)) > 1:
        raise missing(MOVED, spell(hub), f"files of {len(folders)} commits")
    return folders.pop()


def _refuse_page(hub: HubId, path: Path) -> None:
    """Refuse a page that came as a file, and take it out of the cache, which would hand it out again."""
    with path.open("rb") as file:
        page = is_page(file.read(HEAD_BYTES))
    if page:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise missing(NOT_THE_HUB, spell(hub), f"a page in the place of {path.name}")


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
        raise missing(NOT_THE_HUB, spell(hub), type(error).__name__) from None


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
        f"it is not in the local cache, and {why}",
        file=spell(hub),
        found="not cached: " + spell(hub),
        fix=f"with a connection: hf download {hub.repo}{revision}{include}; of a path on this disk, check it",
    )
