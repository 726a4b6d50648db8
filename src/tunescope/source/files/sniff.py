"""What a file really is, from its first bytes, so that a wrong download gets a right message."""

import re
from pathlib import Path
from typing import NoReturn

from tunescope.errors import BadInput
from tunescope.source.files.disk import Bytes

HEAD_BYTES = 512

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "zip archive"),
    (b"PK\x05\x06", "empty zip archive"),
    (b"\x1f\x8b", "gzip archive"),
    (b"BZh", "bzip2 archive"),
    (b"\xfd7zXZ\x00", "xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip archive"),
    (b"\x28\xb5\x2f\xfd", "Zstandard archive"),
    (b"GGUF", "GGUF model"),
    (b"\x93NUMPY", "NumPy .npy array"),
    (b"\x89HDF\r\n", "HDF5 file"),
    (b"PAR1", "Parquet file"),
    (b"%PDF", "PDF document"),
    (b"\x80\x02", "Python pickle"),
    (b"\x80\x03", "Python pickle"),
    (b"\x80\x04", "Python pickle"),
    (b"\x80\x05", "Python pickle"),
)
# Where a tar archive has its mark [POSIX.1 pax].
_USTAR = slice(257, 262)
_HTML = re.compile(rb"^\s*(<!doctype\s+html|<html|<head|<body|<\?xml)", re.IGNORECASE)
_LFS = re.compile(rb"^version https://git-lfs[^\n]*\n(?:.*\n)*?size (\d+)")
_ONNX = re.compile(rb"^\x08[\x01-\x20]\x12.(pytorch|onnx|tf2onnx|ONNX|torch|skl2onnx)", re.DOTALL)


def real_type(head: bytes) -> str | None:
    """The kind of file that starts with `head`, or `None` where no signature fits.

    >>> real_type(b"GGUF\\x03\\x00")
    'GGUF model'
    """
    if is_page(head):
        return "HTML page"
    if _LFS.match(head):
        return "Git LFS pointer"
    if _ONNX.match(head):
        return "ONNX model"
    if is_safetensors_head(head):
        return "safetensors file"
    if head[_USTAR] == b"ustar":
        return "tar archive"
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return "NumPy .npz archive" if name == "zip archive" and b".npy" in head[30:300] else name
    return "JSON text" if re.match(rb"^\s*[{\[]\s*[\"{\[\]}]", head) else None


def is_page(head: bytes) -> bool:
    """Whether the bytes begin a web page."""
    return _HTML.match(head) is not None


def is_safetensors_head(head: bytes) -> bool:
    """Whether the bytes look like a safetensors header: a length, then an opening brace."""
    return len(head) > 9 and head[8:9] in b"{ " and head[9:10] in b'"} ' and head[6:8] == b"\0\0"


def read_head(file: Bytes, expected: str) -> bytes:
    """The first bytes of a file, refused where it is empty or evidently not what is `expected`."""
    if file.size == 0:
        raise BadInput(
            "empty-file",
            "the file is empty: was its download cut off?",
            file=file.path,
            expected=expected,
            found="0 bytes",
            fix="download or copy the file again",
        )
    head = file.read(0, min(file.size, HEAD_BYTES)).tobytes()
    _refuse_other_type(file.path, head, expected)
    return head


def _refuse_other_type(path: Path, head: bytes, expected: str) -> None:
    """Refuse a file whose first bytes say that it is something else than `expected`."""
    found = real_type(head)
    if found is None or found in expected:
        return
    if found == "HTML page":
        _refuse_html(path, expected)
    if found == "Git LFS pointer":
        _refuse_pointer(path, head, expected)
    packed = found == "tar archive"
    raise BadInput(
        "wrong-type",
        f"this is a {found}" if packed else f"this is a {found} under another name",
        file=path,
        expected=expected,
        found=found,
        fix="unpack it (tar xf FILE), as NeMo's .nemo files, and name the weights inside"
        if packed
        else "name the adapter's own weight file, or give this one its right suffix",
    )


def _refuse_html(path: Path, expected: str) -> NoReturn:
    raise BadInput(
        "html-page",
        "this is HTML, not weights: a login or error page was saved in its place",
        file=path,
        expected=expected,
        found="HTML page",
        fix="download the file again, logged in, and through its `resolve` address",
    )


def _refuse_pointer(path: Path, head: bytes, expected: str) -> NoReturn:
    pointer = _LFS.match(head)
    size = pointer.group(1).decode() if pointer else "?"
    raise BadInput(
        "lfs-pointer",
        f"this is a Git LFS pointer for a {size}-byte file, not the file itself",
        file=path,
        expected=expected,
        found="Git LFS pointer",
        fix="run `git lfs pull` in the repository, or download the file itself",
    )
