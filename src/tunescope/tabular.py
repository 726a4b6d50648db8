"""Tables on disk through polars, whose errors and native panics are named in this one place."""

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from tunescope.errors import BadInput, Missing, encodable
from tunescope.hashes import check

# A panic of the native reader; not an `Exception`, so that nothing but its reader takes it for granted.
_PANIC = pl.exceptions.PanicException
_ENDS = b"PAR1"
# A damaged page can ask the native reader for memory that nobody has, and then it ends the whole process.
# Few bytes can state rows without end, so it may have as much as a table of its file's size can need.
_READ_ALL = """
import os, sys, polars
try:
    import resource
except ImportError:
    resource = None
polars.select(1)
if resource is not None and os.path.exists("/proc/self/statm"):
    with open("/proc/self/statm") as held:
        base = int(held.read().split()[0]) * resource.getpagesize()
for path in sys.argv[1:]:
    if resource is not None and os.path.exists("/proc/self/statm"):
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        most = base + 2**30 + 200 * os.path.getsize(path)
        resource.setrlimit(resource.RLIMIT_AS, (most if hard < 0 else min(most, hard), hard))
    try:
        polars.read_parquet(path, glob=False, memory_map=False)
    except MemoryError:
        os.abort()
    except (Exception, polars.exceptions.PanicException):
        pass
"""
_QUIETLY = {"RUST_BACKTRACE": "0", "POLARS_MAX_THREADS": "1"}
_MOST_AT_ONCE = 500
# Files that another process has read to their end, as they were then.
_PROVEN: set[tuple[str, int, int, int]] = set()


def read_parquet(
    path: str | Path, slug: str = "bad-table", sealed: bool = False
) -> tuple[pl.DataFrame, Mapping[str, str]]:
    """The rows of a Parquet file, and the texts of its own metadata.

    Raises `BadInput` with `slug` for a file that is cut short, damaged or no Parquet at all. One that is not
    `sealed` by a hash that it was compared with is read by another process first, which damage may end.
    """
    path = Path(path)
    _check_ends(path, slug)
    check(path)
    with _readable(path, slug, "Parquet"):
        metadata = pl.read_parquet_metadata(_place(path))
    if not sealed:
        prove_parquet([path], slug)
    with _readable(path, slug, "Parquet"):
        frame = pl.read_parquet(_place(path), glob=False, memory_map=False)
    return frame, metadata


def read_parquet_schema(path: str | Path, slug: str = "bad-table") -> Mapping[str, Any]:
    """Names and types of the columns of a Parquet file; raises as `read_parquet`."""
    path = Path(path)
    _check_ends(path, slug)
    with _readable(path, slug, "Parquet"):
        return dict(pl.read_parquet_schema(_place(path)))


