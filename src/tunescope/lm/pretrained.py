"""Models, tokenizers and texts by name, as a gradient score needs them."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from tunescope.corpus.encoding import IGNORED, Example, encode
from tunescope.corpus.reading import read_rows
from tunescope.errors import BadInput, Exhausted, Missing, Notice, UsageError
from tunescope.lm.batches import padded
from tunescope.source.spec import parse_hub_id

DTYPES = ("auto", "float32", "float64", "bfloat16", "float16")
# Share of the tokens that a masked language model is asked for [Devlin et al. 2018, arXiv 1810.04805].
MASKED_SHARE = 0.15


def load_model(spec: str | Path, dtype: str = "auto", device: str = "cpu") -> nn.Module:
    """The causal or masked language model in a folder or on the hub (`org/name@revision:folder`).

    `dtype` `auto` is float32 on the CPU and the checkpoint's own dtype elsewhere. Raises `Missing` where
    there is no such model, and `BadInput` where it cannot be loaded or its file lacks weights.
    """
    # Deferred: slow to import, and not needed by whoever passes a model.
    import transformers

    name, options = _located(spec)
    with _quietly(transformers):
        config = _from(spec, lambda: transformers.AutoConfig.from_pretrained(name, **options))
        family = _family(transformers, config)
        model, found = _from(
            spec,
            lambda: family.from_pretrained(
                name, dtype=_dtype(dtype, device), output_loading_info=True, **_experts(dtype), **options
            ),
        )
    if missing := sorted(found["missing_keys"]):
        raise BadInput(
            "weights-missing",
            f"the checkpoint lacks {len(missing)} weights of {type(model).__name__}",
            file=spec,
            expected="every weight of the model",
            found=", ".join(missing[:3]),
            fix="they would be random; name the whole model",
        )
    return moved(model, device)


def moved(model: nn.Module, device: str) -> nn.Module:
    """The model on a device; `Exhausted` where the device is not there or too small."""
    try:
        return model.to(device)
    except (RuntimeError, AssertionError, torch.OutOfMemoryError) as error:
        raise Exhausted(
            "no-device",
            f"the model cannot be put on {device}",
            found=str(error).split("\n", 1)[0],
            fix="--device cpu",
        ) from error


def load_tokenizer(spec: str | Path) -> Any:
    """The tokenizer beside a model, with a token to pad with."""
    # Deferred, as above.
    import transformers

    name, options = _located(spec)
    with _quietly(transformers):
        found = _from(spec, lambda: transformers.AutoTokenizer.from_pretrained(name, **options), "tokenizer")
    if len(found) <= len(found.all_special_tokens):
        # What transformers makes of some models that have no tokenizer files: every text would be unknown.
        text = "the tokenizer cannot be loaded: it knows special tokens only"
        raise BadInput("model-unreadable", text, file=spec, found=f"{len(found)} tokens",
                       fix="put the tokenizer's files beside the model")  # fmt: skip
    return found


def read_batches(
    data: str | Path,
    tokenizer: Any,
    *,
    sequences: int = 128,
    max_length: int = 512,
    batch_size: int = 8,
    masked: bool = False,
    seed: int = 0,
) -> tuple[list[dict[str, torch.Tensor]], list[Notice]]:
    """The first `sequences` rows of a data file as batches, and what was noticed on the way.

    For a masked language model 15 % of every sequence's tokens are hidden, at places that `seed` fixes.
    Raises as `read_rows` and `encode`.
    """
    rows = read_rows(str(data))
    examples = encode(rows.rows[:sequences], tokenizer, max_length)
    notices = _noticed(str(data), len(rows.rejected), min(sequences, len(rows)), examples)
    if masked:
        examples = [hidden(example, tokenizer, seed) for example in examples]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    return padded(examples, batch_size, pad), notices


def _noticed(data: str, rejected: int, rows: int, examples: list[Example]) -> list[Notice]:
    cut, lost = sum(e.truncated for e in examples), rows - len(examples)
    found = []
    if rejected:
        found.append(
            Notice("data-rejected", f"{rejected} records of {data} are no examples and were left out")
        )
    if lost:
        text = (
            f"{lost} of {rows} sequences of {data} have nothing to score within the length and were left out"
        )
        found.append(Notice("data-left-out", text))
    if cut:
        found.append(Notice("data-cut", f"{cut} of {rows} sequences of {data} were cut at their end"))
    return found


def hidden(example: Example, tokenizer: Any, seed: int = 0) -> Example:
    """The example with 15 % of its tokens behind the mask token, and labels only there.

    Special tokens stay; which tokens are hidden depends on `seed` and on the example's row alone.
    """
    if tokenizer.mask_token_id is None:
        raise BadInput("no-mask-token", "the model's tokenizer has no mask token", fix="use a causal model")
    special = set(tokenizer.all_special_ids)
    places = [i for i, token in enumerate(example.input_ids) if token not in special]
    generator = torch.Generator().manual_seed(seed * 1_000_003 + example.row)
    count = min(len(places), max(1, round(MASKED_SHARE * len(places))))
    chosen = {places[i] for i in torch.randperm(len(places), generator=generator)[:count].tolist()}
    pairs = list(enumerate(example.input_ids))
    ids = [tokenizer.mask_token_id if i in chosen else token for i, token in pairs]
    return Example(ids, [t if i in chosen else IGNORED for i, t in pairs], example.row, example.truncated)


def _located(spec: str | Path) -> tuple[str, dict[str, Any]]:
    """Path or repository, and the revision and folder within it."""
    text = os.fspath(spec)
    path = Path(text).expanduser()
    if os.path.lexists(path):
        return str(path), {}
    hub = parse_hub_id(text)
    if hub is None or (text.count("/") > 1 and not text.startswith("hf://")):
        raise Missing(
            "not-found",
            "there is no such model",
            file=text,
            found="nothing at this path; it looks local, so this was not a hub lookup",
            fix="check the path; a hub model is written org/name[@revision][:folder]",
        )
    options = {"revision": hub.revision, "subfolder": hub.folder}
    return hub.repo, {key: value for key, value in options.items() if value}


def longest(model: nn.Module) -> int | None:
    """How many tokens a sequence may hold for the model, where its config says so."""
    config: Any = getattr(model, "config", None)
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    limit = getattr(config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None


def _from(spec: str | Path, load: Callable[[], Any], what: str = "model") -> Any:
    try:
        return load()
    except OSError as error:
        if isinstance(error.__context__, ValueError):
            text = f"a file of the {what} cannot be read"
            raise BadInput("model-unreadable", text, file=spec, found=_first_line(error)) from error
        raise Missing(
            "model-missing",
            f"the {what} cannot be loaded",
            file=spec,
            found=_first_line(error),
            fix="check the name; gated models need `hf auth login`; offline, download it first",
        ) from error
    except torch.OutOfMemoryError as error:
        raise Exhausted(
            "out-of-memory", "the model does not fit", file=spec, found=_first_line(error)
        ) from error
    except (ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise BadInput(
            "model-unreadable",
            f"the {what} cannot be loaded",
            file=spec,
            found=_first_line(error),
            fix="a language model in the format of transformers is needed, and its tokenizer beside it",
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def _family(transformers: Any, config: Any) -> Any:
    """The auto class: masked where the architecture says so, or where the type has no other."""
    named = [str(name) for name in config.architectures or ()]
    masked = transformers.AutoModelForMaskedLM
    if any("MaskedLM" in name or "PreTraining" in name for name in named):
        return masked
    if any("CausalLM" in name or "LMHead" in name for name in named):
        return transformers.AutoModelForCausalLM
    return masked if type(config) in masked._model_mapping else transformers.AutoModelForCausalLM


def _dtype(name: str, device: str) -> torch.dtype | str:
    if name not in DTYPES:
        raise UsageError("bad-dtype", f"there is no dtype {name!r}", expected=", ".join(DTYPES))
    if name == "auto":
        return torch.float32 if torch.device(device).type == "cpu" else "auto"
    chosen: torch.dtype = getattr(torch, name)
    return chosen


def _experts(dtype: str) -> dict[str, str]:
    # Grouped products of mixture-of-experts layers have no float64.
    return {"experts_implementation": "eager"} if dtype == "float64" else {}


@contextmanager
def _quietly(transformers: Any) -> Iterator[None]:
    """Without the library's own bars and reports: what matters in them is raised as an error."""
    logs: Mapping[str, Any] = vars(transformers.utils.logging)
    level, bars = logs["get_verbosity"](), logs["is_progress_bar_enabled"]()
    logs["set_verbosity_error"]()
    logs["disable_progress_bar"]()
    try:
        yield
    finally:
        logs["set_verbosity"](level)
        if bars:
            logs["enable_progress_bar"]()
