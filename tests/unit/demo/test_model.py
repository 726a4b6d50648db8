"""The shipped model loads, has the promised shape, and has learned; fine-tuning it lowers a domain's loss."""

import json
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from tunescope.demo import domain_paths, model_path

PAYLOAD = 12_000_000
ENOUGH = 0.7


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((model_path() / "pretraining.json").read_text())
    return found


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_path(), dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(model_path())


def test_all_that_ships_stays_under_twelve_megabytes() -> None:
    root = model_path().parent
    assert sum(p.stat().st_size for p in root.rglob("*") if p.is_file() and p.suffix != ".pyc") < PAYLOAD
    assert sum(p.stat().st_size for p in domain_paths().values()) < 600_000


def test_finding_the_files_imports_no_torch() -> None:
    code = "import sys, tunescope.demo as d; d.model_path(); d.domain_paths(); print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_the_model_has_the_promised_shape(loaded: tuple[Any, Any], record: dict[str, Any]) -> None:
    model, _ = loaded
    assert model.config.model_type == "llama"
    assert model.config.num_hidden_layers >= 8
    assert 3e6 <= model.num_parameters() <= 6e6
    assert record["parameters"] == model.num_parameters()
    shapes = [w.shape for name, w in model.named_parameters() if name.endswith("_proj.weight")]
    assert len(shapes) == 7 * model.config.num_hidden_layers
    assert all(d_out % 32 == 0 and d_in % 64 == 0 for d_out, d_in in shapes)


@pytest.mark.parametrize("text", ["def f(x):\n\treturn x\r\n", "naïve Ω ≥ 😀 \x00\x1f", "3.14159 + 2718", ""])
def test_any_text_survives_the_tokenizer(loaded: tuple[Any, Any], text: str) -> None:
    tokenizer = loaded[1]
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_chat_template_marks_the_answer(loaded: tuple[Any, Any]) -> None:
    tokenizer = loaded[1]
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "<|user|>hi<|assistant|>ho<|end|>"
    found = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    answer = [i for i, said in zip(found["input_ids"], found["assistant_masks"], strict=True) if said]
    assert tokenizer.decode(answer) == "ho<|end|>"
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id}) == 2


def test_recorded_losses_beat_the_bigram_model_on_every_source(record: dict[str, Any]) -> None:
    losses = record["held_out_loss"]
    assert set(losses) == {"all", "arithmetic", "headers", "library", "physics", "programs", "reasoning"}
    assert all(found["model"] <= found["bigram"] - ENOUGH for found in losses.values())
    assert record["curve"][-1]["held_out_loss"] == pytest.approx(losses["all"]["model"], abs=0.01)
    assert record["curve"][0]["held_out_loss"] == pytest.approx(np.log(record["vocabulary"]), abs=0.2)


def compared(loaded: tuple[Any, Any], training: list[str], held_out: list[str]) -> tuple[float, float]:
    """Mean loss of the model and of a bigram model of `training`, on the same held-out tokens."""
    from demo_pretraining.bigram import Bigram
    from demo_pretraining.model import losses

    model, tokenizer = loaded
    end = tokenizer.eos_token_id
    stream = [i for text in training for i in (end, *tokenizer.backend_tokenizer.encode(text).ids)]
    documents = [np.array([end, *tokenizer.backend_tokenizer.encode(text).ids, end]) for text in held_out]
    yardstick = Bigram.fit(np.array(stream), len(tokenizer))
    ours = np.concatenate(losses(model, documents))
    theirs = np.concatenate([yardstick.losses(document) for document in documents])
    assert len(ours) == len(theirs) == sum(map(len, documents)) - len(documents)
    return float(ours.mean()), float(theirs.mean())


def test_held_out_exercises_are_predicted_better_than_by_bigrams(
    loaded: tuple[Any, Any], record: dict[str, Any]
) -> None:
    from demo_pretraining.exercises import exercises

    told = list(exercises(5000))
    held_out = [text for _, text, out in told if out][:60]
    ours, theirs = compared(loaded, [text for _, text, out in told if not out], held_out)
    assert ours <= theirs - ENOUGH
    areas = ("arithmetic", "physics", "programs", "reasoning")
    generated = [record["held_out_loss"][area]["model"] for area in areas]
    assert min(generated) - 0.1 < ours < max(generated) + 0.1


def test_held_out_modules_of_this_interpreter_are_predicted_better_than_by_bigrams(
    loaded: tuple[Any, Any],
) -> None:
    from demo_pretraining.corpus import standard_library

    modules = [d for d in standard_library() if "test" not in d.name and len(d.text) < 40_000]
    held_out = [d.text[:6000] for d in modules if d.held_out]
    training = [d.text for d in modules if not d.held_out]
    ours, theirs = compared(loaded, Random(0).sample(training, 120), Random(0).sample(held_out, 4))
    assert ours <= theirs - ENOUGH


def test_the_bigram_model_is_a_probability_distribution() -> None:
    from demo_pretraining.bigram import Bigram

    stream = np.random.default_rng(0).integers(0, 11, size=400)
    model = Bigram.fit(stream, 12)
    for before in range(12):
        pairs = [np.exp(-model.losses(np.array([before, after])))[0] for after in range(12)]
        assert sum(pairs) == pytest.approx(1, abs=1e-12)


def loss(model: Any, tokenizer: Any, rows: list[dict[str, str]]) -> Any:
    texts = ["\n".join(row.values()) + tokenizer.eos_token for row in rows]
    batch = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    return model(**batch, labels=labels).loss


def test_fine_tuning_lowers_the_loss_on_rows_not_trained_on(rows: dict[str, list[dict[str, str]]]) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(model_path())
    base = AutoModelForCausalLM.from_pretrained(model_path(), dtype=torch.float32)
    attention = ["q_proj", "k_proj", "v_proj", "o_proj"]
    model = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules=attention))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    training, held_out = rows["physics"][:80], rows["physics"][-16:]
    with torch.no_grad():
        before = float(loss(model, tokenizer, held_out))
    for start in range(0, 80, 4):
        loss(model, tokenizer, training[start : start + 4]).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        assert float(loss(model, tokenizer, held_out)) < before - 1.0


def test_the_script_explains_itself() -> None:
    script = Path(__file__).parents[3] / "scripts/pretrain_demo.py"
    ran = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, check=True)
    assert all(word in ran.stdout for word in ("gather", "train", "evaluate"))
