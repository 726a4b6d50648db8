"""Factors in the shape of a convolution's, of which PEFT loads none into a layer that is a matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tunescope.questions.check.place import Place
from tunescope.source.opened import Source


def as_kernels(found: Sequence[Place], source: Source) -> list[Place]:
    """The modules, of another shape where PEFT finds a kernel's factors for a layer that is a matrix."""
    shapes = {entry.tensor: entry.shape for entry in source.coverage} if source.format == "peft" else {}
    return [_unlike_kernel(place, shapes) for place in found]


def _unlike_kernel(place: Place, shapes: Mapping[str, Sequence[int]]) -> Place:
    delta, stored = place.wanted.delta, place.found
    kernels = [n for n in (delta.tensors if delta is not None else ()) if len(shapes.get(n, ())) > 2]
    # Factors of experts that one tensor holds have more than two sides of their own.
    if (
        place.status != "attached"
        or stored is None
        or len(stored) != 2
        or place.wanted.address.expert is not None
    ):
        return place
    if not kernels or "lora_" not in kernels[0]:
        return place
    remedy = f"reshape the factors to two sides: {kernels[0]!r} is a convolution's"
    return replace(place, status="shape_differs", remedy=remedy)
