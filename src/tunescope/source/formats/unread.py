"""Files of which no tensor belongs to a format that is read here, and what they are where that is known."""

from collections.abc import Iterable, Sequence
from typing import NoReturn

from tunescope.errors import BadInput

# Methods that multiply the base's own weight, by the parameters that one of their modules has
# [KohakuBlueleaf/LyCORIS: lycoris/modules/diag_oft.py, boft.py, glora.py; kohya-ss/sd-scripts: oft.py].
_MULTIPLYING = (
    ((".oft_blocks",), "OFT or BOFT of LyCORIS and sd-scripts"),
    ((".a1.weight", ".a2.weight", ".b1.weight", ".b2.weight"), "GLoRA of LyCORIS"),
)
# [kohya-ss/sd-scripts: networks/control_net_lllite.py].
_CONDITIONING = ".conditioning1."


def is_conditional(names: Iterable[str]) -> bool:
    """Whether the modules depend on a picture (ControlNet-LLLite), so that they are no update of a weight."""
    return any(_CONDITIONING in name for name in names)


def refuse_keys(names: Sequence[str], place: str) -> NoReturn:
    """Raise `BadInput` for a file of unknown names, with its method where the names tell it."""
    for parameters, method in _MULTIPLYING:
        if first := _first_with(parameters, names):
            raise BadInput(
                "method-not-read",
                f"the file holds {method}, which multiplies the base's weight; it is not read here",
                file=place,
                tensor=first,
                expected="a method whose file states ΔW (LoRA, LoHa, LoKr, full differences)",
                found=f"{method} among {len(names)} tensors",
                fix="merge it into its base with what wrote it, then: tunescope norms MERGED --base BASE",
            )
    if is_conditional(names):
        raise BadInput(
            "method-not-read",
            "the file holds ControlNet-LLLite, which adds to the input of layers what a picture says",
            file=place,
            tensor=next(name for name in names if _CONDITIONING in name),
            expected="a method whose file states ΔW (LoRA, LoHa, LoKr, full differences)",
            found=f"ControlNet-LLLite among {len(names)} tensors",
            fix="there is no ΔW of it to measure; take an adapter of weights",
        )
    raise BadInput(
        "keys-not-recognised",
        f"0 of {len(names)} keys recognised",
        file=place,
        expected="the keys of a known adapter format (PEFT, kohya, diffusers, MLX, factor pairs)",
        found="first five: " + ", ".join(names[:5]),
        fix="docs/formats.md lists the formats; a whole model is not an adapter",
    )


def _first_with(parameters: Sequence[str], names: Sequence[str]) -> str | None:
    """The first tensor of the first module that has all of these parameters."""
    held = set(names)
    stems = (name.removesuffix(parameters[0]) for name in names if name.endswith(parameters[0]))
    whole = (stem for stem in stems if all(f"{stem}{parameter}" in held for parameter in parameters))
    return next((f"{stem}{parameters[0]}" for stem in whole), None)
