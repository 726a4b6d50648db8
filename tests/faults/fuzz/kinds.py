"""Every kind of input: a sound one to start from, how to damage it, and the entry points that read it."""

import gzip
import importlib.resources
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

import tunescope
from tunescope.cli.configuration import read_config
from tunescope.corpus.encoding import encode
from tunescope.corpus.reading import read_rows
from tunescope.corpus.rows import row_of
from tunescope.questions.norms.study import norms
from tunescope.source import open_source
from tunescope.source.spec import parse_hub_id, parse_spec

from . import packing
from .beside_base import BESIDE_BASE
from .formats import FORMATS
from .kind import Kind, _adapter, _pairs
from .language import LANGUAGE
from .methods import METHODS
from .models import MODELS
from .mutations import bytewise, json_values, tokenwise
from .states import STATES
from .training import TRAINING


def _weights(folder: Path) -> Path:
    return _adapter(folder) / "adapter_model.safetensors"


def _config(folder: Path) -> Path:
    patterns = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.0.v_proj": 8}, "use_rslora": False}
    return _adapter(folder, **patterns) / "adapter_config.json"


def _kohya(folder: Path) -> Path:
    tensors: dict[str, Any] = {}
    for name in (
        "lora_unet_down_blocks_0_attentions_0_proj_in",
        "lora_te_text_model_encoder_layers_0_mlp_fc1",
    ):
        tensors |= {
            f"{name}.lora_down.weight": np.ones((2, 6), np.float32),
            f"{name}.alpha": np.ones((), np.float32),
        }
        tensors |= {f"{name}.lora_up.weight": np.ones((4, 2), np.float32)}
    path = folder / "style.safetensors"
    path.write_bytes(save(tensors, {"ss_network_dim": "2", "ss_network_alpha": "1"}))
    return path


def _diffusers(folder: Path) -> Path:
    stem = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    tensors = {
        f"{stem}.lora_A.weight": np.ones((2, 6), np.float32),
        f"{stem}.lora_B.weight": np.ones((4, 2), np.float32),
    }
    said = {"unet.r": 2, "unet.lora_alpha": 4, "unet.alpha_pattern": {"to_q": 2}, "unet.rank_pattern": {}}
    path = folder / "pytorch_lora_weights.safetensors"
    path.write_bytes(save(tensors, {"lora_adapter_metadata": json.dumps(said)}))
    return path


def _mlx(folder: Path) -> Path:
    arrays = {f"model.layers.{i}.self_attn.q_proj.lora_{x}": np.ones(s, np.float32)
              for i in range(2) for x, s in (("a", (6, 2)), ("b", (2, 4)))}  # fmt: skip
    np.savez(folder / "adapters.npz", **arrays)  # type: ignore[arg-type]
    (folder / "adapter_config.json").write_text(
        '{"lora_parameters": {"rank": 2, "scale": 2.0}, "fine_tune_type": "lora"}'
    )
    return folder / "adapters.npz"


def _mlx_config(folder: Path) -> Path:
    return _mlx(folder).with_name("adapter_config.json")


def _pickle(folder: Path) -> Path:
    import torch

    torch.save({name: torch.from_numpy(a) for name, a in _pairs().items()}, folder / "adapter_model.bin")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 4}')
    return folder / "adapter_model.bin"


def _index(folder: Path) -> Path:
    tensors, names = _pairs(), []
    for number, part in enumerate((list(tensors)[:4], list(tensors)[4:]), 1):
        names += [(name, f"adapter_model-{number:05d}-of-00002.safetensors") for name in part]
        (folder / names[-1][1]).write_bytes(save({name: tensors[name] for name in part}))
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 4}')
    path = folder / "adapter_model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 320}, "weight_map": dict(names)}))
    return path


def _saved_study(folder: Path) -> Path:
    norms(_adapter(folder / "a"), spectra=True).save(folder / "study", figures=())
    return folder / "study"


