"""What tunescope itself leaves on disk between runs, and what others state of files: states, locks, sums."""

import hashlib
from pathlib import Path

import numpy as np

from tunescope.questions.attribution.state import NodeStore
from tunescope.questions.importance.moments import Halves
from tunescope.questions.importance.resume import Progress
from tunescope.questions.norms.study import norms
from tunescope.reader import reading
from tunescope.writing import beside, held

from . import packing
from .kind import Kind, _adapter
from .mutations import bytewise, tokenwise

_ZIP = {"bytes": bytewise, "members": packing.zip_members}
_TEXT = {"bytes": bytewise, "tokens": tokenwise}
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


def _salvaged(weights: Path) -> object:
    with reading(salvage=True):
        return norms(weights.parent)


STATES = {
    "importance_state": Kind(_importance, lambda p: Progress(p.parent, p.stem, _PRINT).load(), _ZIP),
    "attribution_state": Kind(_attribution, lambda p: _store(p.parent).load((1, 3)), _ZIP),
    "lock": Kind(_lock, _held, _TEXT),
    "sidecar": Kind(_sidecar, _compared, _TEXT),
    "salvaged": Kind(
        lambda folder: _adapter(folder) / "adapter_model.safetensors",
        _salvaged,
        {"bytes": bytewise, "header": packing.safetensors_header},
    ),
}
