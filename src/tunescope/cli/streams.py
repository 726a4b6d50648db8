"""Standard output and error that take any text, and that say when they cannot be written to."""

import codecs
import io
import os
import sys
from typing import Any, cast

from tunescope.errors import Exhausted

# What is lost on a terminal or in a file whose encoding lacks a character is spelled instead.
_SPELLED = {
    "‖": "||", "Δ": "d", "×": "x", "·": "*", "→": "->", "←": "<-", "…": "...", "—": "-", "–": "-", "−": "-",
    "≤": "<=", "≥": ">=", "≈": "~", "σ": "sigma", "φ": "phi", "Σ": "sum", "√": "sqrt ", "α": "alpha",
    "²": "^2", "₁": "_1", "₂": "_2", "±": "+-", "½": "1/2", "°": " deg", "∞": "inf", "▁": "_",
}  # fmt: skip


def prepare_streams(arguments: list[str]) -> None:
    """Make stdout and stderr ready for texts in any script, and reserve the places of closed ones.

    A character that the encoding lacks is spelled (`ΔW` as `dW`), in JSON and where there is no spelling
    escaped (`\\u0394`). Where stdout cannot be written, `Exhausted` says so.
    """
    stdout = _reserve_closed()
    codecs.register_error("tunescope", _escaped if "--json" in arguments else _spelled)
    if sys.stdout is stdout and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = _Output(sys.stdout)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="tunescope")


class _Output(io.TextIOWrapper):
    """Standard output whose failures are errors of ours; a reader that left stays a `BrokenPipeError`."""

    def __init__(self, plain: io.TextIOWrapper) -> None:
        encoding, buffered = plain.encoding, plain.line_buffering
        super().__init__(cast(Any, plain.detach()), encoding, line_buffering=buffered)

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._refusal(error) from error

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: OSError) -> Exhausted:
        # What is still buffered would fail again when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return Exhausted(
            "cannot-write",
            "standard output cannot be written",
            found=error.strerror,
            fix="send the output to a file with room, or write a study with -o",
        )


def _reserve_closed() -> Any:
    """The stream that is stdout; what was closed is opened on nothing, lest the next file become stdout."""
    for descriptor, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            # stdout is not writeable then: who closed it must not be told that all was printed.
            os.open(os.devnull, flags)
    closed = sys.stdout is None
    if closed:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    return sys.stdout if closed else sys.__stdout__


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """JSON's own escapes, as pairs of surrogates where one does not suffice."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = (units[i : i + 2].hex() for i in range(0, len(units), 2))
    return "".join(f"\\u{pair}" for pair in pairs), error.end


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_SPELLED.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text), error.end
