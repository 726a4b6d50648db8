"""Scores from one backward pass on a GPU: time and peak memory beside the plain pass and the usual ways.

    python benchmarks/importance_gpu.py --out benchmarks/results/importance_gpu.json
    python benchmarks/importance_gpu.py --tiny          # the same steps on a small model, on the CPU

The model has the shape of Qwen3-8B with random bfloat16 weights, the data are random tokens.
"""

import argparse
import gc
import json
import signal
import statistics
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import Qwen3Config, Qwen3ForCausalLM

from tunescope.lm.loss import mean_loss, sampled_targets, targets, token_losses
from tunescope.lm.parameters import Parameters, parameters_of
from tunescope.questions.importance.reducer import GradientReducer
from tunescope.questions.importance.reduction import SUMS, places, reduce_into

QWEN3_8B = {
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
}
TINY = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 512,
}
Pass = Callable[[], None]


def build(shape: dict[str, int], device: str) -> nn.Module:
    torch.manual_seed(0)
    config = Qwen3Config(**shape, tie_word_embeddings=False, attn_implementation="sdpa")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = Qwen3ForCausalLM(config)
    torch.set_default_dtype(before)
    return model.eval()


class Case:
    """One model, one batch of random tokens, and every way of getting the sums from it."""

    def __init__(self, model: nn.Module, tokens: int) -> None:
        self.model = model
        device = next(model.parameters()).device
        generator = torch.Generator(device).manual_seed(tokens)
        vocabulary = model.config.vocab_size
        self.ids = torch.randint(0, vocabulary, (1, tokens), generator=generator, device=device)
        self.target = targets(self.ids, torch.ones_like(self.ids), shift=True)
        self.parameters = parameters_of(model)
        self.reducer = GradientReducer(self.parameters)
        self.sums: Tensor | None = None

    def logits(self) -> Tensor:
        return self.model(input_ids=self.ids, use_cache=False).logits

    def plain(self) -> None:
        """What everyone runs: the model's own loss, its gradients kept in `.grad`."""
        self.model(input_ids=self.ids, labels=self.ids, use_cache=False).loss.backward()

    def plain_our_loss(self) -> None:
        mean_loss(token_losses(self.logits(), self.target), self.target).backward()

    def scored(self) -> None:
        with self.reducer:
            self.plain_our_loss()
        self.sums = self.reducer.take().cpu()

    def scored_own_loss(self) -> None:
        with self.reducer:
            self.plain()
        self.sums = self.reducer.take().cpu()

    def usual_loop(self) -> None:
        """Backward, then a loop over `.grad` in float32, as scripts do."""
        self.plain()
        rows = []
        for parameter in self.model.parameters():
            g, w = parameter.grad.float(), parameter.detach().float()
            product = g * w
            rows.append(torch.stack([product.abs().sum(), product.sum(), (g * g).sum(), (product**2).sum()]))
        self.sums = torch.stack(rows).double().cpu()

    def eager_hooks(self) -> None:
        """The same sums from hooks in plain torch operations, gradients freed."""
        rows: dict[int, Tensor] = {}

        def hook(parameter: nn.Parameter) -> None:
            g, w = parameter.grad.float(), parameter.detach().float()
            product = g * w
            columns = [product.abs().sum(), product.sum(), (g * g).sum(), (product**2).sum()]
            rows[id(parameter)] = torch.stack([c.double() for c in columns])
            parameter.grad = None

        handles = [p.register_post_accumulate_grad_hook(hook) for p in self.model.parameters()]
        self.plain()
        for handle in handles:
            handle.remove()
        self.sums = torch.stack([rows[id(p)] for p in self.model.parameters()]).cpu()

    def taylor_and_curvature(self) -> None:
        """Both default methods: one forward pass, a backward at the labels and one at sampled labels."""
        with self.reducer:
            logits = self.logits()
            mean_loss(token_losses(logits, self.target), self.target).backward(retain_graph=True)
            first = self.reducer.take()
            generator = torch.Generator(logits.device).manual_seed(0)
            drawn = sampled_targets(logits, self.target, generator)
            mean_loss(token_losses(logits, drawn), drawn).backward()
            second = self.reducer.take()
        self.sums = torch.stack([first, second]).cpu()

    def clear(self) -> None:
        for parameter in self.model.parameters():
            parameter.grad = None


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_gigabytes(case: Case, run: Pass) -> float:
    case.clear()
    gc.collect()
    if not torch.cuda.is_available():
        run()
        return 0.0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    run()
    synchronise()
    return torch.cuda.max_memory_allocated() / 1e9


