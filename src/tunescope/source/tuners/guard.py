"""What opening a delta may run into when tensors of one module do not belong together."""

from dataclasses import replace
from functools import partial

from tunescope.delta import Delta, Factored, Update
from tunescope.errors import BadInput


def guarded(delta: Delta, file: str) -> Delta:
    """The same delta, whose `open` refuses tensors that do not make up a matrix of its shape."""
    return replace(delta, open=partial(_opened, delta, file))


def _opened(delta: Delta, file: str) -> Update:
    update = delta.open()
    if isinstance(update, Factored):
        shape = (update.B.shape[0], update.A.shape[-1])
        fits = update.B.ndim == update.A.ndim == 2 and update.B.shape[1] == update.A.shape[0]
    else:
        shape, fits = update.matrix.shape, True
    if not fits or shape != (delta.d_out, delta.d_in):
        raise _refusal(delta, file, shape)
    return update


def _refusal(delta: Delta, file: str, found: object) -> BadInput:
    return BadInput(
        "factor-shapes",
        f"the adapter tensors of {delta.address.module_type} do not fit together",
        file=file,
        tensor=delta.tensors[0],
        expected=f"tensors that make up ({delta.d_out}, {delta.d_in})",
        found=found,
        fix="are they from two adapters, or is this another adapter's config?",
    )
