"""What tunescope itself leaves on disk between runs, and what others state of files: states, locks, sums."""

import hashlib
import json
from pathlib import Path

import numpy as np

import tunescope
from tunescope.demo.output import RECORD, prepared
from tunescope.questions.attribution.state import NodeStore
from tunescope.questions.importance.moments import Halves
from tunescope.questions.importance.resume import Progress
from tunescope.questions.norms.study import norms
from tunescope.reader import reading
from tunescope.writing import beside, held

from . import packing
from .kind import Kind, _adapter
from .mutations import bytewise, json_values, tokenwise

_ZIP = {"bytes": bytewise, "members": packing.zip_members}
_TEXT = {"bytes": bytewise, "tokens": tokenwise}
_JSON = {"bytes": bytewise, "values": json_values}
_TABLE = {"bytes": bytewise, "values": packing.parquet_values}
_PRINT = "a fingerprint"


def _importance(folder: Path) -> Path:
    halves = Halves()
    for number in range(4):
        halves.add(number, np.array([1.0, 2.0, float(number)]))
    Progress(folder, "process-0-of-1", _PRINT).save({"taylor": halves}, {"done": 4}, force=True)
    return folder / "process-0-of-1.npz"


def _attribution(folder: Path) -> Path:
    _store(folder).save((1, 3), np.arange(6.0).reshape(2, 3))
    return next(folder.glob("*-1-3.npz"))


def _store(folder: Path) -> NodeStore:
    return NodeStore(folder, [np.arange(3.0)])


def _lock(folder: Path) -> Path:
    path = beside(folder / "study", ".lock")
    path.write_text("process 12345 on a-host-that-is-gone\n")
    return path


def _held(lock: Path) -> None:
    with held(lock.parent / "study"):
        pass


def _sidecar(folder: Path) -> Path:
    weights = _adapter(folder) / "adapter_model.safetensors"
    path = folder / "SHA256SUMS"
    path.write_text(
        f"{hashlib.sha256(weights.read_bytes()).hexdigest()}  {weights.name}\n{'0' * 64}  other\n"
    )
    return path


def _compared(sidecar: Path) -> object:
    with reading(check_hashes=True):
        return norms(sidecar.parent)


def _own_sidecar(folder: Path) -> Path:
    weights = _adapter(folder) / "adapter_model.safetensors"
    path = weights.with_name(f"{weights.name}.sha256")
    path.write_text(f"SHA256 ({weights.name}) = {hashlib.sha256(weights.read_bytes()).hexdigest()}\n")
    return path


def _hub_record(folder: Path) -> Path:
    """What the hub's client writes beside files that it fetched into a folder."""
    weights = _adapter(folder) / "adapter_model.safetensors"
    path = folder / ".cache" / "huggingface" / "download" / f"{weights.name}.metadata"
    path.parent.mkdir(parents=True)
    path.write_text(f"{'c' * 40}\n{hashlib.sha256(weights.read_bytes()).hexdigest()}\n1700000000.5\n")
    return path


def _earlier(folder: Path) -> Path:
    norms(_adapter(folder / "a")).save(folder / "study", figures=(), report=False)
    return folder / "study" / "study.json"


def _written_over(record: Path) -> object:
    damaged = record.read_bytes()
    study = norms(record.parents[1] / "a").save(record.parent, overwrite=True, figures=(), report=False)
    record.write_bytes(damaged)
    return study


def _sealed(folder: Path) -> Path:
    """A saved study whose record says of every file what it holds by now; its readout."""
    return _earlier(folder).parent / "tables" / "readout.json"


def _sealed_table(folder: Path) -> Path:
    return _sealed(folder).with_name("norms.parquet")


def _read_sealed(path: Path) -> object:
    folder = path.parents[1]
    record = json.loads((folder / "study.json").read_text())
    record["files"][f"tables/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "study.json").write_text(json.dumps(record))
    return tunescope.read(folder)


def _demo(folder: Path) -> Path:
    return prepared(folder / "demo", "demo", ["one", "two"], overwrite=False) / RECORD


def _salvaged(weights: Path) -> object:
    with reading(salvage=True):
        return norms(weights.parent)


STATES = {
    "importance_state": Kind(_importance, lambda p: Progress(p.parent, p.stem, _PRINT).load(), _ZIP),
    "attribution_state": Kind(_attribution, lambda p: _store(p.parent).load((1, 3)), _ZIP),
    "lock": Kind(_lock, _held, _TEXT),
    "sidecar": Kind(_sidecar, _compared, _TEXT),
    "own_sidecar": Kind(_own_sidecar, _compared, _TEXT),
    "hub_record": Kind(_hub_record, lambda p: _compared(p.parents[2]), _TEXT),
    "earlier_record": Kind(_earlier, _written_over, _JSON, slow=8),
    "sealed_readout": Kind(_sealed, _read_sealed, _JSON),
    "sealed_table": Kind(_sealed_table, _read_sealed, _TABLE, slow=8),
    "demo_record": Kind(_demo, lambda p: prepared(p.parent, "demo", ["one", "two"], overwrite=True), _JSON),
    "salvaged": Kind(
        lambda folder: _adapter(folder) / "adapter_model.safetensors",
        _salvaged,
        {"bytes": bytewise, "header": packing.safetensors_header},
    ),
}
