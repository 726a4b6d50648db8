"""Files that each hold one rank's part of tensors that a training had split over GPUs (Megatron, NeMo 1)."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from tunescope.errors import BadInput
from tunescope.source.files.suffixes import PICKLED
from tunescope.words import first

# `mp_rank_00_001`: the part of the tensor, then of the pipeline [NVIDIA/Megatron-LM: checkpointing.py].
_RANK = re.compile(r"^(?:tp|mp)_rank_(?P<part>\d{2,5})(?:_.*)?$")
# How far above a file its rank's folder may be.
_ABOVE = 3


def refuse_one_part(path: Path) -> None:
    """Raise `BadInput` for a file that lies in the folder of one rank of several."""
    for folder in list(path.absolute().parents)[:_ABOVE]:
        if _RANK.match(folder.name):
            siblings = _listed(folder.parent)
            if len(parts_among(siblings)) > 1:
                refuse_parts(path, siblings)
            return


def parts_among(names: Iterable[str]) -> set[str]:
    """The parts of a tensor that folders of these names hold.

    >>> sorted(parts_among(["mp_rank_00_000", "mp_rank_01_000", "mp_rank_00_001", "latest.txt"]))
    ['00', '01']
    """
    return {found["part"] for name in names if (found := _RANK.match(name))}


def refuse_parts(path: Path, names: Iterable[str]) -> NoReturn:
    """Raise `BadInput` for weights that lie in parts in folders of these names."""
    ranks = sorted(name for name in names if _RANK.match(name))
    raise BadInput(
        "tensor-parallel",
        "the files are tensor-parallel shards, and none says along which side of each tensor",
        file=path,
        expected="whole tensors",
        found=first(ranks, 4),
        fix="export it with what trained it (Megatron-Bridge: export_adapter_ckpt), or save torch_dist",
    )


def refuse_one_rank(folder: Path, names: Iterable[str]) -> None:
    """Raise `BadInput` that names the weights of a folder that is, or holds, the save of one rank."""
    is_rank = _RANK.match(folder.absolute().name) is not None
    inside = [folder] if is_rank else [folder / name for name in sorted(names) if _RANK.match(name)]
    held = [rank / name for rank in inside for name in sorted(_listed(rank)) if name.endswith(PICKLED)]
    if not held:
        return
    raise BadInput(
        "no-weights",
        "this is the save of one rank of a training with Megatron or NeMo 1; its weights lie in a file",
        file=folder,
        expected="the file with the weights",
        found=first([str(path.relative_to(folder)) for path in held], 4),
        fix=f"name the file: {held[0]}",
    )


def _listed(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        # A folder that cannot be listed says nothing of others.
        return []
