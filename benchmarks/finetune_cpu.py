"""`tunescope finetune` beside plain training: CPU seconds of whole processes, taken in turn, one thread.

`python -m benchmarks.finetune_cpu [--rounds 5]`. Plain training is the Trainer of transformers on the same
model in the same form, with PEFT's adapters, the same encoded rows in the same order, the same number of
steps and the same arguments (every loss logged, the same checkpoints), and its adapter saved; with
`evaluated` also the losses of the held-out rows before and after, which `finetune` takes of every run. It
captures nothing. That both trained the same is checked: their last losses are equal to the last bit.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.process import ROOT, run

RESULT = Path(__file__).parent / "results" / "finetune_cpu.json"
DOMAIN, RATE = "cpp", 1e-3


def settings(steps: int) -> dict[str, Any]:
    """The recipe of the demonstration, over so many steps, with the command's own pace of records."""
    from tunescope.demo.run import settings as demo

    ours = {"captures_per_epoch": 10, "checkpoints_per_epoch": 4}
    return demo() | ours | {"max_steps": steps, "epochs": 10.0}


def plain(out: Path, steps: int, evaluated: bool) -> None:
    """Train without tunescope's part in it, and leave the last loss in `out`."""
    import torch
    from transformers import Trainer, set_seed
    from transformers.utils import logging

    from tunescope.lm.pretrained import load_config, load_tokenizer
    from tunescope.lm.texts import limits_of
    from tunescope.training import Recipe
    from tunescope.training import model as models
    from tunescope.training.collation import Examples, padding_for
    from tunescope.training.domains import read_domains
    from tunescope.training.evaluation import held_out_loss
    from tunescope.training.run import Run, arguments

    logging.disable_progress_bar()
    torch.set_num_threads(1)
    recipe = Recipe(**settings(steps))
    tokenizer = load_tokenizer(recipe.model)
    domain = read_domains(_data(), tokenizer, recipe, limits_of(load_config(recipe.model)))[DOMAIN]
    padding = padding_for(tokenizer, False)
    set_seed(0)
    model = models.prepare(models.load_base(recipe), recipe)
    if evaluated:
        held_out_loss(model, domain.held_out, padding, recipe.batch_size)
        set_seed(0)
    args = arguments(Run(DOMAIN, RATE, 0, out), recipe, len(domain.train), [], False)
    trainer = Trainer(model=model, args=args, train_dataset=Examples(domain.train), data_collator=padding)
    trainer.train()
    if evaluated:
        held_out_loss(model, domain.held_out, padding, recipe.batch_size)
    model.save_pretrained(out / "adapter")
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    (out / "last_loss.json").write_text(json.dumps(losses[-1]))


def ours(out: Path, steps: int) -> None:
    """The same through `tunescope.finetune`."""
    from tunescope.training import Recipe, finetune

    (found,) = finetune(Recipe(**settings(steps)), _data(), out, rates=[RATE])
    (out / "last_loss.json").write_text(json.dumps(found.record["final_training_loss"]))


def _data() -> dict[str, str]:
    from tunescope.demo import domain_paths

    return {DOMAIN: str(domain_paths()[DOMAIN])}


def main() -> dict[str, Any]:
    """Run all in turn, print the ratios, write `results/finetune_cpu.json`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--contender", choices=CONTENDERS)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_known_args()[0]
    if asked.contender:
        asked.out.mkdir(parents=True, exist_ok=True)
        CONTENDERS[asked.contender](asked.out, asked.steps)
        return {}
    results = compared(asked.rounds, asked.steps)
    RESULT.write_text(json.dumps(results, indent=2) + "\n")
    print("\n".join(section(results)))
    return results


CONTENDERS: dict[str, Any] = {
    "plain": lambda out, steps: plain(out, steps, False),
    "evaluated": lambda out, steps: plain(out, steps, True),
    "finetune": ours,
}


def compared(rounds: int, steps: int) -> dict[str, Any]:
    """CPU seconds of each contender, in turn, and their ratios to plain training in the same round."""
    import shutil

    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    losses = set()
    for turn in range(rounds + 1):
        for name in CONTENDERS:
            out = (ROOT / "finetune" / name).absolute()
            shutil.rmtree(out, ignore_errors=True)
            command = [sys.executable, "-m", "benchmarks.finetune_cpu", "--contender", name]
            took = run([*command, "--out", str(out), "--steps", str(steps)])["cpu_seconds"]
            losses.add((out / "last_loss.json").read_text())
            # The first round compiles what it imports.
            if turn:
                seconds[name].append(took)
                print(f"{name}: {took:.1f} s", file=sys.stderr, flush=True)
    if len(losses) != 1:
        raise SystemExit(f"the contenders trained differently: last losses {losses}")
    ratios = {
        name: [a / b for a, b in zip(found, seconds["plain"], strict=True)] for name, found in seconds.items()
    }
    medians = {name: statistics.median(found) for name, found in ratios.items()}
    return {"rounds": rounds, "steps": steps, "seconds": seconds, "ratios": ratios, "median_ratio": medians}


def section(r: dict[str, Any]) -> list[str]:
    """The results as Markdown."""
    names = {
        "plain": "Trainer and PEFT, no captures, no evaluation",
        "evaluated": "the same with the held-out losses before and after",
        "finetune": "**tunescope finetune**, both and captures",
    }
    lines = [
        f"`python -m benchmarks.finetune_cpu`: the model and one domain of the demonstration, {r['steps']} "
        "steps, whole processes, one thread. Plain training has the same model, rows, order, steps, "
        "logging and checkpoints; its last loss is the same to the last bit.",
        "",
        f"| | CPU ÷ plain training, median (least–most) of rounds: {r['rounds']} |",
        "|---|---|",
    ]
    for name, title in names.items():
        found = r["ratios"][name]
        lines.append(f"| {title} | {r['median_ratio'][name]:.3f} ({min(found):.3f}–{max(found):.3f}) |")
    beside = statistics.median(
        a / b for a, b in zip(r["seconds"]["finetune"], r["seconds"]["evaluated"], strict=True)
    )
    lines += ["", f"Beside the training that takes both held-out losses too, `finetune` takes {beside:.3f}×."]
    if (share := r.get("capture_share_of_steps")) is not None:
        lines += ["", f"The captures of that run took {100 * share:.2f} % of its steps' time."]
    return lines


if __name__ == "__main__":
    main()
