"""`benchmarks/RESULTS.md` from the figures in `benchmarks/results/`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import (
    faults,
    figures,
    finetune_cpu,
    finetune_shares,
    many,
    norms,
    page,
    whole,
    whole_cold,
    whole_engines,
    whole_peers,
    whole_stream,
)

HERE = Path(__file__).parent
Document = dict[str, Any]


def write() -> Path:
    """Write the page; a result that was not measured is said to be missing."""
    parts = ["# Measured", "", PREFACE]
    for title, name, section in SECTIONS:
        path = HERE / "results" / f"{name}.json"
        body = section(json.loads(path.read_text())) if path.exists() else ["Not measured yet."]
        parts += ["", f"## {title}", "", *body]
    page = HERE / "RESULTS.md"
    page.write_text("\n".join(parts) + "\n")
    return page


PREFACE = """Ratios within one run, since machines are shared and noisy; medians where there are repeats.
`make bench` repeats what runs on a CPU, `make bench-gpu` the figures of a GPU by the scripts named in
their sections."""


def norms_section(results: Document) -> list[str]:
    """Norms against a Gram pass and against peers."""
    return [
        "`python -m benchmarks.norms`: a Llama-3-8B-shaped adapter (224 modules, r = 64, bfloat16, 336 MB),",
        "one thread, every contender alone in a fresh interpreter, hashing apart. The notebook way is",
        "measured on one layer and scaled by 32; weightwatcher on its two smallest modules and scaled by",
        "their number, which flatters it. Errors are against float64 QR.",
        "",
        norms.table(results),
    ]


def subspace_section(r: Document) -> list[str]:
    """φ grids against orthogonalisation and the definition."""
    rows = [
        ("both thin orthogonalisations, by Householder QR and SVD of the core (LAPACK)", 1.0),
        ("all φ grids, both sides, ours from the factors", r["grids_over_householder"]),
        ("the same with chance, z and the summary of every module", r["table_over_householder"]),
    ]
    lines = [
        "`python -m benchmarks.subspace`: two Llama-3-8B-shaped adapters, r = 64, 224 modules, one thread.",
        "",
        "| | CPU time ÷ orthogonalisations |",
        "|---|---|",
        *(f"| {title} | {value:.2f} |" for title, value in rows),
        "",
        f"Over our own orthogonalisation alone: {r['grids_over_own_orthogonalisation']:.2f}×. "
        "The definition's double loop on the same bases takes "
        f"{r['loops_over_grids']:.0f}× as long, and differs by at most "
        f"{r['largest_difference']:.0e}. Memory stays that of one module: its peak with two modules is "
        f"{r['peak_of_two_over_one']:.2f}× the peak with one.",
    ]
    gpu = HERE / "results" / "subspace_gpu.json"
    return [*lines, *_subspace_gpu(json.loads(gpu.read_text()))] if gpu.exists() else lines


def _subspace_gpu(r: Document) -> list[str]:
    text = (
        f"With `--device cuda` the same numbers come out to {r['largest_difference']:.0e} "
        f"(`python -m benchmarks.subspace_gpu`, {r['modules']} modules)."
    )
    return ["", text]


def importance_section(r: Document) -> list[str]:
    """The scored pass against the plain one on a GPU."""
    names = {
        "plain": "plain forward + backward",
        "scored": "**scored: sums of abs(g·w), g², w²g² in one backward**",
        "usual_loop": "backward, then a loop over `.grad`",
        "eager_hooks": "hooks with eager reductions",
    }
    lines = [
        "`python -m benchmarks.importance_gpu`: Qwen3-8B shape, random weights, bfloat16, "
        f"{r['machine']['device']}, torch {r['machine']['torch']}.",
        "",
        "| | tokens | time ÷ plain | peak memory |",
        "|---|---|---|---|",
    ]
    for run in r["passes"]:
        for key, title in names.items():
            ratio, peak = run["median_ratio_to_plain"][key], run["peak_gigabytes"][key]
            lines.append(f"| {title} | {run['tokens']} | {ratio:.2f} | {peak:.1f} GB |")
    pruning, plain = r["torch_pruning"], r["passes"][0]["median_seconds"]["plain"]
    return [
        *lines,
        "",
        f"Torch-Pruning {pruning['version']} (Taylor importance, {pruning['groups']} groups; it covers "
        f"{pruning['covers']}): {pruning['median_seconds'] / plain:.1f}× a plain pass, "
        f"{pruning['peak_gigabytes']:.1f} GB, after the time of "
        f"{pruning['dependency_graph_seconds'] / plain:.0f} passes for its dependency graph.",
    ]


def importance_cpu_section(r: Document) -> list[str]:
    """The scored pass against the plain one on a CPU."""
    lines = [
        f"`python -m benchmarks.importance_cpu`: {r['parameters'] / 1e6:.1f} M parameters, one thread.",
        "",
        "| tokens | scored ÷ plain (quartiles) | backward, then a loop ÷ plain |",
        "|---|---|---|",
    ]
    for run in r["passes"]:
        low, middle, high = run["quartiles_of_ratio"]["scored"]
        loop = run["median_ratio_to_plain"]["usual_loop"]
        lines.append(f"| {run['tokens']} | {middle:.2f} ({low:.2f}–{high:.2f}) | {loop:.2f} |")
    told = [
        f"{run['median_ratio']:.2f}× at {run['tokens']} tokens (bound {run['bound']:.2f})"
        for run in r.get("layer_importance", [])
    ]
    if not told:
        return lines
    blocks = r["layer_importance"][0]["blocks"]
    text = (
        f"Layer Importance over {blocks} plain forward passes: {', '.join(told)}. "
        "The bound is 1.1·((L+1)/2L·(1−h) + h), h the head's share of the multiplications."
    )
    return [*lines, "", text]


def capture_section(r: Document) -> list[str]:
    """Capture at every step, and the sweep at 3B shape."""
    cost = r["cost"]
    lines = [
        "`python -m benchmarks.capture_gpu`: Llama-3.2-3B shape, random weights, nf4 with bfloat16 compute, "
        f"{r['device']}, torch {r['torch']}.",
        "",
        f"Capturing at **every** optimizer step ({cost['matrices']} matrices, "
        f"{cost['trainable_parameters']:,} parameters) takes {1e3 * cost['capture_seconds']:.1f} ms of a "
        f"{cost['step_seconds_without']:.2f} s step: **{100 * cost['capture_share']:.2f} %**, "
        f"by device events around it plus the host's time inside it, {cost['captures']} steps of runs from "
        f"their start. Where B did not start at zero, as in a run that goes on, it takes "
        f"{1e3 * cost['capture_seconds_going_on']:.1f} ms. The host paces the step, so that the share "
        "differs between hosts.",
        "",
        f"A sweep through `tunescope finetune` ({r.get('sweep_device', r['device'])}):",
        "",
        "| run | steps | s/step | capture's share | peak memory | held-out loss before → after |",
        "|---|---|---|---|---|---|",
    ]
    for run in r["sweep"]:
        losses = f"{run['losses']['before']:.2f} → {run['losses']['after']:.2f}"
        lines.append(
            f"| {run['run']} | {run['steps']} | {run['step_seconds_median']:.2f} "
            f"| {100 * run['capture_share']:.2f} % | {run['peak_device_bytes'] / 1e9:.1f} GB | {losses} |"
        )
    return lines


def importance_passes_section(r: Document) -> list[str]:
    """What a sequence takes in the command, beside the plain pass."""
    lines = [
        "`python -m benchmarks.importance_passes_gpu`: the study of `tunescope importance` on a checkpoint "
        f"of Qwen3-8B shape, random weights, bfloat16, {r['machine']['device']}, "
        f"torch {r['machine']['torch']}. "
        "A sequence's time is that between two calls of its progress, beside the plain eager forward and "
        "backward pass of as many tokens.",
        "",
        "| | tokens | seconds | ÷ plain | peak memory |",
        "|---|---|---|---|---|",
    ]
    lengths = [int(name.split()[-1]) for name in r if name.startswith("plain memory")]
    for tokens in lengths:
        plain, memory = r[f"plain {tokens}"], r[f"plain memory {tokens}"]["peak_gigabytes"]
        lines.append(f"| plain forward + backward | {tokens} | {plain:.3f} | 1.00 | {memory:.1f} GB |")
        for methods in ("taylor", "taylor,curvature"):
            found, ratio = r[f"{methods} {tokens}"], r[f"ratio {methods} {tokens}"]
            peak = found["peak_gigabytes"]
            lines.append(
                f"| **{methods}** | {tokens} | {found['seconds']:.3f} | {ratio:.2f} | {peak:.1f} GB |"
            )
    forward, layers = (
        f"{name} {lengths[0]}" for name in ("plain forward", "ratio layer importance to L forwards")
    )
    seconds, ratios = ([run[name] for run in r["further runs"]] for name in (forward, layers))
    notices = (text.partition(": ")[2].rstrip(".") for text in r["ordinary texts"]["notices"])
    replayed = next(text for text in notices if "CUDA graphs" in text)
    return [
        *lines,
        "",
        f"Layer Importance at {lengths[0]} tokens takes "
        f"**{r[layers]:.2f}×** of 36 plain forward passes of {r[forward]:.3f} s; again "
        f"{', '.join(f'{a:.2f}× of passes of {b:.3f} s' for a, b in zip(ratios, seconds, strict=True))}: the "
        f"host paces those, the device the batch, which took {r[layers] * 36 * r[forward]:.2f} s. "
        f"Texts of ordinary lengths: {replayed}. {_start_up(r['start-up'])}",
    ]


def _start_up(r: Document) -> str:
    """From the command to the first score, beside loading."""
    runs = " and ".join(
        f"{run['first']:.1f} s, {run['first'] / run['loaded']:.2f}× of its own loading" for run in r["runs"]
    )
    apart = " and ".join(f"{seconds:.1f}" for seconds in r["loading"])
    cold = r["run_from_disk"]
    return (
        f"From the command to the first score, checkpoint in the page cache: {runs}; loading measured apart "
        f"took {apart} s. From the disk: {cold['first']:.1f} s, {cold['first'] / cold['loaded']:.2f}× of its "
        f"own loading; apart it took {r['loading_from_disk']:.1f} s. Before the kernels are compiled, once "
        f"on a machine: {r['empty_kernel_cache']['first']:.1f} s."
    )


def attribution_section(r: Document) -> list[str]:
    """What attribution takes beside plain adapter passes, and two processes beside one."""
    own, one, two = r["attribute"], r["one process"], r["two processes"]
    shape = r["shape"]
    return [
        f"`python -m benchmarks.attribution_gpu`: {shape['num_hidden_layers']} layers of "
        f"{shape['hidden_size']}, LoRA on every linear layer, random weights, bfloat16, 64 sequences of 512 "
        f"tokens, {r['machine']['device']}, torch {r['machine']['torch']}.",
        "",
        f"All passes over {own['nodes']} nodes took **{r['ratio to nodes x sequences plain passes']:.2f}×** "
        "of as many forward and backward passes of PEFT's own model. From the shell to the study, one "
        f"process took {one['seconds']:.0f} s and two {two['seconds']:.0f} s; {own['whole']:.0f} s of it are "
        "passes, the rest is starting and loading, which two processes do not share. On a GPU kernels "
        "add in no fixed order: two runs of one process differ by "
        f"{r['largest difference of two runs of one process']:.1e} of the largest cell, so two processes "
        "cannot equal one to the bit there; on a CPU they do.",
    ]


Section = Callable[[Document], list[str]]
SECTIONS: tuple[tuple[str, str, Section], ...] = (
    ("Norms and spectra", "norms", norms_section),
    ("Norms from shell to prompt", "many", many.section),
    ("Subspace similarity", "subspace", subspace_section),
    ("Whole checkpoints", "whole", whole.section),
    ("Whole checkpoints from the shell", "whole_engines", whole_engines.section),
    ("Whole checkpoints from a cold cache", "whole_cold", whole_cold.section),
    ("Whole checkpoints of 70B", "whole_stream", whole_stream.section),
    ("Whole checkpoints beside peers", "whole_peers", whole_peers.section),
    ("Pictures", "figures", figures.section),
    ("Fine-tuning on a CPU", "finetune_cpu", finetune_cpu.section),
    ("Fine-tuning, part by part", "finetune_shares", finetune_shares.section),
    ("Capture and sweeps", "capture_gpu", capture_section),
    ("Importance on a GPU, as the command runs it", "importance_passes_gpu", importance_passes_section),
    ("Importance on a GPU, the pass itself", "importance_gpu", importance_section),
    ("Attribution on GPUs", "attribution_gpu", attribution_section),
    ("Importance on a CPU", "importance_cpu", importance_cpu_section),
    ("The report page", "page", page.section),
    ("Fuzzing and faults", "faults", faults.section),
)

if __name__ == "__main__":
    write()
