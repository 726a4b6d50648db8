"""Where in a checkpoint's folder its weights lie: in itself, or in a folder that tools put them in."""

from collections.abc import Sequence
from pathlib import Path

from tunescope.errors import BadInput, TunescopeError
from tunescope.source.files.deepspeed import is_deepspeed
from tunescope.source.files.disk import unreachable
from tunescope.source.files.distributed import is_distributed
from tunescope.source.locate import CONFIG, NEVER_OPENED, adapter_names
from tunescope.source.steps import numbered

# In the order in which they are meant where there are several.
_NESTED = (
    "adapter_model", "adapter", "lora_adapter", "lora", "pytorch_model_fsdp_0", "model", "hf_model",
    "huggingface", "pytorch_model", "policy", "actor", "transformer", "unet", "default", "weights",
)  # fmt: skip
_NEVER = ("optimizer", "ema", "critic", "tokenizer", "reward")
# How deep below a checkpoint, as in `global_step_100/actor/lora_adapter`.
_DEPTH = 2


def weights_of(checkpoint: Path) -> Path | None:
    """The file or folder that holds a checkpoint's weights; `None` where nothing does.

    Raises `BadInput` where several folders in it do, and none is known to be the one.
    """
    if not checkpoint.is_dir():
        return checkpoint
    names = _names(checkpoint)
    if holds_weights(names):
        return checkpoint
    return _below(checkpoint, names, _DEPTH)


def holds_folder_weights(folder: Path) -> bool:
    """Whether weights lie in a folder itself, beside whatever folders it has."""
    return holds_weights(_names(folder))


def known_folder(folder: Path) -> Path | None:
    """The folder in a checkpoint's that tools put weights in, where the checkpoint's own holds none.

    The parts of a diffusers pipeline are no such folders.
    """
    try:
        whole = not folder.is_dir() or (folder / "model_index.json").exists()
        found = None if whole else weights_of(folder)
    except (OSError, TunescopeError):
        # Whoever opens the folder says what stands in the way.
        return None
    inside = () if found is None else found.relative_to(folder).parts
    return found if inside and all(part in _NESTED for part in inside) else None


def _below(folder: Path, names: Sequence[str], depth: int) -> Path | None:
    inner = [n for n in names if not n.startswith((".", *_NEVER)) and (folder / n).is_dir()]
    # A numbered folder in it is a checkpoint of its own, but for DeepSpeed's `checkpoint-10/global_step10`.
    inner = [n for n in inner if (own := numbered(folder / n)) is None or own.number == _number(folder)]
    listed = {name: _names(folder / name) for name in inner}
    holding = {name: folder / name for name in inner if holds_weights(listed[name])}
    if not holding and depth > 1:
        deeper = {name: _below(folder / name, listed[name], depth - 1) for name in inner}
        holding = {name: path for name, path in deeper.items() if path is not None}
    if len(holding) > 1:
        known = next((holding[name] for name in _NESTED if name in holding), None)
        if known is None:
            raise BadInput(
                "ambiguous-weights",
                "a checkpoint holds several folders of weights, and they may differ",
                file=folder,
                expected="one of them, or one called " + ", ".join(_NESTED[:4]),
                found=", ".join(list(holding)[:6]),
                fix=f"name the ones you mean one by one, such as {next(iter(holding.values()))}",
            )
        return known
    return next(iter(holding.values()), None)


def _number(folder: Path) -> int | None:
    own = numbered(folder)
    return None if own is None else own.number


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise unreachable(folder, error) from None


def holds_weights(names: Sequence[str]) -> bool:
    """Whether these names of a folder's files are those of an adapter, or of a whole model.

    >>> holds_weights(["trainer_state.json", "optimizer.pt"]), holds_weights(["model.safetensors"])
    (False, True)
    """
    if is_distributed(names) or is_deepspeed(names):
        return True
    model = ("model", "pytorch_model", "diffusion_pytorch_model")
    ends = (".safetensors", ".bin", ".index.json")
    if any(n.startswith(model) and n.endswith(ends) for n in names):
        return True
    adapter = [n for n in adapter_names(names) if n != CONFIG]
    return any(n.endswith((".safetensors", ".npz")) or n.startswith("adapter") for n in adapter) or (
        len(adapter) == 1 and not NEVER_OPENED.match(adapter[0])
    )
