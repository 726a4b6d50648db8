"""Cost of capturing at every optimizer step, and a sweep, at Llama-3.2-3B shape on one GPU.

The model has random weights of the true sizes, nf4 with bfloat16 compute, LoRA of rank 16 on all
projections (392 matrices) for the cost and on attention for the sweep, as in the published study. Prints a
table and writes JSON: `python -m benchmarks.capture_gpu --out FOLDER [--tiny]`; `--tiny` is a rehearsal.
"""

import argparse
import gc
import json
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer

from benchmarks.tokens import write_tokenizer
from tunescope.lm.pretrained import load_tokenizer
from tunescope.training import Recipe, TrainingCapture, finetune
from tunescope.training.collation import Examples, Padding
from tunescope.training.domains import read_domains
from tunescope.training.model import load_base, prepare
from tunescope.training.motion import Motion
from tunescope.training.progress import Meter
from tunescope.training.recording import Recording
from tunescope.training.rows import capture_rows, labels, metadata
from tunescope.training.run import Run, arguments
from tunescope.training.trainable import trainable

SHAPE = {
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 28,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 128256,
    "tie_word_embeddings": True,
}
TINY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 512,
    "tie_word_embeddings": True,
}


def write_model(folder: Path, shape: dict[str, Any]) -> None:
    """A Llama of this shape with random bfloat16 weights, and a tokenizer of one token a byte."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = LlamaForCausalLM(LlamaConfig(**shape, dtype=torch.bfloat16)).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="2GB")
    write_tokenizer(folder)


def write_data(folder: Path, rows: int, length: int) -> dict[str, str]:
    """Two domains whose every row fills the whole sequence: sums, and squares."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, term in (
        ("sums", lambda i: f"{i}+{i + 1}={2 * i + 1}; "),
        ("squares", lambda i: f"{i}^2={i * i}; "),
    ):
        path = folder / f"{name}.jsonl"
        texts = ["".join(term(7 * row + step) for step in range(length)) for row in range(rows)]
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        files[name] = str(path)
    return files


def settle() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def capture_cost(recipe: Recipe, data: dict[str, str], work: Path, steps: dict[str, int]) -> dict[str, Any]:
    """Step time without and with a capture at every step, in turn, and the capture alone."""
    domain = read_domains(data, load_tokenizer(recipe.model), recipe)["sums"]
    model = prepare(load_base(recipe), recipe)
    times: dict[str, list[float]] = {"without": [], "with": [], "going on": []}
    inside: dict[str, list[float]] = {"with": [], "going on": []}
    parts = trainable(model)
    start = {name: parameter.detach().clone() for name, parameter in parts.parameters.items()}
    for turn, kind in enumerate(("without", "with", "without", "with", "going on")):
        # From its start, as a run is, where B is zero; one more goes on from where the last one ended.
        if kind != "going on":
            put_back(parts.parameters, start)
        capture = TrainingCapture(work / f"turn-{turn}", every_steps=1)
        meter = Meter(lambda *_: None)
        run = Run("sums", 2e-4, 0, work)
        args = arguments(run, recipe, len(domain.train), [], torch.cuda.is_available())
        args.max_steps, args.save_strategy = steps["without" if kind == "without" else "with"], "no"
        trainer = Trainer(
            model=model,
            args=args,
            train_dataset=Examples(domain.train),
            data_collator=Padding(0),
            callbacks=[meter] if kind == "without" else [capture, meter],
        )
        trainer.train()
        # The first steps choose kernels and allocate.
        times[kind] += meter.seconds[3:]
        if kind != "without":
            inside[kind].append(capture.seconds / capture.captures)
            if capture.failure:
                raise capture.failure
    motion = Motion(parts, start)
    writing = Recording(work / "alone", metadata(parts))
    writing.begin(0)
    names, values = labels(parts), motion.measure()
    written = median_seconds(lambda: writing.append(1, capture_rows(names, values, 1, 0.1, 2e-4, 1.0)))
    return {
        "matrices": len(parts.matrices),
        "trainable_parameters": sum(p.numel() for p in parts.parameters.values()),
        "step_seconds_without": statistics.median(times["without"]),
        "step_seconds_with": statistics.median(times["with"]),
        "statistics_seconds": median_seconds(motion.measure),
        "writing_seconds": written,
        "captures": steps["with"] * 2,
        "capture_seconds": statistics.median(inside["with"]),
        "capture_share": statistics.median(inside["with"]) / statistics.median(times["without"]),
        "capture_seconds_going_on": inside["going on"][0],
        "peak_device_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        "step_seconds": times,
    }


