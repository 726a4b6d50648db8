"""Importance on a GPU as the command runs it: seconds for each sequence beside the plain eager pass.

    python -m benchmarks.importance_passes_gpu --out benchmarks/results/importance_passes_gpu.json
    python -m benchmarks.importance_passes_gpu --tiny          # a rehearsal on the CPU

A model of the shape of Qwen3-8B with random bfloat16 weights is written to disk and scored through the study
of `tunescope importance`; a sequence's time is that between two calls of its progress. Every figure is
printed and saved as it comes, and a run that is started again goes on with those that are missing.
"""

import argparse
import gc
import itertools
import json
import os
import random
import statistics
import string
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.capture_gpu import settle
from benchmarks.importance_gpu import QWEN3_8B, TINY, build, machine
from benchmarks.tokens import write_tokenizer
from tunescope.lm import pretrained
from tunescope.questions.importance.study import importance

Figures = dict[str, Any]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Bench:
    """The model, its folder, and the figures so far."""

    def __init__(self, model: nn.Module, work: Path, out: Path | None) -> None:
        self.model, self.work, self.out = model, work, out
        self.figures: Figures = json.loads(out.read_text()) if out is not None and out.exists() else {}

    def figure(self, name: str, measure: Callable[[], Any]) -> Any:
        """Measure what is not there yet, print and save it."""
        if name not in self.figures:
            self.figures[name] = measure()
            print(f"{name}: {json.dumps(self.figures[name])}", flush=True)
            if self.out is not None:
                self.out.write_text(json.dumps(self.figures, indent=1) + "\n")
        return self.figures[name]

    def plain(self, tokens: int, rounds: int, backward: bool) -> float:
        """Median seconds of the model's own pass, gradients kept, launched from Python."""
        vocabulary = self.model.config.vocab_size
        seconds = []
        for seed in range(rounds):
            generator = torch.Generator().manual_seed(seed)
            ids = torch.randint(0, vocabulary, (1, tokens), generator=generator).to(DEVICE)
            self.model.zero_grad()
            settle()
            start = time.perf_counter()
            with torch.set_grad_enabled(backward):
                loss = self.model(input_ids=ids, labels=ids, use_cache=False).loss
                if backward:
                    loss.backward()
            settle()
            seconds.append(time.perf_counter() - start)
        self.model.zero_grad()
        return statistics.median(seconds[2:])

    def peak(self, tokens: int) -> Figures:
        """Memory that the plain pass takes, gradients kept."""
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        self.plain(tokens, 3, True)
        return {
            "peak_gigabytes": torch.cuda.max_memory_allocated() / 1e9,
            "reserved_gigabytes": torch.cuda.max_memory_reserved() / 1e9,
        }

    def scored(self, data: Path, tokens: int, rounds: int, methods: str, layers: bool = False) -> Figures:
        """Median seconds of a sequence in the study of the command, peak memory, and what it noticed."""
        marks: list[float] = []
        if DEVICE == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        study = importance(
            str(self.work), str(data), method=methods or "magnitude", sequences=rounds, max_length=tokens,
            device=DEVICE, layer_importance=layers, dtype="bfloat16",
            tell=lambda *_: marks.append(time.perf_counter()),
        )  # fmt: skip
        seconds = [after - before for before, after in itertools.pairwise(marks)]
        found: Figures = {
            "seconds": statistics.median(seconds),
            "quartiles": statistics.quantiles(seconds, n=4),
            "first_seconds": seconds[:3],
            "notices": [finding.text for finding in study.findings if "CUDA graphs" in finding.text],
        }
        if DEVICE == "cuda":
            found["peak_gigabytes"] = torch.cuda.max_memory_allocated() / 1e9
            found["reserved_gigabytes"] = torch.cuda.max_memory_reserved() / 1e9
        return found


def write_texts(path: Path, lengths: list[int]) -> Path:
    """Rows of random letters, one token each."""
    draw = random.Random(0)
    rows = ("".join(draw.choices(string.ascii_letters + " ", k=length)) for length in lengths)
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    return path


def ordinary(count: int) -> list[int]:
    """Lengths as texts have them: log-normal about 300 tokens."""
    draw = random.Random(1)
    return [max(8, int(draw.lognormvariate(5.7, 0.8))) for _ in range(count)]


def table(figures: Figures) -> str:
    """The ratios in few lines."""
    lines = []
    for name, value in figures.items():
        if "ratio" in name:
            lines.append(f"{name:58} {value:.3f}")
    return "\n".join(lines)


