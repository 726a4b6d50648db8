"""Files without any ΔW: of unknown names, of methods that say too little, of those that need the base."""

import re
from collections.abc import Iterable, Sequence
from typing import NoReturn

from tunescope.errors import BadInput
from tunescope.source.files.documents import read_object
from tunescope.source.files.tensors import Ledger
from tunescope.source.opened import Source
from tunescope.source.weights import Weights
from tunescope.words import counted

# What a file of these methods does not say, by a parameter that only they have [kohya-ss/sd-scripts:
# networks/boft.py].
_UNSAID = ((r"\.boft_R$", "BOFT of sd-scripts", "whether it was trained by PEFT's rule or by its own"),)
# [kohya-ss/sd-scripts: networks/control_net_lllite.py].
_CONDITIONING = ".conditioning1."


def is_conditional(names: Iterable[str]) -> bool:
    """Whether the modules depend on a picture (ControlNet-LLLite), so that they are no update of a weight."""
    return any(_CONDITIONING in name for name in names)


def refuse_weights_of_mlx(weights: Weights) -> None:
    """Raise `BadInput` for what mlx-lm saves with `--fine-tune-type full`: trained weights, no updates.

    Its `fuse` puts them into the base [ml-explore/mlx-lm: tuner/utils.py, load_adapters; fuse.py].
    """
    if weights.config_file is None or weights.config is not None:
        return
    config = read_object(weights.config_file, "adapter-config", "the adapter's config")
    if config.get("fine_tune_type") != "full":
        return
    raise BadInput(
        "full-model",
        "the file holds weights that mlx-lm trained whole (fine_tune_type full), and no updates",
        file=weights.place,
        tensor=next(iter(weights.tensors)),
        expected="an adapter's factors, or a whole model beside its base",
        found=f"{counted(len(weights.tensors), 'tensor')} without a factor among them",
        fix="mlx_lm.fuse --model BASE --adapter-path ADAPTER --save-path MERGED, then: "
        "tunescope norms MERGED --base BASE",
    )


def refuse_keys(names: Sequence[str], place: str) -> NoReturn:
    """Raise `BadInput` for a file of unknown names, with its method where the names tell it."""
    for pattern, method, lacks in _UNSAID:
        if first := next((name for name in names if re.search(pattern, name)), None):
            raise BadInput(
                "method-not-read",
                f"the file holds {method}, which multiplies the base's weight, and does not say {lacks}",
                file=place,
                tensor=first,
                expected="a method whose file states its update (LoRA, LoHa, LoKr, OFT, GLoRA, differences)",
                found=f"{method} among {counted(len(names), 'tensor')}",
                fix="merge it into its base with what wrote it, then: tunescope norms MERGED --base BASE",
            )
    if is_conditional(names):
        raise BadInput(
            "method-not-read",
            "the file holds ControlNet-LLLite, which adds to the input of layers what a picture says",
            file=place,
            tensor=next(name for name in names if _CONDITIONING in name),
            expected="a method whose file states ΔW (LoRA, LoHa, LoKr, full differences)",
            found=f"ControlNet-LLLite among {counted(len(names), 'tensor')}",
            fix="there is no ΔW of it to measure; take an adapter of weights",
        )
    raise BadInput(
        "keys-not-recognised",
        f"0 of {counted(len(names), 'key')} recognised",
        file=place,
        expected="the keys of a known adapter format (PEFT, kohya, diffusers, MLX, factor pairs)",
        found="first five: " + ", ".join(names[:5]),
        fix="docs/formats.md lists the formats; a whole model is not an adapter",
    )


def refuse_pending(source: Source) -> None:
    """Raise `BadInput` for a source of which every update needs the base that is not there."""
    if source.deltas or not source.pending:
        return
    methods = " and ".join(sorted({one.method.upper() for one in source.pending}))
    raise BadInput(
        "needs-base",
        f"the file alone has no ΔW: {methods} multiplies the base's weights",
        file=source.location,
        tensor=source.pending[0].tensors[0],
        expected="the base beside it",
        found=f"{counted(len(source.pending), 'module')}, all of which need it",
        fix="name the base: tunescope norms ADAPTER --base BASE (check works without)",
    )


def check_not_empty(weights: Weights) -> None:
    """Raise `BadInput` for a file that holds nothing at all."""
    if any(tensor.nbytes for tensor in weights.tensors.values()):
        return
    count = len(weights.tensors)
    raise BadInput(
        "empty-adapter",
        "the adapter is empty; was it saved under ZeRO-3 without gathering its weights?",
        file=weights.place,
        expected="tensors with elements",
        found=f"{counted(count, 'tensor')}, all of size 0" if count else "no tensors at all",
        fix="save again with the weights gathered (stage3_gather_16bit_weights_on_model_save)",
    )


def check_understood(weights: Weights, ledger: Ledger) -> None:
    """Refuse a source of which nothing was understood; reasons for single tensors stand in the ledger."""
    unsupported = [t for t in weights.tensors.values() if not t.supported]
    if unsupported and all(t.lacking for t in unsupported):
        raise BadInput(
            "nothing-salvaged",
            "the file is cut short so early that no update is left whole",
            file=weights.place,
            tensor=unsupported[0].name,
            expected="at least one module with all its tensors",
            found=(
                f"{len(weights.tensors) - len(unsupported)} of "
                f"{counted(len(weights.tensors), 'tensor')} are complete"
            ),
            fix="download or copy the file again",
        )
    if unsupported:
        raise BadInput(
            "unsupported-dtype",
            f"no update can be computed: {len(unsupported)} of "
            f"{counted(len(weights.tensors), 'tensor')} cannot be read",
            file=weights.place,
            tensor=unsupported[0].name,
            expected="F32, F16, BF16 or F8",
            found=", ".join(sorted({t.dtype for t in unsupported})),
            fix="save the adapter unquantised",
        )
    if len(ledger.unclaimed()) == len(weights.tensors):
        refuse_keys(list(weights.tensors), weights.place)