def put_back(parameters: Mapping[str, torch.Tensor], start: Mapping[str, torch.Tensor]) -> None:
    """Set the trained weights to what they were."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(start[name])


def median_seconds(action: Callable[[], Any]) -> float:
    """Median seconds of an action that leaves the device at rest."""
    seconds = []
    for _ in range(30):
        settle()
        began = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[5:])


def release() -> None:
    """Give the device's memory back, so that the sweep's peak is its own."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def sweep(recipe: Recipe, data: dict[str, str], work: Path) -> list[dict[str, Any]]:
    """Two domains at two rates through `finetune`, with a capture at every step."""
    began = time.perf_counter()
    runs = finetune(
        recipe, data, work / "runs", rates=[2e-4, 1e-3], listener=lambda event: tell(event, began)
    )
    rows = []
    for run in runs:
        record = run.record
        own = record["losses"][run.domain]
        rows.append({"run": run.name, "steps": record["steps"], "losses": own, **record["effort"]})
    return rows


def tell(event: Any, began: float) -> None:
    """One line for each phase of a run."""
    if event.phase != "training":
        print(f"{time.perf_counter() - began:7.1f} s  {event.run}  {event.phase}", flush=True)


def device_name() -> str:
    """What was measured on."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU (rehearsal)"


def table(cost: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The results as text."""
    share = 100 * cost["capture_share"]
    lines = [
        f"{cost['matrices']} matrices, {cost['trainable_parameters']:,} parameters, {device_name()}",
        f"step without capture   {1e3 * cost['step_seconds_without']:9.2f} ms",
        f"step with capture      {1e3 * cost['step_seconds_with']:9.2f} ms",
        f"capture                {1e3 * cost['capture_seconds']:9.2f} ms = {share:.2f} % of a step",
        f"capture, B not from 0  {1e3 * cost['capture_seconds_going_on']:9.2f} ms",
        f"statistics alone       {1e3 * cost['statistics_seconds']:9.2f} ms",
        f"writing, in background {1e3 * cost['writing_seconds']:9.2f} ms",
        f"{'run':24} {'steps':>5} {'s/step':>8} {'capture':>8} {'peak GB':>8} {'before':>8} {'after':>8}",
    ]
    for row in rows:
        peak, share = (row["peak_device_bytes"] or 0) / 1e9, 100 * row["capture_share"]
        losses = f"{row['losses']['before']:8.4f} {row['losses']['after']:8.4f}"
        step = row["step_seconds_median"]
        lines.append(f"{row['run']:24} {row['steps']:5} {step:8.3f} {share:7.2f}% {peak:8.2f} {losses}")
    return "\n".join(lines)


def main() -> None:
    """Run both measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("/tmp/capture_gpu"))
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    length = 32 if options.tiny else 512
    write_model(options.work / "model", TINY if options.tiny else SHAPE)
    data = write_data(options.work / "data", 36 if options.tiny else 100, length)
    common = {"model": str(options.work / "model"), "max_length": length, "captures_per_epoch": 10**6}
    steps = {"without": 5, "with": 5} if options.tiny else {"without": 15, "with": 100}
    cost = capture_cost(Recipe(**common, targets="all"), data, options.work, steps)
    document = {"device": device_name(), "torch": torch.__version__, "cost": cost}
    target = options.out / "capture_gpu.json"
    target.write_text(json.dumps(document, indent=2))
    release()
    rows = sweep(Recipe(**common, held_out_rows=16, checkpoints_per_epoch=2), data, options.work)
    document |= {"sweep": rows, "nvidia_smi": smi()}
    target.write_text(json.dumps(document, indent=2))
    print(table(cost, rows))


def smi() -> str | None:
    """The driver's own description of the device."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


if __name__ == "__main__":
    main()
