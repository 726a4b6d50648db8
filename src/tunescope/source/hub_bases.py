"""A base model on the hub beside an adapter: headers, and of the weights only what is asked for."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

from tunescope.reader import current
from tunescope.source.files.container import TensorFile, read_safetensors, safetensors_of
from tunescope.source.files.spooled import SpooledFile
from tunescope.source.hub import answered, names_of, place_of
from tunescope.source.hub_headers import by_ranges, fetching, one_save
from tunescope.source.hub_models import wanted_files
from tunescope.source.spec import HubId

# Files whose headers are read at once.
_AT_ONCE = 8


@dataclass(frozen=True, eq=False)
class HubBase:
    """Where a model lies on the hub, its files with their prefixes, and the local folder of its config."""

    place: str
    opened: list[tuple[str, TensorFile]]
    folder: Path | None


def hub_base(hub: HubId) -> HubBase | None:
    """A model of which only what is asked for is fetched, each byte once; what the cache holds is read there.

    `None` where ranges do not help: offline, weights other than safetensors or not of one save, hashes that
    are to be compared, a server without ranges. Raises as `hub.fetch`.
    """
    return None if current().check_hashes else by_ranges(hub, _opened)


def _opened(library: Any, hub: HubId) -> HubBase | None:
    commit, names = names_of(library, hub)
    wanted = wanted_files(names)
    weights = [n for n in wanted if not n.endswith(".json")]
    folders = {folder: list(files) for folder, files in groupby(weights, lambda n: n.rpartition("/")[0])}
    if not folders or not all(one_save([n.rpartition("/")[2] for n in files]) for files in folders.values()):
        return None
    above = f"{hub.folder}/" if hub.folder else ""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        files = list(pool.map(lambda name: _file(library, hub, commit, above + name), weights))
    prefixes = [f"{folder}." if folder else "" for folder in (n.rpartition("/")[0] for n in weights)]
    return HubBase(
        place_of(hub, commit), list(zip(prefixes, files, strict=True)), _config(library, hub, commit, names)
    )


def _file(library: Any, hub: HubId, commit: str, name: str) -> TensorFile:
    held = library.try_to_load_from_cache(hub.repo, name, revision=commit)
    if isinstance(held, str):
        return read_safetensors(held)
    spooled = SpooledFile(*fetching(library, hub, commit, name))
    file = safetensors_of(spooled)
    # Tensors come in the order of their bytes, without holes.
    sizes = [tensor.nbytes for tensor in file.tensors.values()]
    spooled.edges = tuple(accumulate(sizes, initial=spooled.size - sum(sizes)))
    return file


def _config(library: Any, hub: HubId, commit: str, names: Sequence[str]) -> Path | None:
    if "config.json" not in names:
        return None
    path = f"{hub.folder}/config.json" if hub.folder else "config.json"
    get = library.hf_hub_download
    return Path(answered(library, hub, lambda: get(hub.repo, path, revision=commit))).parent
