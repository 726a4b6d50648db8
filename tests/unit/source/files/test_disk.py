"""Small tensors that follow each other are read together, and every guard of a single read holds for them."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunescope.errors import BadInput
from tunescope.source.files.disk import Snapshot, take_snapshot

SIZE = 3 << 20


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    path = tmp_path / "weights"
    path.write_bytes(np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8).tobytes())
    return take_snapshot(path)


def test_reads_in_any_order_and_of_any_size_give_the_bytes_of_the_file(snapshot: Snapshot) -> None:
    data, dice = snapshot.path.read_bytes(), np.random.default_rng(1)
    place = 0
    for _ in range(2000):
        place = place if dice.random() < 0.8 else int(dice.integers(SIZE))
        count = min(int(dice.integers(1, 3000)), SIZE - place)
        assert snapshot.read(place, count).tobytes() == data[place : place + count]
        place = (place + count) % SIZE


def test_neighbours_open_the_file_once_a_mebibyte(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, really = [], os.open

    def counted(*given: Any) -> int:
        opened.append(given)
        return really(*given)

    monkeypatch.setattr(os, "open", counted)
    for place in range(0, SIZE, 1024):
        snapshot.read(place, 1024)
    assert len(opened) <= 8


def test_two_neighbours_alone_are_not_read_ahead(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    read, really = [], os.preadv

    def counted(descriptor: int, buffers: Any, offset: int) -> int:
        read.append(really(descriptor, buffers, offset))
        return read[-1]

    monkeypatch.setattr(os, "preadv", counted)
    for place in range(0, SIZE, 1 << 16):
        snapshot.read(place, 1024)
        snapshot.read(place + 1024, 1024)
    assert sum(read) == 2 * 1024 * (SIZE >> 16)


def test_what_is_read_is_nobody_elses(snapshot: Snapshot) -> None:
    for place in range(0, 64, 8):
        found = snapshot.read(place, 8)
        found[:] = 0
    assert snapshot.read(56, 8).tobytes() == snapshot.path.read_bytes()[56:64]


def test_two_files_are_kept_apart(snapshot: Snapshot, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(bytes(SIZE))
    second = take_snapshot(other)
    for place in range(0, 4096, 64):
        assert snapshot.read(place, 64).tobytes() == snapshot.path.read_bytes()[place : place + 64]
        assert not second.read(place, 64).any()


def test_a_file_that_shrank_is_refused(snapshot: Snapshot) -> None:
    os.truncate(snapshot.path, 100)
    with pytest.raises(BadInput) as refused:
        [snapshot.read(place, 64) for place in range(0, 4096, 64)]
    assert refused.value.slug == "changed-while-read"


def test_a_file_that_changes_between_two_small_reads_is_refused_by_a_look(snapshot: Snapshot) -> None:
    for place in range(0, 1024, 64):
        snapshot.read(place, 64)
    later = snapshot.changed_ns + 10**9
    os.utime(snapshot.path, ns=(later, later))
    with pytest.raises(BadInput):
        snapshot.verify()
    with pytest.raises(BadInput) as refused:
        snapshot.read(1024, 64)
    assert refused.value.slug == "changed-while-read"
