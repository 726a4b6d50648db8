"""States of killed runs: whole and unchanged, or refused by name; beside their output and of no other."""

import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest

from tunescope.errors import BadInput, Exhausted
from tunescope.study.state import forget_state, load_arrays, save_arrays, state_folder

ARRAYS = {"a/b": np.arange(6.0).reshape(2, 3), "n": np.array([3]), "text": np.frombuffer(b"{}", np.uint8)}


def test_arrays_come_back_bit_by_bit(tmp_path: Path) -> None:
    odd = {**ARRAYS, "odd": np.array([np.nan, -0.0, np.inf, 5e-324]), "none": np.zeros((0, 4))}
    save_arrays(tmp_path / "s.npz", odd)
    found = load_arrays(tmp_path / "s.npz")
    assert {n: (a.dtype, a.shape, a.tobytes()) for n, a in found.items()} == {
        n: (a.dtype, a.shape, a.tobytes()) for n, a in odd.items()
    }


@pytest.mark.parametrize("at", [0, 150, 200, -60])
def test_one_byte_of_damage_is_refused_with_the_file_and_what_to_do(tmp_path: Path, at: int) -> None:
    path = tmp_path / "s.npz"
    save_arrays(path, ARRAYS)
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(BadInput) as caught:
        load_arrays(path)
    assert (caught.value.slug, caught.value.file) == ("bad-state", str(path))
    assert caught.value.expected
    assert "starts anew" in str(caught.value.fix)


def test_a_value_that_was_changed_under_a_right_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    save_arrays(path, ARRAYS)
    with np.load(path) as archive:
        held = dict(archive)
    held["n"] = np.array([4])
    buffer = io.BytesIO()
    np.savez(buffer, **held)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(BadInput, match="bad-state"):
        load_arrays(path)


def test_a_full_disk_is_exhaustion_and_leaves_the_earlier_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.npz"
    save_arrays(path, ARRAYS)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exhausted, match="cannot-write"):
        save_arrays(path, {"n": np.array([5])})
    assert list(tmp_path.iterdir()) == [path]
    assert load_arrays(path)["n"] == [3]


def test_outputs_with_long_names_and_one_prefix_have_states_of_their_own(tmp_path: Path) -> None:
    names = ["study", "study.v2", "x" * 250, "x" * 249 + "y"]
    folders = {state_folder(tmp_path / name, "attribute") for name in names}
    assert len(folders) == len(names)
    for folder in folders:
        folder.mkdir()


def test_what_a_killed_write_left_is_forgotten_with_the_rest(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    save_arrays(folder / "process-0-of-1.npz", ARRAYS)
    (folder / ".process-0-of-1.npz.0123456789ab.part").write_bytes(b"half")
    forget_state(folder, "process-*-of-*.npz")
    assert not folder.exists()
