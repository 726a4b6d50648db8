"""Hostile and broken pickles: the catalogue's entries 41 to 49, each by its number."""

import json
import os
import pickle
import subprocess
import tempfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunescope.errors import BadInput, Exhausted
from tunescope.source import open_source
from tunescope.source.files import unpickle
from tunescope.source.files.pickled import read_pickled

torch = pytest.importorskip("torch")

CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
STEM = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convert in this process, which has loaded torch already, without the memory limit."""

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        unpickle.main(*command[-3:])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(unpickle, "_limit_memory", lambda _: None)
    monkeypatch.setattr("tunescope.source.files.pickled.subprocess.run", run)


def sound() -> dict[str, Any]:
    return {
        f"{STEM}.lora_A.weight": torch.arange(12.0).reshape(2, 6),
        f"{STEM}.lora_B.weight": torch.ones(4, 2),
    }


def saved(folder: Path, value: Any, name: str = "adapter_model.bin") -> Path:
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG))
    torch.save(value, folder / name)
    return folder / name


def refused(path: Path) -> BadInput:
    with pytest.raises(BadInput) as raised:
        read_pickled(path)
    assert str(path) in str(raised.value.file)
    assert raised.value.expected is not None
    return raised.value


@pytest.mark.usefixtures("here")
def test_sound_pickle_in_every_dtype(tmp_path: Path) -> None:
    dtypes = [
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.float8_e4m3fn,
        torch.float8_e5m2,
    ]
    base = torch.linspace(-2, 2, 12).reshape(3, 4)
    path = saved(
        tmp_path, {str(d): base.to(d) for d in dtypes} | {"turned": base.T, "scalar": torch.tensor(3.0)}
    )
    file = read_pickled(path)
    for dtype in dtypes:
        read = file.tensors[str(dtype)].read().astype(np.float64)
        assert np.array_equal(read, base.to(dtype).to(torch.float64).numpy())
    assert np.array_equal(file.tensors["turned"].read(), base.T.numpy())
    assert file.tensors["scalar"].read() == 3.0


def test_folder_with_a_pickled_adapter(tmp_path: Path) -> None:
    saved(tmp_path, sound())
    source = open_source(tmp_path)
    assert source.deltas[0].scale == 2.0
    assert np.array_equal(
        source.deltas[0].open().dense(), 2 * np.ones((4, 2)) @ np.arange(12.0).reshape(2, 6)
    )


@pytest.mark.usefixtures("here")
def test_temporary_files_are_gone_with_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    file = read_pickled(saved(tmp_path, sound()))
    keep = file.tensors[f"{STEM}.lora_A.weight"]
    del file
    assert keep.read().shape == (2, 6)
    del keep
    assert not list(scratch.iterdir())


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.target}",)


def test_a_pickle_that_wants_to_call_anything_is_refused_with_its_name(tmp_path: Path) -> None:
    error = refused(saved(tmp_path, sound() | {"x": Evil(tmp_path / "ran")}))
    assert error.slug == "unsafe-pickle"
    assert error.found in ("posix.system", "nt.system")
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("here")
def test_a_plain_pickle_without_an_archive_is_held_to_the_same_list(tmp_path: Path) -> None:
    path = tmp_path / "adapter.bin"
    path.write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    assert refused(path).slug in ("unsafe-pickle", "bad-pickle")
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("here")
def test_an_old_torch_is_refused_with_two_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.__version__", "2.9.1+cpu")
    error = refused(saved(tmp_path, sound()))
    assert (error.slug, error.found) == ("old-torch", "torch 2.9.1+cpu")
    assert "safetensors" in str(error.fix)
    assert "pip install" in str(error.fix)


@pytest.mark.usefixtures("here")
def test_a_huge_expanded_tensor_is_refused_before_it_is_copied(tmp_path: Path) -> None:
    error = refused(saved(tmp_path, {"x": torch.zeros(1).expand(2**40)}))
    assert (error.slug, error.tensor) == ("expanded-tensor", "x")


@pytest.mark.usefixtures("here")
def test_many_expanded_tensors_are_bounded_together(tmp_path: Path) -> None:
    one = torch.zeros(1)
    assert refused(saved(tmp_path, {str(i): one.expand(2**20) for i in range(64)})).slug == "expanded-tensor"


@pytest.mark.usefixtures("here")
def test_a_storage_smaller_than_the_shape_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, {"x": torch.ones(1000)})
    small = tmp_path / "small.bin"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(small, "w", zipfile.ZIP_STORED) as new:
        for member in old.infolist():
            data = old.read(member)
            # BININT2 1000 is the size, of the storage and of the tensor; the second stays as it is.
            data = data.replace(b"M\xe8\x03", b"K\x04", 1) if member.filename.endswith("data.pkl") else data
            new.writestr(member.filename, data[:16] if member.filename.endswith("data/0") else data)
    assert refused(small).slug in ("storage-too-small", "bad-pickle")


def test_a_flipped_bit_in_an_archive_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, {"x": torch.ones(1000)})
    data = bytearray(path.read_bytes())
    data[data.index(b"\0\0\x80\x3f" * 8) + 5] ^= 0xFF
    path.write_bytes(data)
    error = refused(path)
    assert error.slug == "bad-archive"
    assert "checksum" in str(error)


def test_an_archive_with_a_member_twice_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, {"x": torch.ones(4)})
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(archive.namelist()[0], b"other")
    assert "twice" in str(refused(path))


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, {"x": torch.ones(4)})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert "encrypted" in str(refused(path))


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(2**25))
    assert refused(path).slug == "bad-archive"


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, {"x": torch.ones(1000)})
    os.truncate(path, path.stat().st_size // 2)
    assert refused(path).slug == "bad-archive"


@pytest.mark.usefixtures("here")
def test_a_pickled_module_is_refused_as_no_state_dict(tmp_path: Path) -> None:
    error = refused(saved(tmp_path, torch.nn.Linear(2, 2)))
    assert error.slug == "not-a-state-dict"
    assert "state_dict()" in str(error.fix)


@pytest.mark.usefixtures("here")
def test_an_optimizers_state_is_refused(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    assert refused(saved(tmp_path, torch.optim.SGD([weight]).state_dict())).slug == "not-a-state-dict"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("level", ["state_dict", "model", "module"])
def test_a_nested_state_dict_is_unwrapped_with_a_notice(tmp_path: Path, level: str) -> None:
    file = read_pickled(saved(tmp_path, {level: OrderedDict(sound()), "epoch": 3}))
    assert set(file.tensors) == set(sound())
    assert [notice.slug for notice in file.notices] == ["unwrapped"]
    assert level in file.notices[0].text


TRAINER = [
    "training_args.bin",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "rng_state_0.pth",
    "scaler.pt",
]


def test_trainer_files_are_never_opened(adapter: Callable[..., Path]) -> None:
    folder = adapter()
    for name in TRAINER:
        (folder / name).write_bytes(b"never to be read")
        assert refused(folder / name).slug == "trainer-state"
    assert len(open_source(folder).deltas) == 2
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(BadInput, match="no-weights"):
        open_source(folder)


@pytest.mark.usefixtures("here")
def test_tensors_of_kinds_that_cannot_be_read(tmp_path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        # Deprecated, but old files hold such tensors.
        quantised = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    odd = {
        "sparse": torch.ones(3, 3).to_sparse(),
        "quantised": quantised,
        "meta": torch.ones(3, device="meta"),
        "complex": torch.ones(3, dtype=torch.complex128),
    }
    path = saved(tmp_path, sound() | odd)
    source = open_source(path)
    reasons = {e.tensor: e.reason for e in source.coverage}
    assert len(source.deltas) == 1
    assert "sparse" in reasons["sparse"]
    assert "quantised" in reasons["quantised"]
    assert "meta" in reasons["meta"]
    assert "complex128" in reasons["complex"]


def test_loading_is_stopped_at_the_memory_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, {"x": torch.ones(2**21)})
    # A budget below zero leaves no room beyond what the process has in use.
    monkeypatch.setattr(
        "tunescope.source.files.pickled._LARGEST_RATIO", -(2**29) / 3 / path.stat().st_size - 3
    )
    with pytest.raises(Exhausted) as raised:
        read_pickled(path)
    assert (raised.value.slug, raised.value.exit_code) == ("pickle-memory", 5)