def _readout(folder: Path) -> Path:
    return _saved_study(folder) / "tables" / "readout.json"


def _published_csv(folder: Path) -> Path:
    return next((_saved_study(folder) / "tables").glob("weight_norms_*.csv")).rename(
        folder / "weight_norms_x.csv"
    )


def _published_parquet(folder: Path) -> Path:
    return (_saved_study(folder) / "tables" / "norms.parquet").rename(folder / "norms.parquet")


def _run_of_checkpoints(folder: Path) -> Path:
    for step in (10, 20):
        log = [{"step": s, "loss": 1 / s, "learning_rate": 1e-4, "epoch": s / 10} for s in (5, 10, 15, 20)]
        _adapter(folder / f"checkpoint-{step}", {n: a * step for n, a in _pairs().items()})
        state = {"global_step": step, "epoch": step / 10, "max_steps": 20, "log_history": log}
        (folder / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(state))
    return folder / "checkpoint-20" / "trainer_state.json"


def _capture(folder: Path) -> Path:
    import polars as pl

    from tunescope.table import Table
    from tunescope.training.recording import FILE, SCHEMA

    number = {pl.Int64: 1, pl.Float64: 0.5, pl.String: "x"}
    rows = [{n: number[t] for n, t in SCHEMA.items()} | {"step": s, "factor": f, "layer": layer}  # type: ignore[index]
            for s in (0, 1, 2) for f in "AB" for layer in (0, 1)]  # fmt: skip
    Table(pl.DataFrame(rows, schema=SCHEMA), "capture", {"run": "x"}).write_parquet(folder / FILE)
    (folder / "run.json").write_text(
        '{"domain": "x", "learning_rate": 1e-4, "seed": 0, "complete": true, "steps": 2}'
    )
    return folder / FILE


def _run_record(folder: Path) -> Path:
    return _capture(folder).with_name("run.json")


_ROWS = [{"prompt": f"{i}+1=", "completion": str(i + 1)} for i in range(6)]
_CHATS = [{"messages": [{"role": r, "content": f"{r} {i}"} for r in ("user", "assistant")]} for i in range(4)]


