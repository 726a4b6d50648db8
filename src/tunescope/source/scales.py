"""A scale that the user gives beside those a file states: it fills what is unknown, else replaces all."""

from collections.abc import Sequence
from dataclasses import replace

from tunescope.delta import Delta
from tunescope.errors import Notice, TunescopeError
from tunescope.source.files.tensors import Ledger
from tunescope.source.weights import Format, Reading, Weights
from tunescope.words import counted


def scaled_as_asked(
    given: Sequence[Delta], stated: Sequence[Delta], scale: float
) -> tuple[list[Delta], list[Notice]]:
    """The updates with the scale that was asked for, and a notice where stated scales were replaced.

    `given` are a file's updates all with the scale `scale`, `stated` the same with what the file says. Where
    some modules state theirs and others do not, only the others get it.
    """
    unknown = [delta.scale is None for delta in stated]
    if any(unknown):
        return [a if new else b for a, b, new in zip(given, stated, unknown, strict=True)], []
    replaced = sum(delta.scale != scale for delta in stated)
    if not replaced:
        return list(given), []
    text = (
        f"--scale replaced the scale that the file states, in {replaced} of {counted(len(stated), 'module')}"
    )
    return list(given), [Notice("scale-replaced", text)]


def read_scaled(format: Format, weights: Weights, ledger: Ledger, scale: float | None) -> Reading:
    """What a format makes of the weights, a scale that was asked for going by `scaled_as_asked`."""
    reading = format.read(weights, ledger, scale)
    if scale is None:
        return reading
    try:
        stated = format.read(weights, Ledger(weights.tensors), None).deltas
    except TunescopeError:
        # What does not open without a scale states none.
        return reading
    deltas, notices = scaled_as_asked(reading.deltas, stated, scale)
    ledger.notices += notices
    return replace(reading, deltas=deltas)
