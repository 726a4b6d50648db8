"""The catalogue's entries on files and folders, each by its number, for whole models on either side."""

import json
import os
import shutil
import socket
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from .test_pickles import here

__all__ = ["here"]

Run = Callable[..., Any]
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"
STEM = "model.layers.0.self_attn"


def tensors(by: float = 0.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        f"{STEM}.{name}.weight": (rng.normal(size=(4, 6)) + by).astype(np.float32)
        for name in ("q_proj", "v_proj")
    }


@dataclass
class Pair:
    """A folder that is spoilt, sound when it is made, in its place in a command."""

    spoilt: Path
    arguments: list[str]
    run: Run

    @property
    def root(self) -> Path:
        """The folder that all of them lie in."""
        within = self.spoilt.parent
        return within.parent if within.name == "run" else within

    @property
    def sound(self) -> int:
        """The exit status with nothing spoilt: what `verify` is asked about is not merged."""
        return 1 if self.arguments[0] == "verify" else 0

    def instead(self, place: Path) -> None:
        """Another place for the folder; a checkpoint is known by the folder that it lies in."""
        if str(self.spoilt) not in self.arguments:
            shutil.move(self.spoilt / "trainer_state.json", place)
            shutil.rmtree(self.spoilt)
            self.spoilt.symlink_to(place)
        self.arguments = [str(place) if a == str(self.spoilt) else a for a in self.arguments]

    def done(self, code: int, *words: str) -> str:
        ran = self.run(*self.arguments)
        assert ran.code == code, ran.err
        said = " ".join(f"{ran.err} {ran.out}".split())
        for word in words:
            assert word in said
        return str(said)


@pytest.fixture(params=["tuned", "base", "verify", "checkpoint", "start"])
def pair(request: pytest.FixtureRequest, tmp_path: Path, run: Run) -> Pair:
    """The tuned model or the base of `norms`, the merged model of `verify`, or a model of `trajectory`."""
    folders = {"tuned": tmp_path / "run" / "checkpoint-2", "base": tmp_path / "base"}
    for name, folder in folders.items():
        folder.mkdir(parents=True)
        save_file(tensors(0.1 if name == "tuned" else 0.0), folder / "model.safetensors")
    if request.param in ("checkpoint", "start"):
        for step in (1, 2):
            folder = tmp_path / "run" / f"checkpoint-{step}"
            folder.mkdir(exist_ok=True)
            save_file(tensors(0.05 * step), folder / "model.safetensors")
            (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "log_history": []}))
        spoilt = folders["tuned" if request.param == "checkpoint" else "base"]
        return Pair(spoilt, ["trajectory", str(tmp_path / "run"), "--start", str(folders["base"])], run)
    spoilt = folders["base" if request.param == "base" else "tuned"]
    arguments = [str(folders["tuned"]), "--base", str(folders["base"])]
    if request.param == "verify":
        return Pair(spoilt, ["verify", *arguments[:1], str(_adapter(tmp_path)), *arguments[1:]], run)
    return Pair(spoilt, ["norms", *arguments], run)