def interleaved(case: Case, runs: dict[str, Pass], rounds: int) -> dict[str, list[float]]:
    """Seconds of every run, round by round, so that a drift of the clock meets all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            case.clear()
            synchronise()
            start = time.perf_counter()
            run()
            synchronise()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def measure(model: nn.Module, tokens: int, rounds: int) -> dict[str, object]:
    case = Case(model, tokens)
    names = ["plain", "plain_our_loss", "scored", "scored_own_loss", "usual_loop", "eager_hooks"]
    names.append("taylor_and_curvature")
    runs = {name: getattr(case, name) for name in names}
    peaks = {name: peak_gigabytes(case, run) for name, run in runs.items()}
    seconds = interleaved(case, runs, rounds)
    ratios = {
        name: statistics.median(t / p for t, p in zip(seconds[name], seconds["plain"], strict=True))
        for name in names
    }
    return {
        "tokens": tokens,
        "rounds": rounds,
        "median_seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "min_seconds": {name: min(values) for name, values in seconds.items()},
        "max_seconds": {name: max(values) for name, values in seconds.items()},
        "median_ratio_to_plain": ratios,
        "peak_gigabytes": peaks,
        "peak_ratio_to_plain": {n: p / peaks["plain"] if peaks["plain"] else None for n, p in peaks.items()},
        "agreement": agreement(case),
    }


def agreement(case: Case) -> dict[str, float]:
    """Largest relative difference between the fused sums and float64 sums over the kept gradients."""
    case.clear()
    case.plain_our_loss()
    fused = blank(case.parameters)
    exact = torch.zeros(len(case.parameters), 4, dtype=torch.float64, device=fused.device)
    for entry in case.parameters.scored:
        g, w = entry.parameter.grad, entry.parameter.detach()
        reduce_into(fused[entry.first : entry.first + 1], g, w)
        for part_g, part_w in zip(g.flatten().split(1 << 26), w.flatten().split(1 << 26), strict=True):
            product = part_g.double() * part_w.double()
            columns = [product.abs().sum(), product.sum(), part_g.double().square().sum()]
            exact[entry.first] += torch.stack([*columns, product.square().sum()])
    scale = exact.abs()
    scale[:, 1] = exact[:, 0]
    worst = ((fused.sum(1) - exact).abs() / scale).amax(0).tolist()
    case.clear()
    case.scored()
    again = ((case.sums.to(exact.device) - exact).abs() / scale).amax(0).tolist()
    names = ("abs_gw", "signed_gw", "g2", "w2g2")
    return {f"kernel_{n}": v for n, v in zip(names, worst, strict=True)} | {
        f"separate_pass_{n}": v for n, v in zip(names, again, strict=True)
    }


def blank(parameters: Parameters) -> Tensor:
    """Room for the sums of every row, as the reducer has it."""
    device = parameters.scored[0].parameter.device
    shape = (len(parameters), places(device, len(parameters)), SUMS)
    return torch.zeros(shape, dtype=torch.float64, device=device)


def kernel_speed(model: nn.Module) -> dict[str, float]:
    """The reduction of all parameters alone, against a copy of the same bytes."""
    parameters = parameters_of(model)
    gradients = [torch.randn_like(entry.parameter) for entry in parameters.scored]
    out = blank(parameters)

    def reduce() -> None:
        for entry, g in zip(parameters.scored, gradients, strict=True):
            reduce_into(out[entry.first : entry.first + 1], g, entry.parameter)

    def copy() -> None:
        for entry, g in zip(parameters.scored, gradients, strict=True):
            g.copy_(entry.parameter.detach())

    size = sum(2 * g.numel() * g.element_size() for g in gradients)
    reduce_s, copy_s = best(reduce), best(copy)
    return {
        "gigabytes_read": size / 1e9,
        "reduce_seconds": reduce_s,
        "reduce_tb_per_s": size / reduce_s / 1e12,
        "copy_seconds": copy_s,
        "copy_tb_per_s": size / copy_s / 1e12,
    }


def best(run: Pass, rounds: int = 10) -> float:
    found = []
    for _ in range(rounds):
        synchronise()
        start = time.perf_counter()
        run()
        synchronise()
        found.append(time.perf_counter() - start)
    return statistics.median(found[2:])


def torch_pruning(model: nn.Module, tokens: int) -> dict[str, object]:
    """Torch-Pruning's Taylor importance through its own API: graph, backward, score of every group."""
    import torch_pruning as tp

    case = Case(model, tokens)
    model.config.use_cache = False
    heads = {}
    for layer in model.model.layers:
        heads[layer.self_attn.q_proj] = model.config.num_attention_heads
        heads[layer.self_attn.k_proj] = model.config.num_key_value_heads
        heads[layer.self_attn.v_proj] = model.config.num_key_value_heads
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = tp.pruner.MetaPruner(
            model,
            example_inputs=case.ids[:, :32],
            importance=tp.importance.GroupTaylorImportance(),
            pruning_ratio=0.5,
            ignored_layers=[model.lm_head],
            num_heads=heads,
            root_module_types=[nn.Linear],
            output_transform=lambda output: output.logits.sum(),
        )
    graph_seconds = time.perf_counter() - start
    seconds, counts = [], []
    peak = 0.0
    for _ in range(4):
        case.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        synchronise()
        start = time.perf_counter()
        case.plain()
        importance = tp.importance.GroupTaylorImportance()
        groups = pruner.DG.get_all_groups(ignored_layers=[model.lm_head], root_module_types=[nn.Linear])
        scores = [importance(group) for group in groups]
        synchronise()
        seconds.append(time.perf_counter() - start)
        counts.append(len(scores))
        if torch.cuda.is_available():
            peak = max(peak, torch.cuda.max_memory_allocated() / 1e9)
    case.clear()
    return {
        "version": tp.__version__,
        "tokens": tokens,
        "dependency_graph_seconds": graph_seconds,
        "median_seconds": statistics.median(seconds[1:]),
        "groups": counts[-1],
        "peak_gigabytes": peak,
        "covers": "channels of linear layers and norms in groups; one sum, |g*w| in the weights' own dtype",
    }


