"""How files are read within a block: whether their hashes are compared, and whether cut ones are salvaged."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True, eq=False)
class Reading:
    """`check_hashes` compares files with what is stated of them; `salvage` takes what is whole of cut ones.

    `describing` takes what leaves a file's meaning open and says it, for those who describe and measure
    nothing. `checked` holds who stated a hash of each file that was looked at: nobody, where it is empty.
    """

    check_hashes: bool = False
    salvage: bool = False
    describing: bool = False
    checked: dict[Path, tuple[str, ...]] = field(default_factory=dict)


_AS_USUAL = Reading()
_CURRENT: ContextVar[Reading] = ContextVar("reading")


@contextmanager
def reading(*, check_hashes: bool = False, salvage: bool = False) -> Iterator[Reading]:
    """Read every source that is opened in this block so.

    `check_hashes` compares files with the sha256 (sha512, sha1, md5) that a sidecar beside them or the hub
    states, and refuses one that holds something else; `salvage` reads the complete tensors of a safetensors
    file that was cut short. Both are said of every source that they concern.

    >>> with reading(salvage=True) as now:
    ...     now is current(), current().salvage
    (True, True)
    >>> current().salvage
    False
    """
    now = Reading(check_hashes=check_hashes, salvage=salvage)
    token = _CURRENT.set(now)
    try:
        yield now
    finally:
        _CURRENT.reset(token)


@contextmanager
def describing() -> Iterator[None]:
    """Open sources in this block to describe them: what may change the meaning of weights is no error.

    >>> with describing():
    ...     current().describing
    True
    """
    token = _CURRENT.set(replace(current(), describing=True))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current() -> Reading:
    """How files are read now."""
    return _CURRENT.get(_AS_USUAL)
