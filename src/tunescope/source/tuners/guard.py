"""What opening a delta may run into when tensors of one module do not belong together."""

from dataclasses import replace
from functools import partial

from tunescope.delta import Delta, Factored, Update
from tunescope.errors import BadInput


def guarded(delta: Delta, file: str, checked: bool = False) -> Delta:
    """The same delta, whose `open` refuses tensors that do not make up a matrix of its shape.

    Of a tuner that has not `checked` the shapes itself, an `IndexError` or `ValueError` says so too.
    """
    return replace(delta, open=partial(_opened, delta, file, checked))


def _opened(delta: Delta, file: str, checked: bool) -> Update:
    expected = f"tensors that make up ({delta.d_out}, {delta.d_in})"
    try:
        update = delta.open()
    except (IndexError, ValueError) as error:
        if checked:
            raise
        raise _refusal(delta, file, expected, error) from error
    if isinstance(update, Factored):
        shape = (update.B.shape[0], update.A.shape[-1])
        fits = update.B.ndim == update.A.ndim == 2 and update.B.shape[1] == update.A.shape[0]
    else:
        shape, fits = update.matrix.shape, True
    if not fits or shape != (delta.d_out, delta.d_in):
        raise _refusal(delta, file, expected, shape)
    return update


def _refusal(delta: Delta, file: str, expected: str, found: object) -> BadInput:
    return BadInput(
        "factor-shapes",
        f"the adapter tensors of {delta.address.module_type} do not fit together",
        file=file,
        tensor=delta.tensors[0],
        expected=expected,
        found=found,
        fix="are they from two adapters, or is this another adapter's config?",
    )