def _adapter(folder: Path) -> Path:
    (folder / "adapter").mkdir()
    stem = f"base_model.model.{STEM}.q_proj"
    factors = {
        f"{stem}.lora_A.weight": np.ones((2, 6), "f4"),
        f"{stem}.lora_B.weight": np.ones((4, 2), "f4"),
    }
    save_file(factors, folder / "adapter" / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    return folder / "adapter"


@pytest.fixture
def sharded(pair: Pair) -> Pair:
    """The same, in two shards with an index."""
    whole = load_file(pair.spoilt / "model.safetensors")
    (pair.spoilt / "model.safetensors").unlink()
    for shard, (name, values) in zip((ONE, TWO), whole.items(), strict=True):
        save_file({name: values}, pair.spoilt / shard)
    _index(pair, dict(zip(whole, (ONE, TWO), strict=True)))
    return pair


def _index(pair: Pair, weight_map: Any, size: int = 192) -> None:
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (pair.spoilt / INDEX).write_text(json.dumps(index))


def test_sound_files_and_shards_are_read(sharded: Pair) -> None:
    said = sharded.done(sharded.sound)
    assert "warning:" not in said


def on_data_read(monkeypatch: pytest.MonkeyPatch, file: Path, happens: Callable[[], None]) -> None:
    """What happens as the values of the file are first read: its header was then."""
    read, inode = os.preadv, file.stat().st_ino
    values_begin, left = 8 + int.from_bytes(file.read_bytes()[:8], "little"), [happens]

    def spoilt(descriptor: int, buffers: Any, offset: int) -> int:
        if offset >= values_begin and os.fstat(descriptor).st_ino == inode and left:
            left.pop()()
        return read(descriptor, buffers, offset)

    monkeypatch.setattr("os.preadv", spoilt)


def test_21_a_file_that_changes_while_it_is_read(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    file = pair.spoilt / "model.safetensors"
    on_data_read(monkeypatch, file, lambda: os.utime(file, ns=(1, 1)))
    pair.done(3, "changed-while-read", str(file))


def test_22_a_failing_disk(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise OSError(5, "Input/output error")

    file = pair.spoilt / "model.safetensors"
    on_data_read(monkeypatch, file, fails)
    pair.done(4, "io-error", "Input/output error at byte", str(file))


@pytest.mark.parametrize("kind", ["folder", "FIFO", "socket", "device"])
def test_23_what_is_no_file(pair: Pair, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (pair.spoilt / "model.safetensors").unlink()
    monkeypatch.chdir(pair.spoilt)
    with socket.socket(socket.AF_UNIX) as listening:
        if kind == "folder":
            Path("model.safetensors").mkdir()
        elif kind == "FIFO":
            os.mkfifo("model.safetensors")
        elif kind == "socket":
            listening.bind("model.safetensors")
        else:
            Path("model.safetensors").symlink_to("/dev/null")
        pair.done(3)


def test_24_a_file_that_may_not_be_read(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    file, opened = pair.spoilt / "model.safetensors", os.open

    # Tests may run as root, whom modes do not stop.
    def denied(path: Any, *rest: Any, **options: Any) -> int:
        if str(path) == str(file):
            raise PermissionError(13, "Permission denied")
        return opened(path, *rest, **options)

    monkeypatch.setattr("os.open", denied)
    pair.done(4, "denied", "owner uid", str(file))


def test_25_a_cache_entry_whose_blob_is_gone(pair: Pair) -> None:
    snapshot = pair.root / "models--org--name" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to("../../blobs/abcdef")
    pair.instead(snapshot)
    # Of a link to the snapshot the path says nothing of the hub.
    pair.done(4, "broken-link", *([] if pair.spoilt.is_symlink() else ["hf download org/name"]))


def test_26_a_link_out_of_the_folder_and_one_of_the_hub_cache(pair: Pair) -> None:
    file = pair.spoilt / "model.safetensors"
    away = Path(shutil.move(file, pair.root / "elsewhere.safetensors"))
    file.symlink_to(away)
    pair.done(3, "link-outside")
    cache = pair.root / "models--org--name"
    (cache / "snapshots" / "abc").mkdir(parents=True)
    (cache / "blobs").mkdir()
    shutil.move(away, cache / "blobs" / "1")
    (cache / "snapshots" / "abc" / "model.safetensors").symlink_to("../../blobs/1")
    pair.instead(cache / "snapshots" / "abc")
    pair.done(pair.sound)


def test_27_remains_of_a_download(pair: Pair) -> None:
    (pair.spoilt / "abc.incomplete").write_bytes(b"half")
    (pair.spoilt / "abc.lock").touch()
    pair.done(pair.sound, "abc.incomplete")


def test_29_missing_shards(sharded: Pair) -> None:
    (sharded.spoilt / ONE).unlink()
    (sharded.spoilt / TWO).unlink()
    sharded.done(4, "missing-shards", ONE, TWO)


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "https://x/y.safetensors", "a\0.bin"])
def test_30_names_of_shards_that_lead_elsewhere(sharded: Pair, name: str) -> None:
    _index(sharded, {"x": name})
    sharded.done(3, "unsafe-shard-name")


def test_31_a_tensor_of_the_index_that_its_shard_lacks(sharded: Pair) -> None:
    _index(sharded, {f"{STEM}.q_proj.weight": ONE, f"{STEM}.v_proj.weight": TWO, "ghost": TWO})
    sharded.done(3, "index-mismatch", "ghost")


def test_32_a_tensor_that_the_index_lacks(sharded: Pair) -> None:
    save_file({"extra.weight": np.ones(3, "f4")} | load_file(sharded.spoilt / TWO), sharded.spoilt / TWO)
    sharded.done(sharded.sound, "extra.weight")


def test_33_a_tensor_in_two_shards(sharded: Pair) -> None:
    one = load_file(sharded.spoilt / ONE)
    save_file(load_file(sharded.spoilt / TWO) | {n: v + 1 for n, v in one.items()}, sharded.spoilt / TWO)
    sharded.done(3, "tensor-in-two-shards", f"{STEM}.q_proj.weight")
    save_file(load_file(sharded.spoilt / TWO) | one, sharded.spoilt / TWO)
    sharded.done(sharded.sound)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_34_shards_and_another_file(sharded: Pair, name: str) -> None:
    save_file(tensors(), sharded.spoilt / name)
    sharded.done(3, "ambiguous-weights", name)


def test_35_shards_of_two_saves(sharded: Pair) -> None:
    other = "model-00002-of-00005.safetensors"
    (sharded.spoilt / TWO).rename(sharded.spoilt / other)
    _index(sharded, {f"{STEM}.q_proj.weight": ONE, f"{STEM}.v_proj.weight": other})
    sharded.done(3, "mixed-shards", "-of-00002, -of-00005")


@pytest.mark.parametrize("text", ['{\n"weight_map": {,}}', '{"weight_map": ["x"]}', '{"metadata": {}}'])
def test_36_a_broken_index(sharded: Pair, text: str) -> None:
    (sharded.spoilt / INDEX).write_text(text)
    sharded.done(3, "bad-index", f"{INDEX}:{1 + text.count(chr(10))}")


def test_37_a_wrong_total_size(sharded: Pair) -> None:
    _index(sharded, {f"{STEM}.q_proj.weight": ONE, f"{STEM}.v_proj.weight": TWO}, size=193)
    sharded.done(sharded.sound, "193")


def test_38_no_index(sharded: Pair) -> None:
    (sharded.spoilt / INDEX).unlink()
    sharded.done(sharded.sound, "index")


def test_39_what_a_file_held_is_in_the_study_and_beside_a_stated_hash_compared(pair: Pair) -> None:
    out = pair.root / "out"
    pair.arguments += ["-o", str(out), "--figures", "none", "--hash"]
    pair.done(pair.sound)
    sources = json.dumps(json.loads((out / "study.json").read_text()))
    assert "sha256" in sources


@pytest.fixture
def pickled(pair: Pair) -> Pair:
    """The same as a pickle."""
    torch = pytest.importorskip("torch")
    held = {n: torch.from_numpy(v) for n, v in load_file(pair.spoilt / "model.safetensors").items()}
    (pair.spoilt / "model.safetensors").unlink()
    torch.save(held, pair.spoilt / "pytorch_model.bin")
    return pair


@pytest.mark.parametrize("how", ["flipped", "doubled", "encrypted", "cut", "bomb"])
def test_45_an_archive_that_is_damaged(pickled: Pair, how: str) -> None:
    path = pickled.spoilt / "pytorch_model.bin"
    data = bytearray(path.read_bytes())
    held = tensors(0.0 if pickled.spoilt.name == "base" else 0.1)[f"{STEM}.q_proj.weight"].tobytes()[:16]
    if how == "flipped":
        data[data.index(held) + 5] ^= 0xFF
    if how == "encrypted":
        data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data[: len(data) // 2] if how == "cut" else data)
    if how == "doubled":
        with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr(archive.namelist()[0], b"other")
    if how == "bomb":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data/0", bytes(2**25))
    pickled.done(3, "pytorch_model.bin")


@pytest.mark.usefixtures("here")
def test_46_a_module_or_an_optimizers_state(pickled: Pair) -> None:
    torch = pytest.importorskip("torch")
    for value in (torch.nn.Linear(2, 2), torch.optim.SGD([torch.nn.Parameter(torch.ones(2))]).state_dict()):
        torch.save(value, pickled.spoilt / "pytorch_model.bin")
        pickled.done(3, "not-a-state-dict")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("level", ["state_dict", "model"])
def test_47_a_nested_state_dict(pickled: Pair, level: str) -> None:
    torch = pytest.importorskip("torch")
    path = pickled.spoilt / "pytorch_model.bin"
    torch.save({level: torch.load(path), "epoch": 3}, path)
    pickled.done(pickled.sound, level)


@pytest.mark.usefixtures("here")
def test_49_tensors_of_kinds_that_cannot_be_read(pickled: Pair) -> None:
    torch = pytest.importorskip("torch")
    path = pickled.spoilt / "pytorch_model.bin"
    odd = {"sparse": torch.ones(3, 3).to_sparse(), "meta": torch.ones(3, device="meta")}
    torch.save(torch.load(path) | odd, path)
    out = pickled.root / "out"
    pickled.arguments += ["-o", str(out), "--figures", "none"]
    said = pickled.done(pickled.sound)
    if pickled.arguments[0] == "trajectory":
        assert all(f"1 tensor not followed (unsupported dtype {kind}" in said for kind in odd), said[:1500]
        return
    ledger = (out / "tables" / "coverage.csv").read_text()
    for kind in odd:
        assert [line for line in ledger.splitlines() if f",{kind}," in line and "not used" in line]


def test_48_a_trainers_own_files(pair: Pair) -> None:
    for name in ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt"):
        (pair.spoilt / name).write_bytes(b"never to be read")
    pair.done(pair.sound)
    if str(pair.spoilt) in pair.arguments:
        pair.arguments = [f"{a}/optimizer.pt" if a == str(pair.spoilt) else a for a in pair.arguments]
        pair.done(3, "trainer-state")


def test_76_a_path_that_is_not_there(pair: Pair) -> None:
    gone = pair.spoilt if str(pair.spoilt) in pair.arguments else pair.spoilt.parent
    shutil.rmtree(gone)
    pair.done(4, str(gone))
