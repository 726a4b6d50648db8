"""An adapter on the hub opened by ranges of its files at one commit: headers alone, and how much that was."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

from tunescope.errors import Missing
from tunescope.hub_refusals import MOVED, UNAVAILABLE, missing
from tunescope.source.files.container import TensorFile, safetensors_of
from tunescope.source.files.gguf import gguf_of
from tunescope.source.files.ranged import RangedFile
from tunescope.source.hub import answered, connected, listing, place_of
from tunescope.source.locate import CONFIG, SHARD, adapter_names
from tunescope.source.spec import HubId, spell
from tunescope.source.weights import Weights

Fetch = Callable[[int, int], bytes]
Found = TypeVar("Found")
# Seconds that one range may take.
_PATIENCE = 30.0
# Bytes a second below which a server is taken for one that never ends.
_SLOWEST = 1000
_CONTENT_RANGE = re.compile(r"bytes (\d{1,20})-\d{1,20}/(\d{1,20}|\*)")


class NoRangesError(Exception):
    """The server answers with whole files only."""


def hub_headers(hub: HubId) -> Weights | None:
    """The tensors of an adapter on the hub, of which only what is asked for is fetched.

    `None` where ranges do not help: offline, weights other than safetensors, several files that are not the
    shards of one save, a server without ranges. Raises as `hub.fetch`.
    """
    return by_ranges(hub, _headers)


def by_ranges(hub: HubId, opened: Callable[[Any, HubId], Found | None]) -> Found | None:
    """What `opened` finds on the hub by ranges; `None` offline, without them, and where none is reached."""
    library, offline = connected(hub)
    try:
        return None if offline else opened(library, hub)
    except NoRangesError:
        return None
    except Missing as refusal:
        # What cannot be reached may lie in the cache.
        if refusal.slug != "hub-offline":
            raise
        return None


def _headers(library: Any, hub: HubId) -> Weights | None:
    commit, names = listing(library, hub)
    weights = [name for name in adapter_names(names) if name != CONFIG and not name.endswith(".index.json")]
    if not one_save(weights):
        return None
    prefix = f"{hub.folder}/" if hub.folder else ""
    files = tuple(opened_by_ranges(library, hub, commit, prefix + name) for name in weights)
    config = _config(library, hub, commit, prefix) if CONFIG in names else None
    return Weights(
        place=place_of(hub, commit),
        tensors={name: tensor for file in files for name, tensor in file.tensors.items()},
        metadata={key: text for file in files for key, text in file.metadata.items()},
        files=files,
        notices=tuple(notice for file in files for notice in file.notices),
        config_file=config,
    )


def one_save(names: Sequence[str]) -> bool:
    """Whether these are one file of safetensors or GGUF, or all shards of one save."""
    if len(names) == 1 and names[0].endswith(".gguf"):
        return True
    if not names or not all(name.endswith(".safetensors") for name in names):
        return False
    shards = [found for name in names if (found := SHARD.match(name))]
    if not shards:
        return len(names) == 1
    numbers = {int(found["number"]) for found in shards}
    stems = {(found["stem"], found["total"]) for found in shards}
    return len(shards) == len(names) and len(stems) == 1 and len(numbers) == int(shards[0]["total"])


def opened_by_ranges(library: Any, hub: HubId, commit: str, name: str) -> TensorFile:
    """A file of a repository at one commit, of which the header has been fetched and numbers of their own.

    Raises as `hub.fetch`, `NoRangesError` where the server sends whole files, `BadInput` for no header.
    """
    ranged = RangedFile(*fetching(library, hub, commit, name))
    file = gguf_of(ranged) if name.endswith(".gguf") else safetensors_of(ranged)
    ranged.read_numbers(file.tensors.values())
    return file


def fetching(library: Any, hub: HubId, commit: str, name: str) -> tuple[Path, int, str, Fetch]:
    """Where a file of the hub lies, its size, its ETag at this commit, and what gets a range of it."""
    url = library.hf_hub_url(hub.repo, name, revision=commit)
    found = answered(library, hub, lambda: library.get_hf_file_metadata(url))
    path, size = Path(hub.repo) / name, int(found.size or 0)

    def fetch(offset: int, count: int) -> bytes:
        data, begun, told = answered(library, hub, lambda: _range(library, hub, url, offset, count))
        if len(data) != count or begun not in ("", str(offset)) or told not in ("", "*", str(size)):
            came = f"{len(data)} of {told or 'unknown'} bytes from {begun or 'unknown'}"
            raise missing(MOVED, spell(hub), f"{came}, where {count} of {size} from {offset} were asked for")
        return data

    return path, size, str(found.etag), fetch


def _range(library: Any, hub: HubId, url: str, offset: int, count: int) -> tuple[bytes, str, str]:
    """`count` bytes of a file, and where the server says that they begin and how long the file is.

    Raises `Missing` for more than that, of which little is taken, and where they come too slowly.
    """
    utils = library.utils
    wanted = {"Range": f"bytes={offset}-{offset + count - 1}", "Accept-Encoding": "identity"}
    headers = {**utils.build_hf_headers(), **wanted}
    end = monotonic() + _PATIENCE + count / _SLOWEST
    with utils.get_session().stream("GET", url, headers=headers, timeout=_PATIENCE) as answer:
        utils.hf_raise_for_status(answer)
        if answer.status_code != 206:
            raise NoRangesError
        data = bytearray()
        for chunk in answer.iter_raw():
            data += chunk
            if len(data) > count:
                raise missing(UNAVAILABLE, spell(hub), f"more than the {count} bytes of a range")
            if monotonic() > end:
                took = _PATIENCE + count / _SLOWEST
                raise missing(UNAVAILABLE, spell(hub), f"{len(data)} of {count} bytes in {took:.0f} s")
        stated = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        begun, told = stated.groups() if stated else ("", "")
        return bytes(data), begun, told


def _config(library: Any, hub: HubId, commit: str, prefix: str) -> Path:
    """The config, a few kilobytes, from the hub's cache or fetched into it."""
    get = library.hf_hub_download
    return Path(answered(library, hub, lambda: get(hub.repo, prefix + CONFIG, revision=commit)))