def _data(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def _data_parquet(folder: Path) -> Path:
    import polars as pl

    pl.DataFrame(_ROWS).write_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def _chat_parquet(folder: Path) -> Path:
    import polars as pl

    pl.DataFrame(_CHATS).write_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def _read_spec(path: Path) -> object:
    """A SOURCE as a command line gives it, which may hold bytes that are no UTF-8, but no NUL."""
    text = path.read_bytes().replace(b"\0", b"").decode(errors="surrogateescape")
    label, place = parse_spec(text)
    # Whatever looks like an id of the hub would be asked for there.
    return (label, parse_hub_id(place)) if parse_hub_id(place) else open_source(text)


_TEMPLATE = (
    b"{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}"
    b"{% if m['role'] == 'assistant' %}</s>{% endif %}{% endfor %}"
    b"{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def _template(folder: Path) -> Path:
    """A chat template; its tokenizer is loaded now, for that takes longer than a trial may."""
    _tokenizer()
    (folder / "c.jinja").write_bytes(_TEMPLATE)
    return folder / "c.jinja"


@cache
def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(importlib.resources.files("tunescope.demo") / "model"))


def _read_template(path: Path) -> object:
    _tokenizer().chat_template = path.read_bytes().decode(errors="replace")
    return encode([row_of(chat) for chat in _CHATS], _tokenizer(), 64)


_OPTIONS = ["model", "data", "out", "learning_rate", "lora_rank", "seed", "targets"]
_YAML = (
    b"model: base/\ndata:\n  cpp: cpp.jsonl\nlearning_rate: [1e-4, 2e-4]\n"
    b"lora-rank: 8\nseed: &s [0, 1]\ntargets: q_proj\n"
)
_TOML = b'model = "base/"\nlearning_rate = [1e-4, 2e-4]\nlora_rank = 8\n[data]\ncpp = "cpp.jsonl"\n'
_TEXT, _JSON = {"bytes": bytewise, "tokens": tokenwise}, {"bytes": bytewise, "values": json_values}
_GZIP = {"bytes": bytewise, "text": packing.gzip_content}
_HEADER = {"bytes": bytewise, "header": packing.safetensors_header, "floats": packing.floats}
_ZIP, _TABLE = (
    {"bytes": bytewise, "members": packing.zip_members},
    {"bytes": bytewise, "values": packing.parquet_values},
)


def _measure(path: Path) -> object:
    return norms(path.parent)


def _measure_file(path: Path) -> object:
    return norms(path)


def _jsonl(records: list[Any]) -> bytes:
    return b"".join(packing.text_of(record) + b"\n" for record in records)


KINDS: dict[str, Kind] = {
    "safetensors": Kind(_weights, _measure, _HEADER),
    "adapter_config": Kind(_config, _measure, _JSON),
    "kohya": Kind(_kohya, _measure_file, _HEADER),
    "diffusers_metadata": Kind(_diffusers, _measure_file, _HEADER),
    "npz": Kind(_mlx, _measure, _ZIP),
    "mlx_config": Kind(_mlx_config, _measure, _JSON),
    "pickle": Kind(_pickle, lambda path: open_source(path.parent), _ZIP, slow=60),
    "shard_index": Kind(_index, _measure, _JSON),
    "norms_csv": Kind(_published_csv, _measure_file, _TEXT),
    "norms_parquet": Kind(_published_parquet, _measure_file, _TABLE, slow=32),
    "study_record": Kind(lambda f: _saved_study(f) / "study.json", lambda p: tunescope.read(p.parent), _JSON),
    "readout": Kind(_readout, lambda p: tunescope.read(p.parents[1]), _JSON),
    "trainer_state": Kind(_run_of_checkpoints, lambda p: tunescope.trajectory(p.parents[1]), _JSON, slow=4),
    "capture": Kind(_capture, lambda p: tunescope.trajectory(p.parent), _TABLE, slow=32),
    "run_record": Kind(_run_record, lambda p: tunescope.trajectory(p.parent), _JSON, slow=2),
    "rows_jsonl": Kind(_data("rows.jsonl", _jsonl(_ROWS)), read_rows, _TEXT),
    "rows_chat": Kind(_data("rows.jsonl", _jsonl(_CHATS)), read_rows, _TEXT),
    "rows_json": Kind(_data("rows.json", packing.text_of(_ROWS)), read_rows, _JSON),
    "rows_csv": Kind(_data("rows.csv", b'prompt,completion\n1+1=,2\n"2+\n2=",4\n'), read_rows, _TEXT),
    "rows_tsv": Kind(_data("rows.tsv", b'prompt\tcompletion\n1+1=\t2\n"2+\n2="\t4\n'), read_rows, _TEXT),
    "rows_parquet": Kind(_data_parquet, read_rows, _TABLE, slow=32),
    "rows_chat_parquet": Kind(_chat_parquet, read_rows, _TABLE, slow=32),
    "spec": Kind(_data("source.txt", b"name=org/name@v1:some/folder"), _read_spec, _TEXT, named=False),
    "rows_gzip": Kind(_data("rows.jsonl.gz", gzip.compress(_jsonl(_ROWS), mtime=0)), read_rows, _GZIP),
    "chat_template": Kind(_template, _read_template, _TEXT, named=False),
    "yaml": Kind(_data("c.yaml", _YAML), lambda p: read_config(p, _OPTIONS), _TEXT),
    "toml": Kind(_data("c.toml", _TOML), lambda p: read_config(p, _OPTIONS), _TEXT),
}  # fmt: skip
KINDS |= METHODS | STATES | MODELS | FORMATS | LANGUAGE | TRAINING | BESIDE_BASE
