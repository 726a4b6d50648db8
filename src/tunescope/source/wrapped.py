"""Adapters inside the save of a whole model, as accelerate's `save_state` writes a model that PEFT wrapped.

Such a file of weights holds the factors, the layers that they adapt (`…base_layer.weight`) and all the rest
of the model under one name (`model.safetensors`), which says nothing of an adapter.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile, ZipFile

from tunescope.source.files.container import Read
from tunescope.source.files.documents import read_object
from tunescope.source.files.tensors import NOT_UNDERSTOOD, Ledger
from tunescope.source.formats.leftovers import BASE_COPY, COPY_OF_BEFORE, SAVED, SAVED_EMBEDDING
from tunescope.words import counted, first

# The factors that PEFT puts beside a layer that it adapts, and the layer itself.
FACTOR = re.compile(r"\.(?:lora|vera|randlora|hada|lokr|oft|boft|hra|ia3)_\w+(?:\.|$)")
_ADAPTED = re.compile(r"\.base_layer(?=\.)")
_SAVED, _BEFORE = re.compile(r"\.modules_to_save(?=\.)"), re.compile(r"\.original_module(?=\.)")
_FILES = re.compile(
    r"^(?:pytorch_|diffusion_pytorch_)?model(?:-\d{5}-of-\d{5})?\.(?P<kind>safetensors|bin)(?P<index>\.index\.json)?$"
)
# Names of a model in a pickle take less; more is not looked through.
_MOST = 1 << 26
# The bit of a ZIP member's flags that says that it is encrypted.
_ENCRYPTED = 1
BESIDE = "weight of the model, saved beside its adapter"


def holds_adapter(names: Iterable[str]) -> bool:
    """Whether these are names of a model that an adapter is wrapped around.

    >>> holds_adapter(["q_proj.base_layer.weight", "q_proj.lora_A.default.weight"])
    True
    """
    listed = list(names)
    return any(map(_ADAPTED.search, listed)) and any(map(FACTOR.search, listed))


def wrapped_adapter(folder: Path, names: Sequence[str], read: Read) -> list[Path]:
    """The files of a model's save in a folder, given its `names`, where they hold an adapter; else none.

    Of shards it is their index where there is one. Each file is opened by `read`, a pickle only where its
    bytes spell such names: listing one takes a process of its own.
    """
    found = [(match, folder / name) for name in names if (match := _FILES.match(name))]
    for kind in ("safetensors", "bin"):
        files = [path for match, path in found if match["kind"] == kind and not match["index"]]
        index = [path for match, path in found if match["kind"] == kind and match["index"]]
        if files:
            held = (name for path in index or files for name in _names(path, read))
            return (index or files) if holds_adapter(held) else []
    return []


def _names(path: Path, read: Read) -> Iterable[str]:
    if path.suffix == ".json":
        listed = read_object(path, "bad-index", "the shard index").get("weight_map")
        return listed if isinstance(listed, dict) else ()
    return read(path).tensors if path.suffix == ".safetensors" or _may_hold(path) else ()


def _may_hold(path: Path) -> bool:
    """Whether a pickle can hold names of a wrapped model, by the bytes of its names; nothing is loaded.

    `torch.save` keeps all names in one member of a ZIP archive; of any other file it cannot be told so.
    """
    try:
        with ZipFile(path) as archive:
            member = next((m for m in archive.infolist() if m.filename.endswith("/data.pkl")), None)
            if member is None or member.file_size > _MOST:
                return True
            if member.compress_type != ZIP_STORED or member.flag_bits & _ENCRYPTED:
                return True
            spelled = archive.read(member).decode("utf-8", "replace")
    except (OSError, BadZipFile, ValueError, NotImplementedError, EOFError):
        # Whoever lists the file says what is wrong with it.
        return True
    return ".base_layer." in spelled and FACTOR.search(spelled) is not None


def leave_model(ledger: Ledger) -> None:
    """Give the weights of a model that was saved around its adapter their reasons; say that they are there.

    Modules that were trained whole are known by `modules_to_save`; of all others nothing says that they were.
    """
    if not holds_adapter(ledger.tensors):
        return
    unknown = [entry.tensor for entry in ledger.close() if entry.reason in (NOT_UNDERSTOOD, SAVED_EMBEDDING)]
    beside = []
    for name in unknown:
        if _BEFORE.search(name):
            ledger.settle([name], COPY_OF_BEFORE)
        elif _SAVED.search(name):
            ledger.settle([name], SAVED)
        elif _ADAPTED.search(name):
            ledger.settle([name], BASE_COPY)
        elif not FACTOR.search(name):
            ledger.settle([name], BESIDE)
            beside.append(name)
    if beside:
        lie = counted(len(beside), "weight of the model lies", "weights of the model lie")
        text = f"{lie} around the adapter; they were not compared with anything: {first(beside, 3)}"
        ledger.notice("model-around", text, beside[0])
