"""Any SOURCE → `Source`: its updates, and a ledger of every tensor that it holds."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tunescope.address import component_names, distinct_addresses
from tunescope.delta import Delta, Pending
from tunescope.errors import UsageError, concerning, encodable
from tunescope.hashes import unstated
from tunescope.paths import is_folder, local_path
from tunescope.reader import current
from tunescope.source.base_shapes import NamedBase
from tunescope.source.beside_parts import parts_once
from tunescope.source.files.container import TensorFile, read_safetensors
from tunescope.source.files.distributed import METADATA, read_model
from tunescope.source.files.parallel import refuse_one_part
from tunescope.source.files.suffixes import PICKLED, suffix_of
from tunescope.source.files.tensors import Ledger
from tunescope.source.formats.leftovers import notice_leftovers
from tunescope.source.formats.registry import formats
from tunescope.source.formats.unread import (
    check_not_empty,
    check_understood,
    refuse_keys,
    refuse_pending,
    refuse_weights_of_mlx,
)
from tunescope.source.locate import SHARD, Located, locate
from tunescope.source.opened import Source
from tunescope.source.run_folders import run_adapters, run_labels
from tunescope.source.scales import read_scaled
from tunescope.source.spec import HubId, default_label, parse_hub_id, parse_spec
from tunescope.source.twice import each_once
from tunescope.source.weight_folders import known_folder
from tunescope.source.weights import Weights
from tunescope.source.wrapped import leave_model

_TABLES = (".csv", ".parquet")


def open_source(
    spec: str | os.PathLike[str] | Mapping[str, Any] | Any,
    *,
    label: str | None = None,
    scale: float | None = None,
    config: Mapping[str, Any] | None = None,
    follow_symlinks: bool = False,
) -> Source:
    """Open one adapter: a folder, a file, an id on the hub, a live `PeftModel` or a state dict.

    `spec` may start with `LABEL=`. `scale` stands in for (and overrides) what the adapter says;
    `config` goes with a state dict. No weights are read yet. Raises `Missing` for what is not there,
    `BadInput` for what cannot be understood, `UsageError` for a table that holds several models.
    """
    opened = open_sources(spec, label=label, scale=scale, config=config, follow_symlinks=follow_symlinks)
    if len(opened) != 1:
        found = ", ".join(source.label for source in opened)
        raise UsageError(
            "several-models",
            "the source holds several models",
            file=opened[0].location,
            expected="one model",
            found=found,
            fix="open it with open_sources",
        )
    return opened[0]


def open_sources(
    spec: str | os.PathLike[str] | Mapping[str, Any] | Any,
    *,
    label: str | None = None,
    scale: float | None = None,
    config: Mapping[str, Any] | None = None,
    follow_symlinks: bool = False,
    base: NamedBase | None = None,
    pending: bool = False,
) -> list[Source]:
    """As `open_source`, with one `Source` for every model of a published table.

    `base` gives the headers of a base that was named, for what the adapter's file leaves open. Without one a
    file of which every update needs it is refused, unless `pending`.
    """
    opened = _opened(spec, label, scale, config, follow_symlinks, base)
    if base is None and not pending:
        for source in opened:
            refuse_pending(source)
    return opened


def _opened(
    spec: Any,
    label: str | None,
    scale: float | None,
    config: Mapping[str, Any] | None,
    follow_symlinks: bool,
    base: NamedBase | None,
) -> list[Source]:
    if isinstance(spec, str):
        said, spec = parse_spec(spec)
        label = label or said
    if not isinstance(spec, str | os.PathLike):
        # Deferred: most sources are files.
        from tunescope.source.live import live_weights

        weights = live_weights(spec, config)
        return [_source(replace(weights, base=base), label or "model", scale)]
    text = os.fspath(spec)
    if text.lower().endswith(_TABLES) or suffix_of(Path(text)) in _TABLES:
        # Deferred: reading tables pulls in polars.
        from tunescope.source.formats.published import read_published

        return read_published(Path(text), label)
    folder, place, name = _fetch(text)
    if adapters := run_adapters(folder):
        labels = run_labels(adapters, name, label)
        places = [(locate(path, follow_symlinks=follow_symlinks), str(path)) for path in adapters]
        return [_located(*where, own, scale, base) for where, own in zip(places, labels, strict=True)]
    if (inner := known_folder(folder)) is not None:
        folder, place = inner, str(inner)
    located = locate(folder, follow_symlinks=follow_symlinks)
    return [_located(located, place, label or name, scale, base)]


def _located(located: Located, place: str, label: str, scale: float | None, base: NamedBase | None) -> Source:
    weights = replace(load(located, place), base=base)
    return replace(_source(weights, label, scale), location=encodable(place))


def _fetch(text: str) -> tuple[Path, str, str]:
    """Local path, place to name in messages, and default label of a path or hub id."""
    if (hub := _hub_id(text)) is None:
        path = local_path(text)
        return path, str(path), default_label(str(path))
    # Deferred: an extra.
    from tunescope.source.hub import fetch

    folder, place = fetch(hub)
    return folder, place, (hub.folder or hub.repo).rsplit("/", 1)[-1]


def local_source(text: str) -> Path:
    """Where a path or hub id lies on this disk, fetched first where it is not here."""
    return _fetch(text)[0]


def _hub_id(text: str) -> HubId | None:
    """The hub id that a text means, `None` where it means something on this disk."""
    path = local_path(text)
    if os.path.lexists(path):
        return None
    # runs/checkpoint-5 could be an id, but not where there is a folder called runs.
    local = len(path.parts) > 1 and is_folder(Path(path.parts[0]))
    return None if local else parse_hub_id(text)


def open_headers(
    spec: str | os.PathLike[str] | Mapping[str, Any] | Any,
    *,
    label: str | None = None,
    scale: float | None = None,
    base: NamedBase | None = None,
) -> list[Source]:
    """As `open_sources` for those who read no values: of an adapter on the hub ranges of its headers alone.

    Files that ranges do not help with (pickles, a server that sends whole files) are fetched as they are.
    """
    said, text = parse_spec(spec) if isinstance(spec, str) else (None, "")
    hub = _hub_id(text) if text and not current().check_hashes else None
    if hub is not None:
        # Deferred: an extra.
        from tunescope.source.hub_headers import hub_headers

        if (weights := hub_headers(hub)) is not None:
            own = label or said or (hub.folder or hub.repo).rsplit("/", 1)[-1]
            return [_source(replace(weights, base=base), own, scale)]
    return open_sources(spec, label=label, scale=scale, base=base, pending=True)


def load(located: Located, place: str) -> Weights:
    """The tensors of located files as one mapping, none of them read yet."""

    def read(path: Path) -> TensorFile:
        return located.held.get(path) or read_file(path, located.follow_symlinks)

    if located.index is not None or SHARD.match(located.files[0].name):
        # Deferred: sharded adapters are rare.
        from tunescope.source.files.sharded import read_shards

        files, notices = read_shards(located, read)
    else:
        files, notices = [read(located.files[0])], []
    return Weights(
        place=place if len(files) != 1 else str(files[0].path),
        tensors={name: tensor for file in files for name, tensor in file.tensors.items()},
        metadata={key: text for file in files for key, text in file.metadata.items()},
        files=tuple(files),
        notices=(
            *located.notices,
            *notices,
            *(n for file in files for n in file.notices),
            *unstated(file.path for file in files),
        ),
        config_file=located.config,
        listed=any(file.listed for file in files),
    )


def read_file(path: Path, follow_symlinks: bool = False) -> TensorFile:
    """Open one file of tensors by its suffix; of a distributed checkpoint, the files beside its index."""
    if path.name == METADATA:
        return read_model(path.parent, follow_symlinks)
    refuse_one_part(path)
    suffix = suffix_of(path)
    if suffix == ".npz":
        # Deferred, as the next: rare formats.
        from tunescope.source.files.npz import read_npz

        return read_npz(path)
    if suffix == ".gguf":
        from tunescope.source.files.gguf import read_gguf

        return read_gguf(path)
    if suffix in PICKLED:
        from tunescope.source.files.pickled import read_pickled

        return read_pickled(path)
    return read_safetensors(path)


def _source(weights: Weights, label: str, scale: float | None) -> Source:
    check_not_empty(weights)
    ledger = Ledger(weights.tensors, list(weights.notices))
    chosen = next((f for f in formats() if f.recognises(weights)), None)
    if chosen is None:
        refuse_weights_of_mlx(weights)
        refuse_keys(list(weights.tensors), weights.place)
    with concerning(weights.place):
        reading = read_scaled(chosen, weights, ledger, scale)
    if not reading.deltas and not reading.pending:
        check_understood(weights, ledger)
    leave_model(ledger)
    notice_leftovers(ledger)
    once = parts_once(each_once(reading.deltas, weights.tensors, ledger, weights.place), ledger)
    deltas, pending = _named(once, reading.pending)
    return Source(
        label=label,
        location=encodable(weights.place),
        format=chosen.name,
        deltas=deltas,
        pending=pending,
        coverage=ledger.close(),
        notices=tuple(ledger.notices),
        config=reading.config,
        files=weights.paths,
        ranged=weights.ranged,
        verify_unchanged=partial(_verify, weights.files),
        tensors=weights.tensors,
    )


def _verify(files: tuple[TensorFile, ...]) -> None:
    for file in files:
        file.verify_unchanged()


def _named(
    deltas: Sequence[Delta], pending: Sequence[Pending]
) -> tuple[tuple[Delta, ...], tuple[Pending, ...]]:
    """The updates of one file under addresses of their own, those that wait for the base among them."""
    every = [*(delta.address for delta in deltas), *(one.address for one in pending)]
    addresses = distinct_addresses(every)
    own, waiting = addresses[: len(deltas)], addresses[len(deltas) :]
    named = zip(deltas, own, component_names(own), strict=True)
    return (
        tuple(replace(delta, address=address, component_name=name) for delta, address, name in named),
        tuple(replace(one, address=address) for one, address in zip(pending, waiting, strict=True)),
    )
