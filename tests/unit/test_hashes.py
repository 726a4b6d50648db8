"""Which sidecars mean a file and what they say of it; a file is compared only where that is asked for."""

import hashlib
from pathlib import Path

import pytest

from tunescope.errors import BadInput
from tunescope.hashes import Stated, check, stated_of, unstated
from tunescope.reader import reading

BYTES = b"the weights"
RIGHT = hashlib.sha256(BYTES).hexdigest()
WRONG = "0" * 64


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "model" / "part"
    folder.mkdir(parents=True)
    (folder / "w.safetensors").write_bytes(BYTES)
    return folder / "w.safetensors"


def said(path: Path) -> list[tuple[str, str]]:
    return [(stated.by, stated.digits) for stated in stated_of(path)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("w.safetensors.sha256", f"{RIGHT}  w.safetensors\n"),
        ("w.safetensors.sha256", f"{RIGHT.upper()}\r\n"),
        ("w.safetensors.sha256", f"\ufeff{RIGHT} *w.safetensors"),
        ("w.safetensors.sha256sum", f"{RIGHT}  the-name-it-had-before.safetensors"),
        ("w.sha256", f"SHA256 (w.safetensors) = {RIGHT}"),
        ("SHA256SUMS", f"# made by hand\n{WRONG}  other.bin\n{RIGHT}  ./w.safetensors\n"),
        ("sha256sums.txt", f"{RIGHT}  /build/out/w.safetensors"),
        ("checksums.txt", f"{RIGHT} w.safetensors"),
        ("../SHA256SUMS", f"{WRONG}  w.safetensors\n{RIGHT}  part/w.safetensors"),
        ("../../release.sha256", f"{RIGHT} *model/part/w.safetensors"),
    ],
)
def test_every_common_spelling_of_a_hash_is_read(weights: Path, name: str, text: str) -> None:
    (weights.parent / name).write_text(text, newline="")
    assert said(weights) == [(Path(name).name, RIGHT)]


@pytest.mark.parametrize(
    "digits", [len(h().hexdigest()) for h in (hashlib.md5, hashlib.sha1, hashlib.sha512)]
)
def test_other_kinds_of_hashes_are_told_by_their_length(weights: Path, digits: int) -> None:
    kind = {32: "md5", 40: "sha1", 128: "sha512"}[digits]
    (weights.parent / f"w.safetensors.{kind}").write_text(hashlib.new(kind, BYTES).hexdigest())
    assert list(stated_of(weights)) == [
        Stated(f"w.safetensors.{kind}", kind, hashlib.new(kind, BYTES).hexdigest())
    ]
    with reading(check_hashes=True):
        check(weights)


def test_lists_that_speak_of_other_files_say_nothing(weights: Path) -> None:
    (weights.parent / "SHA256SUMS").write_text(f"{WRONG}  w.safetensors.old\n{WRONG}  below/w.safetensors\n")
    (weights.parent / "x.safetensors.sha256").write_text(WRONG)
    (weights.parent / "notes.txt").write_text(f"{WRONG}  w.safetensors")
    assert said(weights) == []


def test_the_cache_of_the_hub_names_a_file_by_its_hash(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    small = hashlib.sha1(b"blob %d\0" % len(BYTES) + BYTES).hexdigest()
    for name in (RIGHT, small):
        (blobs / name).write_bytes(BYTES)
        link = tmp_path / f"link-{len(name)}"
        link.symlink_to(blobs / name)
        assert said(link) == [("the hub", name)]
        with reading(check_hashes=True):
            check(link)


def test_what_the_hub_recorded_of_a_download_into_a_folder_is_compared(weights: Path) -> None:
    record = weights.parents[1] / ".cache" / "huggingface" / "download" / "part" / "w.safetensors.metadata"
    record.parent.mkdir(parents=True)
    record.write_text(f"{'c' * 40}\n{WRONG}\n1700000000.0\n")
    assert said(weights) == [("the hub", WRONG)]


def test_a_file_that_holds_something_else_is_refused_with_both_hashes(weights: Path) -> None:
    (weights.parent / "SHA256SUMS").write_text(f"{WRONG}  w.safetensors")
    check(weights)
    with reading(check_hashes=True), pytest.raises(BadInput) as caught:
        check(weights)
    error = caught.value
    assert (error.slug, error.file) == ("hash-mismatch", str(weights))
    assert (error.expected, error.found) == (f"sha256 {WRONG}, says SHA256SUMS", f"sha256 {RIGHT}")


@pytest.mark.parametrize("text", ["", "not a hash", f"{RIGHT[:-1]}  w.safetensors", "é" * 20])
def test_a_sidecar_of_its_own_that_states_nothing_is_refused(weights: Path, text: str) -> None:
    sidecar = weights.with_name("w.safetensors.sha256")
    sidecar.write_text(text)
    with reading(check_hashes=True), pytest.raises(BadInput, match="bad-sidecar") as caught:
        check(weights)
    assert caught.value.file == str(sidecar)


def test_a_list_that_names_the_file_without_a_hash_is_refused(weights: Path) -> None:
    (weights.parent / "SHA256SUMS").write_text(f"{RIGHT[:20]}  w.safetensors")
    with reading(check_hashes=True), pytest.raises(BadInput, match="bad-sidecar"):
        check(weights)


def test_of_what_nobody_states_a_hash_that_is_said(weights: Path) -> None:
    other = weights.with_name("o.safetensors")
    other.write_bytes(BYTES)
    weights.with_name("o.safetensors.sha256").write_text(RIGHT)
    assert unstated([weights, other]) == ()
    with reading(check_hashes=True) as now:
        check(weights)
        check(other)
        (notice,) = unstated([weights, other])
    assert notice.slug == "hash-unknown"
    assert "w.safetensors (1 of 2 files): unverified" in notice.text
    assert now.checked == {weights: (), other: ("o.safetensors.sha256",)}
