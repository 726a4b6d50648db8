"""Sources seen against a base model: whole checkpoints become differences, adapters keep it beside them."""

import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from tunescope.errors import encodable
from tunescope.source.as_loaded import as_loaded
from tunescope.source.base_shapes import BaseHeaders
from tunescope.source.files.container import Read
from tunescope.source.files.deepspeed import is_deepspeed, states_file
from tunescope.source.files.distributed import METADATA, is_distributed
from tunescope.source.files.ranged import RangedFile
from tunescope.source.files.suffixes import PICKLED, suffix_of
from tunescope.source.formats.registry import formats
from tunescope.source.hub_models import is_whole_on_hub
from tunescope.source.locate import CONFIG, adapter_names
from tunescope.source.model_files import by_names
from tunescope.source.open import open_sources, read_file
from tunescope.source.opened import Source
from tunescope.source.pairing import pair_models
from tunescope.source.spec import default_label, parse_hub_id, parse_spec
from tunescope.source.weight_folders import known_folder
from tunescope.source.weights import Weights
from tunescope.source.whole import WholeModel, open_base, open_whole
from tunescope.source.with_base import needs_base, with_base
from tunescope.source.wrapped import wrapped_adapter

FORMAT = "whole-model"
Opener = Callable[..., list[Source]]


def opener(base: WholeModel, align_vocab: bool = False, read: Read | None = None) -> Opener:
    """What opens a SOURCE where a base is given: whole models become differences from it.

    `read` opens files, each once where it remembers them.
    """
    open_once = read or cache(read_file)

    loaded = cache(lambda: _loaded(base))

    def open_against(spec: Any, **given: Any) -> list[Source]:
        if not is_whole(spec, open_once):
            ours = loaded()
            beside, headers = _base_source(ours, ()), partial(_headers, ours)
            opened = open_sources(spec, base=headers, **given)
            return [with_base(source, ours, beside, align_vocab) for source in opened]
        said, place = parse_spec(spec) if isinstance(spec, str) else (None, os.fspath(spec))
        return [open_difference(place, base, said or default_label(place), align_vocab, open_once)]

    return open_against


def difference_opener(base: str | os.PathLike[str]) -> Opener:
    """What opens adapters as they are, and those as differences from the base that are nothing without it.

    The base is read only for whole models, and for methods of which W is a part of ΔW (DoRA, OFT, …).
    """
    held = cache(lambda: open_whole(base))
    loaded = cache(lambda: _loaded(held()))
    headers = cache(lambda: _headers(_loaded(open_base(base))))
    open_once = cache(read_file)

    def open_beside(spec: Any, **given: Any) -> list[Source]:
        if not is_whole(spec, open_once):
            opened = open_sources(spec, base=headers, **given)
            beside = _base_source(loaded(), ()) if any(map(needs_base, opened)) else None
            return [
                s if beside is None or not needs_base(s) else with_base(s, loaded(), beside) for s in opened
            ]
        said, place = parse_spec(spec) if isinstance(spec, str) else (None, os.fspath(spec))
        return [open_difference(place, held(), said or default_label(place), read=open_once)]

    return open_beside


def _loaded(base: WholeModel) -> WholeModel:
    """The base as its loader has it, whose names are those that adapters use."""
    return as_loaded(base, base.config)[0]


def _headers(base: WholeModel) -> BaseHeaders:
    return BaseHeaders({name: tensor.shape for name, tensor in base.tensors.items()}, base.config)


def open_difference(
    spec: str | os.PathLike[str],
    base: WholeModel,
    label: str,
    align_vocab: bool = False,
    read: Read = read_file,
) -> Source:
    """A whole model as its difference from a base: one delta for every weight that both have."""
    tuned = open_whole(spec, read)
    found = pair_models(base, tuned, align_vocab=align_vocab)

    def verify() -> None:
        base.verify_unchanged()
        tuned.verify_unchanged()

    return Source(
        label=label,
        location=encodable(os.fspath(spec)),
        format=FORMAT,
        deltas=found.deltas,
        incomparable=found.incomparable,
        coverage=found.coverage,
        notices=(*tuned.notices, *found.notices),
        config={**tuned.config, "base_model_name_or_path": base.location},
        files=tuple(path for file in tuned.files for path in file.paths),
        verify_unchanged=verify,
        base=_base_source(base, found.base_coverage),
    )


def _base_source(base: WholeModel, coverage: tuple[Any, ...]) -> Source:
    return Source(
        label="base",
        location=base.location,
        format=FORMAT,
        deltas=(),
        coverage=coverage,
        notices=base.notices,
        config=base.config,
        files=tuple(
            path for file in base.files if not isinstance(file.snapshot, RangedFile) for path in file.paths
        ),
        ranged=tuple(file.snapshot for file in base.files if isinstance(file.snapshot, RangedFile)),
        verify_unchanged=base.verify_unchanged,
    )


def is_whole(spec: Any, read: Read = read_file) -> bool:
    """Whether a SOURCE is a whole model rather than an adapter, by its files' names or its tensors'.

    What must be looked into for it is opened by `read`.
    """
    if not isinstance(spec, str | os.PathLike):
        return False
    text = parse_spec(spec)[1] if isinstance(spec, str) else os.fspath(spec)
    path = Path(text).expanduser()
    hub = None if os.path.lexists(path) else parse_hub_id(text)
    if hub is not None:
        return is_whole_on_hub(hub)
    path = known_folder(path) or path
    names = [entry.name for entry in path.iterdir()] if path.is_dir() else []
    if path.is_dir() and is_deepspeed(names):
        path = states_file(path, names)
    if path.is_dir() and (by_names(names) or not is_distributed(names)):
        return by_names(names) and not wrapped_adapter(path, names, read)
    if path.is_dir():
        path /= METADATA
    elif not path.is_file() or suffix_of(path) not in (".safetensors", *PICKLED):
        return False
    if (path.parent / CONFIG).is_file() and path.name in adapter_names([path.name]):
        return False
    file = read(path)
    weights = Weights(str(path), file.tensors, file.metadata, (file,), listed=file.listed)
    return not any(format.recognises(weights) for format in formats())
