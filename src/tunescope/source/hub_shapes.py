"""The shapes of a model on the hub, from ranges of its files: nothing but headers is fetched."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tunescope.source.files.container import TensorFile
from tunescope.source.files.ranged import RangedFile
from tunescope.source.hub import connected, names_of
from tunescope.source.hub_headers import NoRangesError, one_save, opened_by_ranges
from tunescope.source.locate import SHARD
from tunescope.source.spec import HubId

# Headers of a sharded model that are fetched side by side.
_AT_ONCE = 8


def header_shapes(hub: HubId) -> tuple[dict[str, tuple[int, ...]], int] | None:
    """Shapes of a model's tensors by name, from ranges of its headers, and how many bytes those were.

    `None` where the hub is switched off, where the server sends whole files, and where the weights are not
    safetensors in the folder that is meant. All are of one commit. Raises as `fetch` does, and `BadInput` for
    a header that is none.
    """
    library, offline = connected(hub)
    if offline:
        return None
    commit, names = names_of(library, hub)
    weights = _weights(names)
    prefix = f"{hub.folder}/" if hub.folder else ""

    def opened(name: str) -> TensorFile:
        return opened_by_ranges(library, hub, commit, prefix + name)

    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            files = list(pool.map(opened, weights))
    except NoRangesError:
        return None
    shapes = {name: tensor.shape for file in files for name, tensor in file.tensors.items()}
    fetched = (file.snapshot for file in files)
    return (shapes, sum(f.bytes_read for f in fetched if isinstance(f, RangedFile))) if files else None


def _weights(names: Sequence[str]) -> list[str]:
    """The model's one file of safetensors, or all its shards; nothing where neither is there, or both."""
    shards = [n for n in names if (shard := SHARD.match(n)) and shard["stem"] == "model"]
    found = [*(n for n in names if n == "model.safetensors"), *shards]
    return found if one_save(found) else []
