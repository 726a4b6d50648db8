"""Attribution on GPUs: the command's cost beside plain adapter passes, and two processes beside one.

    python -m benchmarks.attribution_gpu --out benchmarks/results/attribution_gpu.json
    python -m benchmarks.attribution_gpu --tiny          # a rehearsal on the CPU

A model of random bfloat16 weights and a LoRA adapter of random factors are written to disk. `tunescope
attribute` runs under `torchrun` with one process and with two; the tables are compared with each other, and
two runs of one process with each other, since kernels on a GPU add in no fixed order. The plain
pass is PEFT's own model, forward and backward with gradients of the adapter alone, on the same batches.
"""

import argparse
import hashlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from benchmarks.capture_gpu import settle
from benchmarks.importance_gpu import TINY, build, machine
from benchmarks.importance_passes_gpu import write_texts
from benchmarks.tokens import write_tokenizer
from tunescope.questions.attribution.study import attribute

ONE_B = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 32000,
}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BATCH = 8


def write(work: Path, shape: dict[str, int], tokens: int, sequences: int) -> None:
    """The base, an adapter on all its linear layers, and texts of one length."""
    model = build(shape, "cpu")
    model.save_pretrained(work / "base")
    write_tokenizer(work / "base")
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(work / "adapter")
    write_texts(work / "texts.jsonl", [tokens + 5] * sequences)


def plain_seconds(work: Path, tokens: int, rounds: int) -> float:
    """Median seconds of one batch through PEFT's model, forward and backward."""
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(work / "base", dtype=torch.bfloat16).to(DEVICE)
    model = PeftModel.from_pretrained(base, work / "adapter", is_trainable=True).to(DEVICE)
    seconds = []
    for seed in range(rounds):
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(0, 200, (BATCH, tokens), generator=generator).to(DEVICE)
        settle()
        start = time.perf_counter()
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        settle()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])


def own_seconds(work: Path, tokens: int, sequences: int) -> dict[str, Any]:
    """Median seconds between two calls of the progress of the study, and what it says of its nodes."""
    marks: list[float] = []
    study = attribute(
        str(work / "adapter"), str(work / "base"), str(work / "texts.jsonl"), sequences=sequences,
        max_length=tokens, batch_size=BATCH, device=DEVICE, dtype="bfloat16",
        tell=lambda *_: marks.append(time.perf_counter()),
    )  # fmt: skip
    between = [after - before for before, after in itertools.pairwise(marks)]
    told = {name: study.readout.get(name) for name in ("nodes", "stopped", "residual", "gain")}
    cells = study.table.frame["attribution"].to_numpy()
    return {
        "whole": marks[-1] - marks[0], "calls": len(marks), "median": statistics.median(between),
        "cells": cells.tolist(), **told,
    }  # fmt: skip


def command(work: Path, processes: int, tokens: int, sequences: int) -> dict[str, Any]:
    """Wall seconds of the command under torchrun, and the hash of its table."""
    out = work / f"study-{processes}"
    line = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "-m", "tunescope",
        "attribute", f"made={work / 'adapter'}", "--base", str(work / "base"), "--data",
        str(work / "texts.jsonl"), "--sequences", str(sequences), "--max-length", str(tokens),
        "--dtype", "bfloat16", "--figures", "none", "--overwrite", "-o", str(out),
    ]  # fmt: skip
    start = time.perf_counter()
    subprocess.run(line, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    seconds = time.perf_counter() - start
    table = (out / "tables" / "attribution.csv").read_bytes()
    return {"seconds": seconds, "sha256": hashlib.sha256(table).hexdigest()}


def main() -> None:
    """Write, measure, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--work", type=Path, default=Path("/tmp/attribution_gpu"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    shape = TINY if options.tiny else ONE_B
    write(options.work, shape, options.tokens, options.sequences)
    figures: dict[str, Any] = {"machine": machine(), "shape": shape}

    def figure(name: str, value: Any) -> Any:
        figures[name] = value
        print(f"{name}: {json.dumps(value)}", flush=True)
        if options.out is not None:
            options.out.write_text(json.dumps(figures, indent=1) + "\n")
        return value

    plain = figure("plain batch", plain_seconds(options.work, options.tokens, 12))
    own = own_seconds(options.work, options.tokens, options.sequences)
    again = own_seconds(options.work, options.tokens, options.sequences)
    cells, others = np.array(own.pop("cells")), np.array(again.pop("cells"))
    figure(
        "largest difference of two runs of one process",
        float(np.abs(cells - others).max() / np.abs(cells).max()),
    )
    figure("attribute", own)
    batches = own["nodes"] * options.sequences / BATCH
    figure("ratio to nodes x sequences plain passes", own["whole"] / (batches * plain))
    one = figure("one process", command(options.work, 1, options.tokens, options.sequences))
    two = figure("two processes", command(options.work, 2, options.tokens, options.sequences))
    figure("tables equal", one["sha256"] == two["sha256"])
    figure("ratio one process to two", one["seconds"] / two["seconds"])


if __name__ == "__main__":
    main()