def passes(bench: Bench, rounds: int, lengths: list[int]) -> None:
    """`taylor`, alone and with `curvature`, at every length."""
    for tokens in lengths:
        data = write_texts(bench.work / f"texts-{tokens}.jsonl", [tokens + 5] * rounds)
        plain = bench.figure(f"plain {tokens}", lambda n=tokens: bench.plain(n, rounds, True))
        if DEVICE == "cuda":
            bench.figure(f"plain memory {tokens}", lambda n=tokens: bench.peak(n))
        for methods in ("taylor", "taylor,curvature"):
            found = bench.figure(
                f"{methods} {tokens}", lambda n=tokens, m=methods, d=data: bench.scored(d, n, rounds, m)
            )
            bench.figure(f"ratio {methods} {tokens}", lambda f=found, p=plain: f["seconds"] / p)
        again = bench.figure(f"plain again {tokens}", lambda n=tokens: bench.plain(n, rounds, True))
        bench.figure(f"spread ratio plain {tokens}", lambda a=again, p=plain: a / p)


def layers(bench: Bench, rounds: int, tokens: int) -> None:
    """`Layer Importance` beside L plain forward passes, and texts of ordinary lengths."""
    data = write_texts(bench.work / f"texts-{tokens}.jsonl", [tokens + 5] * rounds)
    forward = bench.figure(f"plain forward {tokens}", lambda: bench.plain(tokens, rounds, False))
    alone = bench.figure(f"loss alone {tokens}", lambda: bench.scored(data, tokens, rounds, ""))
    found = bench.figure(
        f"layer importance {tokens}", lambda: bench.scored(data, tokens, max(6, rounds // 3), "", True)
    )
    count = bench.model.config.num_hidden_layers
    bench.figure(
        f"ratio layer importance to L forwards {tokens}",
        lambda: (found["seconds"] - alone["seconds"]) / (count * forward),
    )
    mixed = write_texts(bench.work / "mixed.jsonl", ordinary(4 * rounds))
    bench.figure("ordinary texts", lambda: bench.scored(mixed, tokens, 4 * rounds, "taylor,curvature"))


def forget(folder: Path) -> None:
    """Drop the checkpoint from the page cache, so that it is read from the disk."""
    for path in folder.glob("*.safetensors"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def start_up(bench: Bench) -> None:
    """From a checkpoint on disk to the first score, beside loading it."""
    data = write_texts(bench.work / "one.jsonl", [600] * 2)

    def loading() -> float:
        start = time.perf_counter()
        model = pretrained.load_model(str(bench.work), "bfloat16", DEVICE)
        settle()
        del model
        return time.perf_counter() - start

    def first_score() -> Figures:
        marks: list[float] = []
        loaded: list[float] = []
        load = pretrained.load_model

        def timed(*given: Any) -> nn.Module:
            model = load(*given)
            settle()
            loaded.append(time.perf_counter())
            return model

        pretrained.load_model = timed  # type: ignore[assignment]
        start = time.perf_counter()
        importance(
            str(bench.work), str(data), method="taylor", sequences=2, device=DEVICE, layer_importance=False,
            dtype="bfloat16", tell=lambda *_: marks.append(time.perf_counter()),
        )  # fmt: skip
        pretrained.load_model = load
        return {"loaded": loaded[0] - start, "first": marks[0] - start}

    def measured() -> Figures:
        # The first run compiles kernels and fills the page cache; the others find both.
        empty = first_score()
        found: Figures = {"empty_kernel_cache": empty, "loading": [loading() for _ in range(2)],
                          "runs": [first_score() for _ in range(2)]}  # fmt: skip
        forget(bench.work)
        found["loading_from_disk"] = loading()
        forget(bench.work)
        return found | {"run_from_disk": first_score()}

    bench.figure("start-up", measured)


def main() -> None:
    """Write the model, measure, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--parts", nargs="+", default=["passes", "layers", "start-up"])
    parser.add_argument("--tokens", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--rounds", type=int, default=22)
    parser.add_argument("--work", type=Path, default=Path("/tmp/importance_passes_gpu"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    shape = TINY if options.tiny else QWEN3_8B
    model = build(shape, DEVICE)
    model.config.save_pretrained(options.work)
    write_tokenizer(options.work)
    bench = Bench(model, options.work, options.out)
    bench.figure("machine", machine)
    bench.figure("shape", lambda: shape)
    if "start-up" in options.parts:
        model.save_pretrained(options.work, max_shard_size="4GB")
        start_up(bench)
    # Else every study would load the same weights from disk again.
    pretrained.load_model = lambda *_: model  # type: ignore[assignment]
    if "passes" in options.parts:
        passes(bench, options.rounds, options.tokens)
    if "layers" in options.parts:
        layers(bench, options.rounds, options.tokens[0])
    print(table(bench.figures))


if __name__ == "__main__":
    main()