def prove_parquet(paths: Sequence[Path], slug: str = "bad-table") -> None:
    """Have all these Parquet files read to their end by one other process, and remember those that can be.

    Raises `BadInput` with `slug` for the first that ends it. What can be read but makes no sense is left to
    whoever reads it.
    """
    asked = [path for path in paths if _as_it_is(path) not in _PROVEN]
    # Halves of them, until the one that ends the process is alone.
    while asked and not _can_be_read(asked):
        if len(asked) == 1:
            raise BadInput(
                slug,
                "the Parquet file cannot be read",
                file=asked[0],
                expected="a whole Parquet file",
                found="pages that end the process that reads them, or ask for memory out of all proportion",
                fix="copy or download the file again",
            )
        half = asked[: len(asked) // 2]
        asked = asked[len(half) :] if _can_be_read(half) else half
    _PROVEN.update(_as_it_is(path) for path in paths)


def _can_be_read(paths: Sequence[Path]) -> bool:
    """Whether a process that reads them ends by itself: what raises an error there will here."""
    for start in range(0, len(paths), _MOST_AT_ONCE):
        some = [str(path.absolute()) for path in paths[start : start + _MOST_AT_ONCE]]
        # -I: nothing of the working directory or the environment can be imported.
        command = [sys.executable, "-I", "-c", _READ_ALL, *some]
        done = subprocess.run(command, env={**os.environ, **_QUIETLY}, capture_output=True, check=False)
        if done.returncode < 0:
            return False
    return True


def _place(path: Path) -> Path | io.BytesIO:
    """What polars reads a file by: its bytes where the name is no UTF-8, of which polars takes none."""
    whole = path.absolute()
    return whole if encodable(str(whole)) == str(whole) else io.BytesIO(whole.read_bytes())


def _as_it_is(path: Path) -> tuple[str, int, int, int]:
    about = path.stat()
    return str(path.absolute()), about.st_size, about.st_mtime_ns, about.st_ino


def read_csv(path: str | Path, slug: str = "bad-table") -> pl.DataFrame:
    """The rows of a CSV file, types found over the whole of it; raises `BadInput` with `slug`."""
    path = Path(path)
    with _readable(path, slug, "CSV"):
        check(path)
        return pl.read_csv(_place(path), infer_schema_length=None, glob=False)


@contextmanager
def _readable(path: Path, slug: str, kind: str) -> Iterator[None]:
    """Names what polars raises for bytes that make no sense."""
    try:
        with _without_native_traces():
            yield
    except PermissionError as error:
        raise Missing(
            "denied", "the file may not be read", file=path, found=error.strerror,
            fix="ask its owner for read access",
        ) from None  # fmt: skip
    except (pl.exceptions.PolarsError, _PANIC, OSError, UnicodeDecodeError) as error:
        raise BadInput(
            slug,
            f"the {kind} file cannot be read",
            file=path,
            expected=f"a whole {kind} file",
            found=str(error) or type(error).__name__,
            fix="copy or download the file again",
        ) from error


@contextmanager
def _without_native_traces() -> Iterator[None]:
    """Keep a panic's native stack trace off stderr; what else is written there meanwhile is passed on."""
    try:
        stderr = os.dup(2)
    except OSError:
        yield
        return
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        except BaseException:
            # Said by the error; polars turns some panics into errors of its own.
            written.truncate(0)
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            written.seek(0)
            if text := written.read():
                os.write(2, text)


def _check_ends(path: Path, slug: str) -> None:
    """A Parquet file begins and ends with its mark, and the footer between them fits into it."""
    with _readable(path, slug, "Parquet"), path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        head = stream.read(4)
        stream.seek(max(size - 8, 0))
        tail = stream.read(8)
    footer = int.from_bytes(tail[:4], "little")
    if size < 12 or head != _ENDS or tail[4:] != _ENDS or footer > size - 12:
        raise BadInput(
            slug,
            "the file is no whole Parquet file",
            file=path,
            expected="PAR1 at both ends, and a footer that fits between",
            found=f"{size} bytes, {head!r} … {tail[4:]!r}",
            fix="copy or download the file again",
        )


def typed_columns(frame: pl.DataFrame, types: Mapping[str, Any], file: str | Path) -> pl.DataFrame:
    """The frame with those of its columns that `types` names in that type.

    Raises `BadInput` naming the first value that does not fit: text for a number, half a layer.
    """
    fitting = {
        name: _typed(frame[name], dtype, file) for name, dtype in types.items() if name in frame.columns
    }
    return frame.with_columns(**fitting) if fitting else frame


def _typed(column: pl.Series, dtype: Any, file: str | Path) -> pl.Series:
    if column.dtype == dtype:
        return column
    try:
        made = column.cast(dtype, strict=False)
        lost = made.is_null() & column.is_not_null()
        if dtype.is_integer() and column.dtype.is_float():
            lost |= (made.cast(pl.Float64) != column).fill_null(False)
    except pl.exceptions.PolarsError:
        # Lists, structs: nothing of the column is such a value.
        made, lost = column, column.is_not_null()
    if not lost.any() and made.dtype == dtype:
        return made
    row = lost.arg_max() or 0
    raise BadInput(
        "bad-table",
        f"column {column.name} of the table has values that do not fit it",
        file=file,
        expected="whole numbers" if dtype.is_integer() else "numbers" if dtype.is_float() else "text",
        found=f"{column[row]!r} in row {row + 1}" if len(column) else str(column.dtype),
        fix="correct the table",
    )
