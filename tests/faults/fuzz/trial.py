"""One trial: a damaged input, read, and judged; what fails is made as small as it goes."""

import contextlib
import random
import shutil
import signal
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunescope.errors import BadInput, TunescopeError

from .kinds import KINDS
from .mutations import Change, draw
from .odd import widened

# Of a processor, which a busy machine does not lengthen, and by the clock for what waits.
_COMPUTING, _WAITING = 30, 600
_SAID = ("slug", "file", "expected")


class TooLongError(BaseException):
    """The input was still being read after the time that any small file may take."""


@dataclass(frozen=True)
class Finding:
    """A damaged input that had no answer: its kind, its changes, and what was raised."""

    kind: str
    changes: tuple[Change, ...]
    raised: str
    where: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.raised}\n    at {self.where}\n    {list(self.changes)!r}"


class Bench:
    """A sound input of one kind in a folder, to be damaged and read again and again."""

    # Where to write what is tried, for the case that it ends the process.
    attempts: Path | None = None

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.kind, self._folder = name, KINDS[name], folder / name
        self._folder.mkdir(parents=True)
        with warnings.catch_warnings():
            # Of the libraries that make it.
            warnings.simplefilter("ignore")
            self._victim = self.kind.make(self._folder)
        self._sound = self._victim.read_bytes()
        self._ways = widened(self.kind.ways)

    def read(self) -> None:
        """Read the sound input as users do, whatever the libraries warn of."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.kind.use(self._victim)

    def damaged(self, changes: Sequence[Change]) -> bytes:
        """The sound bytes with the changes made one after the other."""
        data = self._sound
        for change in changes:
            data = self._ways[change.how](data, change)
        return data

    def answer(self, changes: Sequence[Change]) -> Finding | None:
        """None where the input is read or refused as it should be, else what went wrong."""
        self._victim.write_bytes(self.damaged(changes))
        if self.attempts is not None:
            self.attempts.write_text(f"{self.name}: {list(changes)!r}")
        try:
            with _alarm(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.kind.use(self._victim)
        except TunescopeError as error:
            fault = _fault(error, self.kind.named)
            return None if fault is None else self._finding(changes, error, fault)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            return self._finding(changes, error, f"{type(error).__name__}: {error}"[:200])
        return None

    def _finding(self, changes: Sequence[Change], error: BaseException, raised: str) -> Finding:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "tunescope" in f.filename]
        where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        return Finding(self.name, tuple(changes), raised, where)

    def shrunk(self, finding: Finding) -> Finding:
        """The same finding from as few changes as will do."""
        changes = list(finding.changes)
        for change in list(changes):
            fewer = [c for c in changes if c is not change]
            found = self.answer(fewer) if fewer else None
            if found is not None and found.where == finding.where:
                changes, finding = fewer, found
        return finding

    def try_some(self, dice: random.Random, count: int) -> Iterator[Finding]:
        """Findings among `count` damaged inputs."""
        for _ in range(count):
            changes = draw(dice, list(self._ways))
            if (found := self.answer(changes)) is not None:
                yield self.shrunk(found)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _fault(error: TunescopeError, named: bool) -> str | None:
    """What an error of ours lacks: exit 3 names slug, file and what was expected."""
    if error.exit_code not in (2, 3, 4, 5):
        return f"exit {error.exit_code}: {error.slug}"
    if isinstance(error, BadInput):
        lacking = [name for name in _SAID if (named or name != "file") and not getattr(error, name)]
        return f"{error.slug} without {', '.join(lacking)}" if lacking else None
    return None


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooLongError(f"still reading after {_COMPUTING} s of computing, or {_WAITING} s in all")

    timers = {
        signal.SIGPROF: (signal.ITIMER_PROF, _COMPUTING), signal.SIGALRM: (signal.ITIMER_REAL, _WAITING)
    }  # fmt: skip
    before = {sign: signal.signal(sign, stop) for sign in timers}
    for timer, seconds in timers.values():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for sign, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(sign, before[sign])
