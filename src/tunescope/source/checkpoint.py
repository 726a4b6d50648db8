"""A base model's checkpoint: single or sharded safetensors, of which only the touched tensors are read."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from tunescope.address import Address, parse_all
from tunescope.delta import Delta
from tunescope.errors import BadInput, Notice, printable
from tunescope.paths import local_path
from tunescope.source.base_parts import fused_or_cut
from tunescope.source.dequantised import dequantised
from tunescope.source.files.container import TensorFile
from tunescope.source.files.tensors import LazyTensor, is_float, to_float32
from tunescope.source.formats.names import strip_wrappers
from tunescope.source.hub_bases import HubBase, hub_base
from tunescope.source.hub_models import fetch_model
from tunescope.source.matching import address_place, matched
from tunescope.source.model_files import open_model_files
from tunescope.source.quantised import codes_named, weight_name
from tunescope.source.spec import HubId, parse_hub_id
from tunescope.words import counted


@dataclass(frozen=True, eq=False)
class BaseCheckpoint:
    """The weights of a base model by address; nothing is read before it is asked for.

    `location` is where they lie, `spec` what was asked for: a path or a hub id.
    """

    location: str
    tensors: Mapping[Address, LazyTensor]
    files: tuple[TensorFile, ...]
    notices: tuple[Notice, ...] = ()
    spec: str = ""

    def fitted(self, deltas: Sequence[Delta]) -> "BaseCheckpoint":
        """The same base with its weights under the addresses of the deltas, whatever prefix one side has.

        A multimodal checkpoint keeps its language model under `language_model.`, of which an adapter of the
        language model alone knows nothing; `matching` says which weights are meant.
        """
        wanted = {d.address: address_place(d.address, (d.d_out, d.d_in)) for d in deltas}
        held = {a: address_place(a, _as_matrix(t.shape)) for a, t in self.tensors.items()}
        found = matched(wanted, held)
        missing = {d.address: (d.d_out, d.d_in) for d in deltas if d.address not in found}
        known = set(found.values())
        others = {a: t for a, t in self.tensors.items() if a not in known} | fused_or_cut(
            missing, self.tensors
        )
        return replace(self, tensors={a: self.tensors[theirs] for a, theirs in found.items()} | others)

    def weight(self, delta: Delta, transposed: bool = False) -> NDArray[np.float32] | str:
        """The weight that a delta changes, float32 `(d_out, d_in)`, or a text that says why there is none.

        `transposed` is for layers stored `(d_in, d_out)`, GPT-2's Conv1D. Raises `BadInput` where the
        shapes do not fit: the adapter belongs to another base.
        """
        tensor = self.tensors.get(delta.address)
        if tensor is None:
            return "not in the base"
        if not is_float(tensor):
            return tensor.lacking or f"the base holds it as {tensor.dtype}, quantised"
        flip = _flipped(delta, tensor, transposed)
        if flip is None:
            self._refuse([(delta, tensor)])
        weight = to_float32(tensor.read()).reshape(_as_matrix(tensor.shape))
        return np.ascontiguousarray(weight.T) if flip else weight

    def check(self, deltas: Sequence[Delta], transposed: bool = False) -> None:
        """Refuse a base that has none of the weights the deltas change, or has them in other shapes."""
        wanted = {delta.address: delta for delta in deltas}.values()
        having = [(delta, self.tensors[delta.address]) for delta in wanted if delta.address in self.tensors]
        floats = [(delta, tensor) for delta, tensor in having if is_float(tensor)]
        if unfit := [(d, tensor) for d, tensor in floats if _flipped(d, tensor, transposed) is None]:
            self._refuse(unfit)
        if having or not deltas:
            return
        theirs = ", ".join(printable(t.name) for t in list(self.tensors.values())[:3])
        ours = ", ".join(printable(d.tensors[0] if d.tensors else d.component_name) for d in deltas[:3])
        raise BadInput(
            "other-base",
            "the base has none of the weights that the adapter changes",
            file=self.location,
            expected=f"such as {ours}",
            found=f"such as {theirs}",
            fix="name the base it was trained on",
        )

    def _refuse(self, unfit: Sequence[tuple[Delta, LazyTensor]]) -> NoReturn:
        listed = unfit[:3]
        more = f" and {len(unfit) - 3} more" if len(unfit) > 3 else ""
        raise BadInput(
            "other-base",
            f"the adapter does not fit this base: {counted(len(unfit), 'shape differs', 'shapes differ')}",
            file=self.location,
            tensor=", ".join(printable(tensor.name) for _, tensor in listed) + more,
            expected=", ".join(f"{d.d_out}×{d.d_in} as {d.component_name} needs" for d, _ in listed),
            found=", ".join("×".join(map(str, tensor.shape)) for _, tensor in listed),
            fix="name the base it was trained on",
        )

    def verify_unchanged(self) -> None:
        """Refuse the result if a file changed while it was read."""
        for file in self.files:
            file.verify_unchanged()


def _flipped(delta: Delta, tensor: LazyTensor, transposed: bool) -> bool | None:
    """Whether the base holds the weight as `(d_in, d_out)`; `None` where its shape does not fit at all.

    An embedding is a table `(vocabulary, d)`, of which the layer applies the transpose. An adapter that
    says its layers are stored transposed may also change a plain linear one.
    """
    shape = _as_matrix(tensor.shape)
    upright, turned = shape == (delta.d_out, delta.d_in), shape == (delta.d_in, delta.d_out)
    if turned and (transposed or any("lora_embedding" in name for name in delta.tensors)):
        return True
    return False if upright else None


def _as_matrix(shape: Sequence[int]) -> tuple[int, ...]:
    """A convolution's kernel as `(d_out, d_in·k·k)`; every other shape as it is."""
    return (shape[0], int(np.prod(shape[1:]))) if len(shape) > 2 else tuple(shape)


