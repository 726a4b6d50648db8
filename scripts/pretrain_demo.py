"""Pre-train the small language model that ships as tunescope's demo.

    python scripts/pretrain_demo.py gather --work build/demo
    python scripts/pretrain_demo.py train --work build/demo --out build/demo/model --compile
    python scripts/pretrain_demo.py evaluate --work build/demo --model build/demo/model
    python scripts/pretrain_demo.py draw --model build/demo/model --out loss_curve.png

``gather`` reads this interpreter's standard library and /usr/include and generates exercises (CPU, two
minutes); ``train`` wants a GPU; ``evaluate`` measures a model and the bigram on the held-out documents.
To judge the shipped model elsewhere, gather with its tokenizer: --tokenizer src/tunescope/demo/model.
Needs torch, transformers, tokenizers, numpy, safetensors and matplotlib.
"""

import argparse
import json
import platform
import sys
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from demo_pretraining.bigram import Bigram
from demo_pretraining.tokens import Tokens, encode, load, save
from demo_pretraining.vocabulary import VOCABULARY

EXERCISES, STEPS = 150_000, 11_187


def gather(arguments: argparse.Namespace) -> None:
    from demo_pretraining import corpus, vocabulary

    folder: Path = arguments.work
    folder.mkdir(parents=True, exist_ok=True)
    training, held_out, dropped = corpus.gather(arguments.exercises)
    if arguments.tokenizer:
        vocabulary.copy(arguments.tokenizer, folder / "tokenizer")
    else:
        vocabulary.train(training, folder / "tokenizer")
    tokens = encode(training, held_out, dropped, folder / "tokenizer")
    save(tokens, folder / "tokens.npz")
    print(json.dumps(tokens.record, indent=1))


def train(arguments: argparse.Namespace) -> None:
    import torch
    from transformers import AutoTokenizer

    from demo_pretraining import figure, model, training, vocabulary

    tokens = load(arguments.work / "tokens.npz")
    tokenizer = AutoTokenizer.from_pretrained(arguments.work / "tokenizer")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")
    recipe = training.Recipe(steps=arguments.steps, batch=arguments.batch, compiled=arguments.compile)
    network = model.build(VOCABULARY, tokenizer.pad_token_id, tokenizer.eos_token_id)
    if arguments.seconds:
        pace = training.seconds_a_step(network, tokens, recipe, device)
        recipe = replace(recipe, steps=int(arguments.seconds / pace))
        print(f"{pace * 1000:.1f} ms a step: {recipe.steps} steps", flush=True)
    curve = training.train(network, tokens, recipe, device, say=lambda text: print(text, flush=True))
    network.to(torch.bfloat16).save_pretrained(arguments.out)
    vocabulary.copy(arguments.work / "tokenizer", arguments.out)
    record = _record(tokens, recipe, curve, network) | {"held_out_loss": judge(arguments.out, tokens, device)}
    (arguments.out / "pretraining.json").write_text(json.dumps(record, indent=1) + "\n")
    figure.draw(record, arguments.out / "loss_curve.png")
    print(json.dumps(record["held_out_loss"], indent=1))


def _record(tokens: Tokens, recipe: Any, curve: Any, network: Any) -> dict[str, Any]:
    from demo_pretraining.model import WINDOW

    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "vocabulary": VOCABULARY,
        "data": tokens.record,
        "recipe": asdict(recipe) | {"window": WINDOW, "tokens_per_step": recipe.batch * WINDOW},
        "tokens_seen": recipe.steps * recipe.batch * WINDOW,
        "curve": curve,
        "versions": {n: version(n) for n in ("torch", "transformers", "tokenizers", "numpy", "safetensors")}
        | {"python": platform.python_version()},
    }


def judge(folder: Path, tokens: Tokens, device: str) -> dict[str, dict[str, float]]:
    """Held-out loss of the saved weights and of the bigram model on the same tokens, in all and by source."""
    import torch
    from transformers import AutoModelForCausalLM

    from demo_pretraining.model import losses

    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    yardstick = Bigram.fit(tokens.stream, VOCABULARY)
    documents, sources = tokens.documents(), np.array(tokens.held_sources)
    ours, theirs = losses(network, documents), [yardstick.losses(document) for document in documents]
    groups = {"all": np.ones(len(sources), dtype=bool)} | {
        s: sources == s for s in sorted(set(tokens.held_sources))
    }
    found = {}
    for name, chosen in groups.items():
        left, right = (np.concatenate([nats[i] for i in np.flatnonzero(chosen)]) for nats in (ours, theirs))
        found[name] = {"tokens": len(left), "model": float(left.mean()), "bigram": float(right.mean())}
    return found


def evaluate(arguments: argparse.Namespace) -> None:
    json.dump(judge(arguments.model, load(arguments.work / "tokens.npz"), "cpu"), sys.stdout, indent=1)


def draw(arguments: argparse.Namespace) -> None:
    from demo_pretraining import figure

    figure.draw(json.loads((arguments.model / "pretraining.json").read_text()), arguments.out)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    commands = parser.add_subparsers(required=True)
    made = {function: commands.add_parser(function.__name__) for function in (gather, train, evaluate, draw)}
    for function, command in made.items():
        command.set_defaults(function=function)
        if function is not draw:
            command.add_argument("--work", type=Path, required=True, help="folder of the gathered tokens")
        if function in (evaluate, draw):
            command.add_argument("--model", type=Path, required=True, help="folder of a trained model")
        if function in (train, draw):
            command.add_argument("--out", type=Path, required=True, help="what to write")
    made[gather].add_argument(
        "--exercises", type=int, default=EXERCISES, help="before repetitions are dropped"
    )
    made[gather].add_argument("--tokenizer", type=Path, help="a model's folder, to use its tokenizer again")
    made[train].add_argument("--steps", type=int, default=STEPS)
    made[train].add_argument("--seconds", type=float, help="choose the steps to train about this long")
    made[train].add_argument("--batch", type=int, default=128, help="windows of 512 tokens in a step")
    made[train].add_argument("--compile", action="store_true", help="use torch.compile")
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
