"""Folders that a DeepSpeed engine saved: the one file that holds all weights, or why no file does.

Up to ZeRO-2 `mp_rank_00_model_states.pt` holds the whole module [deepspeedai/DeepSpeed: runtime/engine.py].
Under ZeRO-3 every rank holds its part; the script beside the folder joins them [utils/zero_to_fp32.py].
"""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from tunescope.errors import BadInput
from tunescope.words import first

_STATES = re.compile(r"^(?P<zero>zero_pp_rank_\d+_)?mp_rank_(?P<part>\d+)_model_states\.pt$")
_OF_LAYERS = re.compile(r"^layer_\d+.*model_states\.pt$")
_SHOWN = 4


def is_deepspeed(names: Sequence[str]) -> bool:
    """Whether these are the files of one save of a DeepSpeed engine, without safetensors beside them.

    >>> is_deepspeed(["mp_rank_00_model_states.pt", "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"])
    True
    """
    return any(map(_STATES.match, names)) and not any(name.endswith(".safetensors") for name in names)


def states_file(folder: Path, names: Sequence[str]) -> Path:
    """The file with all weights of such a folder; raises `BadInput` where they lie in parts in several."""
    found = [match for name in sorted(names) if (match := _STATES.match(name))]
    of_layers = sorted(filter(_OF_LAYERS.match, names))
    if any(match["zero"] for match in found):
        _refuse(
            folder,
            "DeepSpeed's ZeRO-3 split the weights over its ranks, and each file holds one rank's part",
            [match[0] for match in found],
            f"{_joining(folder.absolute())}, then name OUT",
        )
    if len(found) > 1 or of_layers:
        what = "tensors" if len(found) > 1 else "layers or experts"
        _refuse(
            folder,
            f"DeepSpeed split the {what} over its ranks, and each file holds a part",
            [*(match[0] for match in found), *of_layers],
            "save the model with its own save_pretrained, or convert the folder with what trained it",
        )
    return folder / found[0][0]


def _joining(folder: Path) -> str:
    """The command that joins the parts, by the script that the engine left above, or by the library's own."""
    script = folder.parent / "zero_to_fp32.py"
    runs = shlex.quote(str(script)) if script.is_file() else "-m deepspeed.utils.zero_to_fp32"
    return f"python {runs} {shlex.quote(str(folder.parent))} OUT --tag {shlex.quote(folder.name)}"


def _refuse(folder: Path, what: str, found: list[str], fix: str) -> None:
    raise BadInput(
        "split-by-deepspeed",
        what,
        file=folder,
        expected="mp_rank_00_model_states.pt alone, or whole weights (model.safetensors)",
        found=first(found, _SHOWN),
        fix=fix,
    )
