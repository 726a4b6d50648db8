"""Every error that tunescope raises on purpose.

```
TunescopeError            exit 70  a bug of ours, when nothing more precise applies
├── UsageError            exit 2   arguments that cannot work
├── BadInput              exit 3   a file or model whose content is wrong
├── Missing               exit 4   not there, not readable, offline, denied
└── Exhausted             exit 5   memory, disk or a device ran out
```

An error carries a `slug` that `docs/errors.md` explains, and says in which file and tensor what was
expected, what was found and what to do.
"""

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Environment variables whose values nobody may read in a terminal or a log.
_SECRET = re.compile(r"TOKEN$|PASSWORD|SECRET|API_KEY")
_HUB_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")
_USER = re.compile(r"(https?://)[^\s/@'\"]+@")
# Without the signs that messages put around names, so that one name is always cut to one text.
_LONG_WORD = re.compile(r"[^\s'\"()=,:;]{201,}")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Each library that writes a part of a checkpoint words this in its own exception; torch's archive writer
# does not pass the reason on at all.
_FULL_WORDS = re.compile(
    r"No space left|Disk quota exceeded|File too large|os error (28|122|27)\b|iostream error|"
    r"inline_container\.cc\S* \. (unexpected pos|.*file write failed)"
)
_QUERY = re.compile(r"(https?://[^\s?'\"<>]+\?)[^\s'\"<>]+")


class TunescopeError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line returns."""

    exit_code = 70

    def __init__(
        self,
        slug: str,
        what: str,
        *,
        file: str | Path | None = None,
        tensor: str | None = None,
        expected: object = None,
        found: object = None,
        fix: str | None = None,
    ) -> None:
        self.slug, self.what, self.fix = slug, what, fix
        self.file = None if file is None else str(file)
        self.tensor, self.expected, self.found = tensor, expected, found
        super().__init__(self._text())

    def _text(self) -> str:
        rows = [
            ("file", self.file),
            ("tensor", None if self.tensor is None else printable(self.tensor)),
            ("expected", None if self.expected is None else brief(str(self.expected))),
            ("found", None if self.found is None else brief(str(self.found))),
            ("fix", self.fix),
        ]
        lines = [f"{brief(self.what)} [{self.slug}]"]
        # A path and a command are only of use whole.
        lines += [f"  {key}: {printable(value, 2000)}" for key, value in rows if value is not None]
        return "\n".join(lines)


class UsageError(TunescopeError):
    """Arguments that cannot work."""

    exit_code = 2


class BadInput(TunescopeError):
    """A file, folder or model whose content is wrong."""

    exit_code = 3


class Missing(TunescopeError):
    """Something that is not there, may not be read, or cannot be reached."""

    exit_code = 4


class Exhausted(TunescopeError):
    """Memory, disk or a device ran out."""

    exit_code = 5


def disk_is_full(problem: BaseException) -> bool:
    """Whether an exception, or one that it came from, says that the disk took no more.

    >>> disk_is_full(OSError(errno.ENOSPC, "No space left on device")), disk_is_full(OSError("else"))
    (True, False)
    """
    seen: BaseException | None = problem
    while seen is not None:
        if (isinstance(seen, OSError) and seen.errno in _FULL) or _FULL_WORDS.search(str(seen)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def unwritten(file: str | Path, error: OSError) -> Exhausted:
    """The error of a file that could not be written, with what to do.

    >>> print(unwritten("study/readout.md", OSError(28, "No space left on device")))
    writing failed [cannot-write]
      file: study/readout.md
      found: [Errno 28] No space left on device
      fix: make room on that disk, or choose another output, and run the same command again
    """
    full = disk_is_full(error)
    first = "make room on that disk" if full else "see what the disk or mount reports"
    return Exhausted(
        "cannot-write", "writing failed", file=file, found=error,
        fix=f"{first}, or choose another output, and run the same command again",
    )  # fmt: skip


@contextmanager
def concerning(file: str | Path | None) -> Iterator[None]:
    """Name `file` in the errors of this block that name none: the place where a value came from.

    >>> with concerning("rows.jsonl"):
    ...     raise BadInput("token-range", "a token is unknown", expected="0 to 9", found=12)
    Traceback (most recent call last):
    tunescope.errors.BadInput: a token is unknown [token-range]
      file: rows.jsonl
      expected: 0 to 9
      found: 12
    """
    try:
        yield
    except TunescopeError as error:
        if error.file is None and file is not None:
            error.file = str(file)
            error.args = (error._text(),)
        raise


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning about an input that was used all the same: `slug`, sentence, and the tensor meant."""

    slug: str
    text: str
    tensor: str | None = None

    def __str__(self) -> str:
        return brief(self.text) + f" [{self.slug}]"


def encodable(text: str) -> str:
    """The text with the bytes of a name that are no UTF-8 spelled, as no table, file or terminal takes them.

    >>> encodable("m" + chr(0xDC80)) == "m" + chr(92) + "udc80", encodable("é")
    (True, 'é')
    """
    return text.encode("utf-8", "backslashreplace").decode()


def printable(text: str, limit: int = 200) -> str:
    """The text with control, bidirectional and other unprintable characters escaped, cut to `limit`.

    What is cut is the middle; a hash in its place keeps two different texts apart.

    >>> printable("a\\x1b[31m\\u202eb"), printable("a" * 99 + "b", 20)
    ('a\\\\x1b[31m\\\\u202eb', 'aaaaa…ec1a833c…aaaab')
    """
    safe = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
    if len(safe) <= limit:
        return safe
    mark = f"…{hashlib.sha256(safe.encode()).hexdigest()[:8]}…"
    kept = max(limit - len(mark), 2)
    return f"{safe[: kept - kept // 2]}{mark}{safe[-(kept // 2) :]}"


def brief(text: str, limit: int = 2000) -> str:
    """A message as `printable`, in which every word is, too: no name of 10 kB buries what is said of it.

    >>> len(brief("the label " + "a" * 10_000 + " is taken")), brief("a short one")
    (219, 'a short one')
    """
    return printable(_LONG_WORD.sub(lambda word: printable(word[0]), text), limit)


def raised_by(error: BaseException, *libraries: str) -> bool:
    """Whether an error comes out of one of these libraries, not out of what called them or what they called.

    What they raise over hostile input is told so from a bug of ours, which is raised as the same kinds.
    """
    within = False
    trace = error.__traceback__
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        # What is of neither, such as `json`, was called by whoever stands above it.
        within = name in libraries or (within and name != "tunescope" and "tests" not in name)
        trace = trace.tb_next
    return within


def without_secrets(text: str) -> str:
    """The text without tokens: of the environment, of the hub's form, in front of hosts and in queries.

    >>> without_secrets("GET https://me:word@host/file?token=x failed")
    'GET https://…@host/file?… failed'
    """
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) > 5:
            text = text.replace(value, "…")
    for pattern, mark in ((_HUB_TOKEN, "…"), (_USER, r"\1…@"), (_QUERY, r"\1…")):
        text = pattern.sub(mark, text)
    return text
