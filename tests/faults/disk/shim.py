"""The disk as `tunescope.writing` sees it, with one fault at the Nth write, rename or fsync."""

import errno
import io
import os
import signal
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import tunescope.writing as writing

CODES = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EINTR": errno.EINTR}
SIGNALS = {"SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL}
FAULTS = (*CODES, *SIGNALS)


class Shim:
    """Counts the points where something is written, renamed or brought to the disk; strikes at one of them.

    A disk that is full stays full: after `ENOSPC` no later write succeeds either. `at` zero never strikes.
    """

    def __init__(self, fault: str, at: int) -> None:
        self.fault, self.at, self.count = fault, at, 0

    def install(self) -> None:
        """Put this process's writing behind the shim, for good."""
        # A shell has what it runs in the background ignore the keyboard.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.fsync = self._around(os.fsync)
        os.rename, os.replace = self._around(os.rename), self._around(os.replace)
        writing._swapped = self._around(writing._swapped)
        shim = self

        class Faulty(io.FileIO):
            def write(self, data: Any) -> int:
                if shim.strikes(full=True):
                    # A full disk takes what still fits.
                    if shim.fault == "ENOSPC" and len(data) > 1:
                        super().write(bytes(data)[: len(data) // 2])
                    shim.strike()
                return super().write(data)

        writing.io = SimpleNamespace(FileIO=Faulty, BufferedWriter=io.BufferedWriter)  # type: ignore[assignment]

    def strikes(self, full: bool = False) -> bool:
        """Whether this point is the one, or the disk has been full since."""
        self.count += 1
        return self.count == self.at or (full and self.fault == "ENOSPC" and 0 < self.at < self.count)

    def strike(self) -> None:
        """Raise the error, or send the signal."""
        if self.fault in CODES:
            raise OSError(CODES[self.fault], os.strerror(CODES[self.fault]))
        os.kill(os.getpid(), SIGNALS[self.fault])

    def _around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            if self.strikes():
                self.strike()
            return call(*arguments, **named)

        return called