def open_checkpoint(spec: str | os.PathLike[str]) -> BaseCheckpoint:
    """Open a base model: a safetensors file, a folder with one or with shards, or a hub id.

    Of a model on the hub only the weights that are asked for are fetched. Raises `Missing` for what is not
    there, and `BadInput` for what is broken or ambiguous.
    """
    base = named_base(spec)
    if base is None:
        path = local_model(spec)
        place, (opened, notices) = str(path), open_model_files(path)
    else:
        place, opened, notices = base.place, base.opened, []
    files = [file for _, file in opened]
    held: dict[str, LazyTensor] = {}
    for prefix, file in opened:
        for name, tensor in file.tensors.items():
            held.setdefault(prefix + strip_wrappers(name), tensor)
    readable = codes_named(dequantised(held, place))
    named = [(weight_name(name), t) for name, t in readable.items() if not name.endswith(".bias")]
    tensors: dict[Address, LazyTensor] = {}
    for address, (_, tensor) in zip(parse_all(name for name, _ in named), named, strict=True):
        tensors.setdefault(address, tensor)
    noticed = (*notices, *(n for f in files for n in f.notices))
    return BaseCheckpoint(place, tensors, tuple(files), noticed, os.fspath(spec))


def local_model(spec: str | os.PathLike[str]) -> Path:
    """Where a model lies on this disk, fetched first where it is named by its hub id."""
    hub = _hub_id(spec)
    return local_path(spec) if hub is None else fetch_model(hub)


def named_base(spec: str | os.PathLike[str]) -> HubBase | None:
    """A model that is named by its hub id and can be read there by ranges."""
    hub = _hub_id(spec)
    return None if hub is None else hub_base(hub)


def _hub_id(spec: str | os.PathLike[str]) -> HubId | None:
    return None if os.path.lexists(local_path(spec)) else parse_hub_id(os.fspath(spec))
