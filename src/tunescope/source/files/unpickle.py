"""Turn a PyTorch pickle into raw arrays, in a process of its own with a memory limit.

Run as a script: reads the pickle with `torch.load(weights_only=True)`, writes `tensors.bin` and
`index.json` into the folder that it is given. Nothing else of this package is imported here.
"""

import contextlib
import errno
import json
import re
import struct
import sys
import warnings
from pathlib import Path
from typing import IO, Any

OLDEST_TORCH = (2, 10)
_NESTED = ("state_dict", "model", "module", "model_state_dict")
_NAMES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8",
    "bool": "BOOL",
}  # fmt: skip


# What torch and pickle raise over damaged bytes; nothing but a call of theirs stands under it.
_DAMAGE = (
    EOFError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, AssertionError,
    ImportError, OSError, struct.error,
)  # fmt: skip


class Refusal(Exception):
    """What is wrong with the pickle: a slug, a sentence, what was found, and the tensor meant."""

    def __init__(self, slug: str, what: str, found: object = None, tensor: str | None = None) -> None:
        super().__init__(what)
        self.document = {
            "slug": slug,
            "what": what,
            "found": None if found is None else str(found),
            "tensor": tensor,
        }


def main(path: str, folder: str, budget: str) -> None:
    """Convert the pickle at `path`; `budget` bounds the bytes of all its tensors together."""
    out = Path(folder)
    try:
        document = _convert(Path(path), out, int(budget))
    except Refusal as refusal:
        document = {"refusal": refusal.document}
    except MemoryError:
        document = {
            "refusal": Refusal(
                "pickle-memory", "loading the pickle needs more memory than its size allows for"
            ).document
        }
    (out / "index.json").write_text(json.dumps(document))


def _convert(path: Path, out: Path, budget: int) -> dict[str, Any]:
    torch = _torch()
    _limit_memory(budget)
    loaded = _load(torch, path)
    value, unwrapped = _unwrap(torch, loaded)
    named = {str(i): v for i, v in enumerate(value)} if isinstance(value, list | tuple) else dict(value)
    _check_budget(torch, named, budget)
    tensors: list[dict[str, Any]] = []
    with (out / "tensors.bin").open("wb") as stream:
        for name, tensor in named.items():
            tensors.append(_write(torch, str(name), tensor, stream))
    return {"tensors": tensors, "unwrapped": unwrapped, "listed": isinstance(value, list | tuple)}


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise Refusal("no-torch", "reading a pickle needs PyTorch, which is not installed") from None
    version = tuple(int(p) for p in torch.__version__.split("+")[0].split(".")[:2])
    if version < OLDEST_TORCH:
        raise Refusal("old-torch", "this PyTorch cannot read pickles safely", f"torch {torch.__version__}")
    torch.set_num_threads(1)
    return torch


def _limit_memory(budget: int) -> None:
    """Allow the address space in use now, and what loading the file can honestly need."""
    try:
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (used + 3 * budget + 2**29,) * 2)


def _load(torch: Any, path: Path) -> Any:
    import pickle

    try:
        # Its warnings about old storages are for whoever wrote the file.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise Refusal(
            "unsafe-pickle", "the pickle holds what plain weights never need", _unloadable(str(error))
        ) from None
    except RuntimeError as error:
        text = str(error)
        if "out of bounds for storage" in text:
            raise Refusal(
                "storage-too-small", "a tensor is larger than the storage behind it", text
            ) from None
        if "alloc" in text and "memory" in text:
            raise MemoryError from None
        raise Refusal("bad-pickle", "the pickle is damaged", " ".join(text.split())[:300]) from None
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            raise MemoryError from None
        raise Refusal("bad-pickle", "the pickle is damaged", f"{type(error).__name__}: {error}") from None


def _unloadable(text: str) -> str:
    """What torch refused to load, without its advice on how to load it all the same."""
    import pickletools

    if called := re.search(r"GLOBAL [\w.]+", text):
        return called[0]
    if code := re.search(r"Unsupported operand (\d+)", text):
        names = {str(ord(known.code)): known.name for known in pickletools.opcodes}
        return f"the instruction {names.get(code[1], code[1])}, which PyTorch writes only where asked to"
    said = re.search(r"WeightsUnpickler error: ([^\n]+)", text)
    return said[1][:300] if said else "something else than tensors"


def _unwrap(torch: Any, loaded: Any) -> tuple[Any, str | None]:
    """The mapping or list of tensors; one known level around it is taken off and named."""
    if isinstance(loaded, dict):
        if {"state", "param_groups"} <= set(loaded):
            raise Refusal(
                "not-a-state-dict", "this is an optimizer's state, not weights", "state, param_groups"
            )
        for key in _NESTED:
            if isinstance(loaded.get(key), dict) and _has_tensor(torch, loaded[key].values()):
                return loaded[key], key
    if isinstance(loaded, dict) and _has_tensor(torch, loaded.values()):
        return loaded, None
    if isinstance(loaded, list | tuple) and _has_tensor(torch, loaded):
        return loaded, None
    kind = type(loaded).__name__
    found = f"{kind} of {', '.join(map(str, list(loaded)[:5]))}" if isinstance(loaded, dict) else kind
    raise Refusal("not-a-state-dict", "the pickle holds no state dict; save model.state_dict()", found)


def _has_tensor(torch: Any, values: Any) -> bool:
    return any(isinstance(v, torch.Tensor) for v in values)


def _check_budget(torch: Any, named: dict[Any, Any], budget: int) -> None:
    """Refuse tensors that would grow far beyond the file once written out, before any is copied."""
    total, largest = 0, (0, "")
    for name, tensor in named.items():
        if isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided:
            size = tensor.numel() * tensor.element_size()
            total, largest = total + size, max(largest, (size, str(name)))
    if total > budget:
        raise Refusal(
            "expanded-tensor",
            "the tensors would fill far more than the file that holds them",
            f"{total} bytes, the largest {largest[0]}",
            largest[1],
        )


def _write(torch: Any, name: str, tensor: Any, stream: IO[bytes]) -> dict[str, Any]:
    offset = stream.tell()
    if (reason := _unsupported(torch, tensor)) is not None:
        shape = list(getattr(tensor, "shape", ()))
        return {"name": name, "dtype": reason, "shape": shape, "offset": offset, "nbytes": 0}
    plain = tensor.detach().contiguous()
    dtype = _NAMES[str(plain.dtype).removeprefix("torch.")]
    # Bytes of any dtype: torch hands bfloat16 and 8-bit floats to NumPy only as integers.
    raw = plain.reshape(-1).view(torch.uint8).numpy() if plain.numel() else b""
    stream.write(memoryview(raw))
    return {
        "name": name,
        "dtype": dtype,
        "shape": list(plain.shape),
        "offset": offset,
        "nbytes": stream.tell() - offset,
    }


def _unsupported(torch: Any, tensor: Any) -> str | None:
    if not isinstance(tensor, torch.Tensor):
        return f"no tensor but {type(tensor).__name__}"
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        return f"tensor subclass {type(tensor).__name__}"
    if tensor.layout != torch.strided:
        return f"sparse tensor ({str(tensor.layout).removeprefix('torch.')})"
    if tensor.is_quantized:
        return f"quantised tensor ({str(tensor.dtype).removeprefix('torch.')})"
    if tensor.is_meta:
        return "meta tensor without data"
    name = str(tensor.dtype).removeprefix("torch.")
    return None if name in _NAMES else name


if __name__ == "__main__":
    main(*sys.argv[1:4])
