"""φ grids of two Llama-3-8B-shaped adapters against the orthogonalisations alone and the definition's loops.

One thread, CPU time; what is compared is measured in turns, module by module, so that a busy machine
weighs on all of it alike. Factors are made in memory: reading and writing are apart.
"""

import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import threadpoolctl

from benchmarks.llama8b import LAYERS, MODULES
from tunescope.address import parse
from tunescope.delta import Delta, Factored
from tunescope.linalg import overlap
from tunescope.linalg.device import float64
from tunescope.questions.subspace.directions import Selection
from tunescope.questions.subspace.measure import compare

RESULT = Path(__file__).parent / "results" / "subspace.json"
RANK = 64
# The definition's loops take minutes on one module; these are timed and the rest scaled by their size.
LOOPED = ("self_attn.k_proj",)
SIDES = (0, 1)
REPEATS = 20


def factors(module: str, seed: int) -> Factored:
    """One module's factors in bfloat16, B with the decaying spectrum of a trained one."""
    d_out, d_in = MODULES[module]
    random = np.random.default_rng(seed)
    A = random.standard_normal((RANK, d_in), dtype=np.float32) / np.sqrt(d_in)
    B = random.standard_normal((d_out, RANK), dtype=np.float32) * 0.01 * 0.93 ** np.arange(RANK)
    return Factored(B.astype(ml_dtypes.bfloat16), A.astype(ml_dtypes.bfloat16), 2.0)


def lapack(pair: list[Factored]) -> None:
    """The thin orthogonalisations alone: Householder QR in float64 of both factors of both adapters."""
    for update in pair:
        np.linalg.qr(float64(update.B))
        np.linalg.qr(float64(update.A).T)


def orthogonalised(pair: list[Factored]) -> None:
    """The thin orthogonalisations alone, by the routine that tunescope uses."""
    for update in pair:
        overlap.orthonormal(float64(update.B))
        overlap.orthonormal(float64(update.A).T)


def grids(pair: list[Factored]) -> list[np.ndarray[Any, Any]]:
    """φ, chance and deviation for all i, j on both sides of ΔW."""
    bases = [overlap.product_bases(float64(u.B), float64(u.A), factors=False) for u in pair]
    found = []
    for side in SIDES:
        a, b = bases[0][side], bases[1][side]
        found.append(overlap.phi_grid(overlap.cosines(a, b, "delta", "delta")))
        overlap.chance_grid(RANK, RANK, a.d)
    return found


def table(pair: list[Factored], module: str) -> None:
    """What the command does for one module: the same grids as rows, z, and the whole summary."""
    name = f"model.layers.0.{module}"
    d_out, d_in = MODULES[module]
    models = [
        (label, [Delta(parse(name), name, "lora", d_out, d_in, RANK, None, 2.0, (), open=lambda u=u: u)])
        for label, u in zip("ab", pair, strict=True)
    ]
    list(compare(models, Selection(of=("delta",))))


def loops(bases: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """φ as its definition reads: one norm for every i and j."""
    U, V = bases
    return np.array(
        [
            [np.linalg.norm(U[:, :i].T @ V[:, :j]) ** 2 / min(i, j) for j in range(1, V.shape[1] + 1)]
            for i in range(1, U.shape[1] + 1)
        ]
    )


def cpu(work: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def modules(layers: int) -> Iterator[tuple[str, list[Factored]]]:
    """Module type and the two adapters' factors, one module in memory at a time."""
    for layer in range(layers):
        for k, module in enumerate(MODULES):
            yield module, [factors(module, 1000 * seed + 10 * layer + k) for seed in (1, 2)]


def against_loops() -> dict[str, float]:
    """Speed-up over the loops on the same bases, and the largest difference."""
    ratios, errors = [], []
    for module in LOOPED:
        pair = [factors(module, seed) for seed in (1, 2)]
        bases = [overlap.product_bases(float64(u.B), float64(u.A), factors=False) for u in pair]
        for side in SIDES:
            a, b = bases[0][side], bases[1][side]
            spans = [a.directions("delta"), b.directions("delta")]
            found: list[Any] = []
            slow = cpu(lambda spans=spans, found=found: found.append(loops(spans)))
            fast = cpu(
                lambda a=a, b=b: [
                    overlap.phi_grid(overlap.cosines(a, b, "delta", "delta")) for _ in range(REPEATS)
                ]
            )
            ratios.append(slow / (fast / REPEATS))
            grid = overlap.phi_grid(overlap.cosines(a, b, "delta", "delta"))
            errors.append(float(np.abs(grid - found[0]).max()))
    return {"loops_over_grids": min(ratios), "largest_difference": max(errors)}


def peak(module: str = "mlp.gate_proj") -> dict[str, float]:
    """Peak memory of the largest module, in bytes over those of its float64 factors, and of two in turn."""
    d_out, d_in = MODULES[module]
    whole = 2 * 8 * RANK * (d_out + d_in)
    peaks = []
    for count in (1, 2):
        tracemalloc.start()
        for seed in range(count):
            table([factors(module, 10 + seed), factors(module, 20 + seed)], module)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return {"peak_over_float64_factors": peaks[0] / whole, "peak_of_two_over_one": peaks[1] / peaks[0]}


def main(layers: int = LAYERS) -> dict[str, Any]:
    """Measure, print and write `results/subspace.json`."""
    totals = dict.fromkeys(("lapack", "orthogonalised", "grids", "table"), 0.0)
    with threadpoolctl.threadpool_limits(1):
        for module, pair in modules(layers):
            totals["lapack"] += cpu(lambda pair=pair: lapack(pair))
            totals["orthogonalised"] += cpu(lambda pair=pair: orthogonalised(pair))
            totals["grids"] += cpu(lambda pair=pair: grids(pair))
            totals["table"] += cpu(lambda pair=pair, module=module: table(pair, module))
        results: dict[str, Any] = {
            "modules": layers * len(MODULES),
            "rank": RANK,
            "cpu_seconds": totals,
            "grids_over_householder": totals["grids"] / totals["lapack"],
            "grids_over_own_orthogonalisation": totals["grids"] / totals["orthogonalised"],
            "table_over_householder": totals["table"] / totals["lapack"],
            **against_loops(),
            **peak(),
        }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(results, indent=2) + "\n")
    print(report(results))
    return results


def report(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    seconds = results["cpu_seconds"]
    rows = [
        ("thin orthogonalisations alone, LAPACK's Householder QR", seconds["lapack"]),
        ("thin orthogonalisations alone, tunescope's Cholesky QR", seconds["orthogonalised"]),
        ("**all φ grids, both sides of ΔW**", seconds["grids"]),
        ("**the same as rows with z, angles, cosines, findings**", seconds["table"]),
    ]
    lines = [
        f"{results['modules']} modules, r = {results['rank']}, one thread:",
        "",
        "| | CPU s | ÷ Householder | ÷ Cholesky |",
        "|---|---|---|---|",
    ]
    for title, spent in rows:
        ratios = f"{spent / seconds['lapack']:.2f} | {spent / seconds['orthogonalised']:.2f}"
        lines.append(f"| {title} | {spent:.1f} | {ratios} |")
    lines += [
        "",
        f"The definition's double loop on the same bases (measured on {', '.join(LOOPED)}) takes "
        f"{results['loops_over_grids']:.0f}× the time of the grids; largest difference "
        f"{results['largest_difference']:.0e}.",
        f"Peak memory of the largest module is {results['peak_over_float64_factors']:.1f}× its factors in "
        f"float64, and {results['peak_of_two_over_one']:.2f}× that for two modules in turn.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
