"""One contender of the norms benchmark, alone: `python -m benchmarks.norms_contenders NAME FOLDER`."""

import json
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Norms = dict[str, float]
SCALE = 2.0


def tensors(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Names and bfloat16 bit patterns, in file order."""
    with (folder / "adapter_model.safetensors").open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(length))
        for name, entry in header.items():
            if name != "__metadata__":
                start, end = entry["data_offsets"]
                file.seek(8 + length + start)
                yield name, np.frombuffer(file.read(end - start), np.uint16).reshape(entry["shape"])


def float32(bits: np.ndarray) -> np.ndarray:
    """bfloat16 bits as float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def read(folder: Path) -> Norms:
    """The physical limit: every byte once."""
    with (folder / "adapter_model.safetensors").open("rb") as file:
        while file.read(1 << 20):
            pass
    return {}


def gram32(folder: Path) -> Norms:
    """Read, convert, AAᵀ and BᵀB in float32, contract in float64."""
    grams: dict[str, np.ndarray] = {}
    norms = {}
    for name, bits in tensors(folder):
        x = float32(bits)
        stem = name.rsplit(".lora_", 1)[0]
        gram = x @ x.T if ".lora_A" in name else x.T @ x
        if stem in grams:
            norms[stem] = SCALE * float(np.sqrt((grams.pop(stem).astype(np.float64) * gram).sum()))
        else:
            grams[stem] = gram
    return norms


def notebook(folder: Path) -> Norms:
    """The plain notebook way: multiply B@A out in float32 and take its norm in float32."""
    factors = {name: float32(bits) for name, bits in tensors(folder)}
    stems = [name.rsplit(".lora_", 1)[0] for name in factors if ".lora_A" in name]
    return {
        s: SCALE * float(np.linalg.norm(factors[f"{s}.lora_B.weight"] @ factors[f"{s}.lora_A.weight"]))
        for s in stems
    }


def _tunescope(folder: Path, spectra: bool) -> Norms:
    from tunescope.questions.norms.study import norms

    rows = norms(str(folder), spectra=spectra).table.frame
    return {
        f"base_model.model.model.layers.{layer}.{module}": norm
        for layer, module, norm in rows.select("layer", "module_type", "frobenius_norm").iter_rows()
    }


def tunescope_no_spectra(folder: Path) -> Norms:
    """Ours, without spectra."""
    return _tunescope(folder, spectra=False)


def tunescope_full(folder: Path) -> Norms:
    """Ours, every column."""
    return _tunescope(folder, spectra=True)


def gradience(folder: Path) -> Norms:
    """gradience's audit with its defaults."""
    from gradience.vnext.audit.lora_audit import audit_lora_peft_dir

    layers = audit_lora_peft_dir(folder).layers
    return {layer.name: float(layer.delta_fro_norm) for layer in layers if hasattr(layer, "delta_fro_norm")}


def weightwatcher(folder: Path) -> Norms:
    """weightwatcher's analysis of the adapter's two smallest modules, with its defaults."""
    from safetensors.torch import load_file, save_file
    from weightwatcher import WeightWatcher

    small = folder.parent / "llama8b-r64-kv"
    small.mkdir(exist_ok=True)
    both = {
        k: v.float()
        for k, v in load_file(folder / "adapter_model.safetensors").items()
        if "k_proj" in k or "v_proj" in k
    }
    save_file(both, small / "adapter_model.safetensors")
    (small / "adapter_config.json").write_text((folder / "adapter_config.json").read_text())
    details = WeightWatcher(log_level="ERROR").analyze(model=str(small), peft=True)
    assert len(details), "weightwatcher found no layers"
    return {}


CONTENDERS: dict[str, Callable[[Path], Norms]] = {
    f.__name__: f
    for f in (read, gram32, notebook, tunescope_no_spectra, tunescope_full, gradience, weightwatcher)
}
# Imported before the clock starts, so that every contender is timed without its imports.
IMPORTS = {
    "tunescope_no_spectra": ("polars", "ml_dtypes", "tunescope.questions.norms.study"),
    "tunescope_full": ("polars", "ml_dtypes", "tunescope.questions.norms.study"),
    "gradience": ("torch", "safetensors.torch", "gradience.vnext.audit.lora_audit"),
    "weightwatcher": ("torch", "safetensors.torch", "weightwatcher"),
}


def reference(folder: Path) -> Norms:
    """‖sBA‖_F in float64, from the Householder QR factors of float64 copies."""
    kept: dict[str, np.ndarray] = {}
    norms = {}
    for name, bits in tensors(folder):
        stem, x = name.rsplit(".lora_", 1)[0], float32(bits).astype(np.float64)
        R = np.linalg.qr(x.T if ".lora_A" in name else x, mode="r")
        if stem in kept:
            norms[stem] = SCALE * float(np.linalg.norm(kept.pop(stem) @ R.T))
        else:
            kept[stem] = R
    return norms


def main() -> None:
    """Run one contender and print its figures as JSON."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    for module in IMPORTS.get(name, ()):
        __import__(module)
    before = _memory("VmRSS")
    start = time.process_time()
    norms = CONTENDERS[name](folder)
    seconds = time.process_time() - start
    peak = _memory("VmHWM") - before
    print(json.dumps(_figures(name, folder, norms, seconds, peak / 1024)))


def _memory(field: str) -> int:
    """Resident kilobytes now (`VmRSS`) or at the peak (`VmHWM`); rusage would count the parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(field)))


def _figures(name: str, folder: Path, norms: Norms, seconds: float, peak: float) -> dict[str, Any]:
    layers = int(folder.name.rsplit("-", 1)[1])
    modules = 2 if name == "weightwatcher" else 7 * layers
    exact = reference(folder) if norms else {}
    matched = [abs(norms[stem] / exact[stem] - 1) for stem in exact if stem in norms]
    # weightwatcher measured only K and V: scaled by their number, which flatters it (they are the smallest).
    share = 112.0 if name == "weightwatcher" else 32 / layers
    error = max(matched) if matched else None
    return {
        "cpu_seconds": seconds,
        "peak_mb": peak,
        "share": share,
        "modules": modules,
        "max_relative_error": error,
    }


if __name__ == "__main__":
    main()
