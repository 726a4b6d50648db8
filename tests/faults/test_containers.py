"""Broken safetensors files: the catalogue's entries 1 to 28, each by its number."""

import json
import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tunescope.errors import BadInput, Missing, TunescopeError
from tunescope.source import open_source
from tunescope.source.files.container import read_safetensors
from tunescope.source.files.header import LARGEST_HEADER
from tunescope.writing import beside

Writer = Callable[..., Path]


def refused(path: Path, kind: type[TunescopeError] = BadInput) -> TunescopeError:
    """The error for what must not be read: with the file, what was expected, and what it is or a way out."""
    with pytest.raises(kind) as raised:
        open_source(path)
    error = raised.value
    assert error.exit_code == kind.exit_code
    assert error.file is not None
    assert path.name in error.file or path.name in str(error)
    assert error.expected is not None if kind is BadInput else error.fix
    assert error.found is not None or error.fix
    return error


def entry(dtype: str, shape: list[Any], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_an_empty_file_is_refused_as_a_broken_download(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.touch()
    error = refused(path)
    assert error.slug == "empty-file"
    assert "download" in str(error)


def test_a_file_of_fewer_than_eight_bytes_is_refused_with_its_size(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"\x10\0\0")
    error = refused(path)
    assert (error.slug, error.found) == ("too-small", "3 bytes")


@pytest.mark.parametrize(
    "start", [b"<!DOCTYPE html><html>", b"\n  <html lang='en'>", b"<?xml version='1.0'?>"]
)
def test_a_page_saved_as_weights_is_refused_as_html(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(start + b" " * 300)
    error = refused(path)
    assert error.slug == "html-page"
    assert "this is HTML" in str(error)


def test_a_git_lfs_pointer_is_refused_with_the_way_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 2175168\n")
    error = refused(path)
    assert error.slug == "lfs-pointer"
    assert "2175168-byte" in str(error)
    assert "git lfs pull" in str(error.fix)


@pytest.mark.parametrize(
    ("start", "named"),
    [
        (b"\x1f\x8b\x08\0\0\0\0\0", "gzip"),
        (b"PK\x03\x04\x14\0\0\0\0\0", "zip"),
        (b"GGUF\x03\0\0\0", "GGUF"),
        (b"\x08\x07\x12\x07pytorch", "ONNX"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
    ],
)
def test_another_type_under_this_suffix_is_named_as_what_it_is(
    tmp_path: Path, start: bytes, named: str
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(start + b"\x01" * 600)
    error = refused(path)
    assert error.slug == "wrong-type"
    assert named in str(error.found)


def test_an_npz_under_this_suffix_is_named_as_what_it_is(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones(3))
    path = shutil.move(tmp_path / "a.npz", tmp_path / "a.safetensors")
    assert "npz" in str(refused(Path(path)).found)


def test_safetensors_under_a_pickle_suffix_are_named_as_what_they_are(tmp_path: Path) -> None:
    save_file({"x": np.ones(3, np.float32)}, tmp_path / "a.bin")
    assert "safetensors" in str(refused(tmp_path / "a.bin").found)


def test_a_header_beyond_the_allowed_size_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with path.open("wb") as file:
        file.write((LARGEST_HEADER + 1).to_bytes(8, "little"))
        # A sparse file: the size is there, the bytes are not.
        file.truncate(LARGEST_HEADER + 100)
    assert refused(path).slug == "header-too-large"


@pytest.mark.parametrize("length", [1000, 2**63, 2**64 - 1])
def test_a_header_longer_than_the_file_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b"{}")
    assert refused(path).slug == "truncated"


def test_a_header_that_is_not_json_is_refused_with_the_byte(raw: Writer) -> None:
    error = refused(raw(b'{"x": nonsense}'))
    assert error.slug == "header-json"
    assert "byte 14" in str(error.found)


def test_a_header_that_is_not_utf8_is_refused_with_the_byte(raw: Writer) -> None:
    error = refused(raw(b'{"\xff\xfe": {}}'))
    assert error.slug == "header-utf8"
    assert "byte 10" in str(error.found)


@pytest.mark.parametrize("header", [b"[1, 2]", b'{"x": NaN}', b'{"x": ' + b"9" * 5000 + b"}", b'{"x": 3}'])
def test_json_that_is_no_header_is_refused(raw: Writer, header: bytes) -> None:
    assert refused(raw(header)).slug in ("header-json", "header-entry")


def test_a_header_padded_with_nul_is_refused_with_the_cause(raw: Writer) -> None:
    error = refused(raw(b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}\0\0\0', b"\0" * 4))
    assert error.slug == "header-padding"
    assert "spaces" in str(error.expected)


def test_a_header_that_starts_with_a_space_is_read_with_a_notice(raw: Writer) -> None:
    file = read_safetensors(raw(b' {"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"\0\0\x80\x3f"))
    assert file.tensors["x"].read().tolist() == [1.0]
    assert [notice.slug for notice in file.notices] == ["header-space"]


@pytest.mark.parametrize("header", [b"[" * 100_000, b'{"x":' + b'{"a":' * 100_000])
def test_a_header_nested_deeply_is_refused(raw: Writer, header: bytes) -> None:
    assert refused(raw(header)).slug in ("header-nesting", "header-json")


def test_a_header_of_a_million_names_is_read(raw: Writer) -> None:
    entries = b",".join(
        b'"layers.%d.w1.lora_A":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % i for i in range(10**6)
    )
    assert len(entries) > 70_000_000
    assert len(read_safetensors(raw(b"{" + entries + b"}")).tensors) == 10**6


def test_a_tensor_named_twice_is_refused_with_both_entries(raw: Writer) -> None:
    one, two = json.dumps(entry("F32", [1], 0, 4)), json.dumps(entry("F32", [1], 4, 8))
    error = refused(raw(f'{{"x":{one},"x":{two}}}'.encode(), b"\0" * 8))
    assert (error.slug, error.tensor) == ("duplicate-tensor", "x")
    assert "[0, 4]" in str(error.found)
    assert "[4, 8]" in str(error.found)


@pytest.mark.parametrize(
    ("second", "slug"),
    [((8, 12), "hole"), ((2, 6), "overlap"), ((8, 4), "bad-offsets")],
)
def test_holes_overlaps_and_reversed_offsets_are_refused_with_both_names(
    raw: Writer, second: tuple[int, int], slug: str
) -> None:
    error = refused(raw({"first": entry("F32", [1], 0, 4), "second": entry("F32", [1], *second)}, b"\0" * 12))
    assert (error.slug, error.tensor) == (slug, "second")
    assert slug == "bad-offsets" or "first" in str(error.expected)


def test_bytes_behind_the_last_tensor_are_refused(raw: Writer) -> None:
    error = refused(raw({"x": entry("F32", [1], 0, 4)}, b"\0" * 4 + b"PK\x03\x04"))
    assert error.slug == "trailing-bytes"


def test_a_file_cut_in_its_data_is_refused_with_the_first_incomplete_tensor(raw: Writer) -> None:
    error = refused(raw({"x": entry("F32", [1], 0, 4), "y": entry("F32", [2], 4, 12)}, b"\0" * 6))
    assert (error.slug, error.tensor) == ("truncated", "y")
    assert "6 of 12 data bytes are present" in str(error)


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [("F32", [3]), ("F32", [2**40, 2**40]), ("F32", [-1]), ("F32", [1.0]), ("F32", [True]), ("BF16", [4])],
)
def test_a_shape_that_does_not_fit_its_bytes_is_refused(raw: Writer, dtype: str, shape: list[Any]) -> None:
    error = refused(raw({"x": entry(dtype, shape, 0, 4)}, b"\0" * 4))
    assert (error.slug, error.tensor) in (("bad-shape", "x"), ("size-mismatch", "x"))


def test_one_tensor_of_unknown_dtype_is_left_out_and_said(raw: Writer) -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(2, 4)).astype("<f4").tobytes()
    tensors = {
        "lora_unet_x.lora_down.weight": entry("F32", [2, 4], 0, 32),
        "lora_unet_x.lora_up.weight": entry("F32", [4, 2], 32, 64),
        "lora_unet_y.lora_down.weight": entry("Q4_K", [2, 4], 64, 70),
        "lora_unet_y.lora_up.weight": entry("F32", [4, 2], 70, 102),
    }
    source = open_source(raw(tensors, data + data + b"\0" * 6 + data))
    assert len(source.deltas) == 1
    reasons = {e.tensor: e.reason for e in source.coverage}
    assert reasons["lora_unet_y.lora_down.weight"] == "unsupported dtype Q4_K"
    assert sum(e.bytes for e in source.coverage) == 102


def test_an_unknown_dtype_is_a_warning_that_fails_under_strict(
    raw: Writer, tmp_path: Path, run: Callable[..., Any]
) -> None:
    raw(
        {
            "w.lora_down.weight": entry("F32", [2, 4], 0, 32),
            "w.lora_up.weight": entry("F32", [4, 2], 32, 64),
            "x.lora_down.weight": entry("Q4_K", [2, 4], 64, 70),
            "x.lora_up.weight": entry("F32", [4, 2], 70, 102),
        },
        bytes(range(102)),
        "x.safetensors",
    )
    ran = run("norms", tmp_path / "x.safetensors", "--scale", "x=1")
    assert (ran.code, "Q4_K" in ran.out) == (0, True)
    assert run("norms", tmp_path / "x.safetensors", "--scale", "x=1", "--strict").code == 1


def test_nothing_but_unknown_dtypes_is_refused(raw: Writer) -> None:
    factors = {"w.lora_down.weight": entry("F4", [2, 4], 0, 4), "w.lora_up.weight": entry("F4", [4, 2], 4, 8)}
    error = refused(raw(factors, b"\0" * 8))
    assert (error.slug, error.exit_code) == ("unsupported-dtype", 3)


def test_a_peft_adapter_with_one_unknown_dtype_is_read_but_for_that_module(
    raw: Writer, tmp_path: Path
) -> None:
    stem = "base_model.model.model.layers.0.self_attn"
    raw(
        {
            f"{stem}.k_proj.lora_A.weight": entry("Q4_K", [2, 4], 0, 6),
            f"{stem}.k_proj.lora_B.weight": entry("F32", [4, 2], 6, 38),
            f"{stem}.q_proj.lora_A.weight": entry("F32", [2, 4], 38, 70),
            f"{stem}.q_proj.lora_B.weight": entry("F32", [4, 2], 70, 102),
        },
        bytes(102),
    )
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 2}')
    source = open_source(tmp_path)
    assert [delta.component_name for delta in source.deltas] == ["L0_ATTN_Q"]
    assert "unsupported dtype Q4_K" in {e.reason for e in source.coverage}


def test_a_tensor_of_size_zero_and_a_scalar_are_read(raw: Writer) -> None:
    file = read_safetensors(
        raw({"none": entry("F32", [0, 5], 0, 0), "one": entry("F32", [], 0, 4)}, b"\0\0\x80\x3f")
    )
    assert file.tensors["none"].read().shape == (0, 5)
    assert file.tensors["one"].read() == 1.0


@pytest.mark.parametrize("metadata", ['{"a": 1}', '["a"]', '"text"', '{"a": null}'])
def test_metadata_that_is_not_text_is_refused(raw: Writer, metadata: str) -> None:
    assert refused(raw(f'{{"__metadata__": {metadata}}}'.encode())).slug == "header-metadata"


def test_long_text_is_cut_in_messages(raw: Writer) -> None:
    error = refused(raw(json.dumps({"__metadata__": {"note": ["x" * 10**6]}}).encode()))
    assert len(str(error)) < 5000


def test_a_file_that_changes_while_it_is_read_is_refused(adapter: Writer) -> None:
    folder = adapter()
    source = open_source(folder)
    source.deltas[0].open()
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes())
    later = weights.stat().st_mtime_ns + 10**9
    os.utime(weights, ns=(later, later))
    with pytest.raises(BadInput, match="changed-while-read"):
        source.verify_unchanged()
    with pytest.raises(BadInput, match="changed-while-read"):
        source.deltas[1].open()


def test_a_file_that_shrinks_while_it_is_read_is_refused(adapter: Writer) -> None:
    folder = adapter()
    source = open_source(folder)
    os.truncate(folder / "adapter_model.safetensors", 50)
    with pytest.raises(BadInput, match="changed-while-read"):
        source.deltas[0].open()


def test_a_failing_disk_is_exit_4_with_the_byte(adapter: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(adapter())

    def broken(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.preadv", broken)
    with pytest.raises(Missing, match="io-error") as raised:
        source.deltas[0].open()
    assert "at byte" in str(raised.value.found)


def test_a_folder_named_like_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").mkdir()
    assert refused(tmp_path / "x.safetensors").slug == "not-a-file"


def test_a_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.safetensors")
    error = refused(tmp_path / "x.safetensors")
    assert error.slug == "not-a-file"
    assert "FIFO" in str(error.found)


def test_a_config_that_is_a_fifo_is_refused_without_waiting(adapter: Writer) -> None:
    folder = adapter()
    (folder / "adapter_config.json").unlink()
    os.mkfifo(folder / "adapter_config.json")
    assert "FIFO" in str(refused(folder).found)


def test_sockets_and_devices_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("x.safetensors")
        assert "socket" in str(refused(Path("x.safetensors")).found)
    assert "device" in str(refused(Path("/dev/null")).found)


def test_a_file_that_may_not_be_read_is_exit_4_with_owner_and_mode(
    adapter: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = adapter()
    (folder / "adapter_model.safetensors").chmod(0o000)

    # Tests may run as root, whom modes do not stop.
    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", denied)
    error = refused(folder, Missing)
    assert (error.slug, error.exit_code) == ("denied", 4)
    assert "owner uid" in str(error.found)
    assert stat.filemode(stat.S_IFREG) in str(error.found)


def test_a_config_that_may_not_be_read_is_exit_4(adapter: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = adapter()

    # Tests may run as root, whom modes do not stop.
    opened = os.open

    def denied(path: Path, *flags: int) -> int:
        if Path(path).name == "adapter_config.json":
            raise PermissionError(13, "Permission denied")
        return opened(path, *flags)

    monkeypatch.setattr("os.open", denied)
    with pytest.raises(Missing) as raised:
        open_source(folder)
    assert "adapter_config.json" in str(raised.value.file)


def test_a_broken_cache_entry_is_exit_4_with_the_command_that_mends_it(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--org--name" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "adapter_model.safetensors").symlink_to("../../blobs/abcdef")
    (snapshot / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 4}')
    error = refused(snapshot, Missing)
    assert (error.slug, error.exit_code) == ("broken-link", 4)
    assert "hf download org/name" in str(error.fix)


def test_a_link_to_nothing_is_exit_4(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").symlink_to("gone")
    assert refused(tmp_path / "x.safetensors", Missing).slug == "broken-link"


def test_a_link_that_leads_out_of_the_folder_is_refused(adapter: Writer, tmp_path: Path) -> None:
    folder = adapter()
    weights = folder / "adapter_model.safetensors"
    elsewhere = Path(shutil.move(weights, tmp_path / "secret.safetensors"))
    weights.symlink_to(elsewhere)
    assert refused(folder).slug == "link-outside"
    assert len(open_source(folder, follow_symlinks=True).deltas) == 2


def test_a_named_link_is_read_with_the_config_beside_what_it_points_to(
    adapter: Writer, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "best"
    link.symlink_to(adapter() / "adapter_model.safetensors")
    source = open_source(link)
    assert (source.label, source.format, len(source.deltas)) == ("best", "peft", 2)


def test_links_of_the_hub_cache_are_followed(adapter: Writer, tmp_path: Path) -> None:
    folder = adapter()
    snapshot = tmp_path / "models--org--name" / "snapshots" / ("0" * 40)
    blobs = tmp_path / "models--org--name" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(folder.iterdir()):
        shutil.move(file, blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    assert len(open_source(snapshot).deltas) == 2


def test_remains_of_a_download_are_ignored(adapter: Writer) -> None:
    folder = adapter()
    (folder / "abc.incomplete").write_bytes(b"half")
    (folder / "abc.lock").touch()
    source = open_source(folder)
    assert len(source.deltas) == 2
    assert any(n.slug == "unfinished-download" and "abc.incomplete" in n.text for n in source.notices)


def test_the_lock_of_an_output_beside_the_weights_is_no_download(adapter: Writer) -> None:
    folder = adapter()
    beside(folder / "study", ".lock").touch()
    assert not [n for n in open_source(folder).notices if n.slug == "unfinished-download"]