def attempt(run: Callable[[], object], limit: int) -> object:
    """The result, or what exactly failed: a peer that cannot run in time is a finding, not an end."""

    def give_up(_signal: int, frame: object) -> None:
        raise TimeoutError(f"not done after {limit} s, at: {''.join(traceback.format_stack(frame)[-3:])}")

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(limit)
    try:
        return run()
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"[:1500]}
    finally:
        signal.alarm(0)


def machine() -> dict[str, object]:
    import transformers

    found: dict[str, object] = {"torch": torch.__version__, "transformers": transformers.__version__}
    if torch.cuda.is_available():
        import triton

        found |= {"device": torch.cuda.get_device_name(), "triton": triton.__version__}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a small model, to try the script")
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 256])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--peer-seconds", type=int, default=120, help="limit for Torch-Pruning")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = build(TINY if arguments.tiny else QWEN3_8B, device)
    report: dict[str, object] = {
        "what": "one forward and backward pass, and the sums of |g*w|, g*w, g^2, w^2 g^2 of every tensor",
        "shape": TINY if arguments.tiny else QWEN3_8B,
        "parameters": sum(p.numel() for p in model.parameters()),
        "machine": machine(),
    }
    report["passes"] = [measure(model, tokens, arguments.rounds) for tokens in arguments.tokens]
    print(json.dumps(report["passes"], indent=1), flush=True)
    report["kernel"] = kernel_speed(model)
    print(json.dumps(report["kernel"], indent=1), flush=True)
    report["torch_pruning"] = attempt(
        lambda: torch_pruning(model, arguments.tokens[0]), arguments.peer_seconds
    )
    print(json.dumps(report["torch_pruning"], indent=1), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
