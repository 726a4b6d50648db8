"""Why two whole models cannot be compared: no weight of a name, two spellings of one model, or no numbers."""

from collections.abc import Mapping, Sequence
from typing import NoReturn

from tunescope.address import Address, parse_all
from tunescope.delta import Delta
from tunescope.errors import BadInput
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.whole import WholeModel
from tunescope.words import counted

# What makes one spelling of two.
RENAMED = (
    "convert one of them to the names of the other (image models: from_single_file(FILE, config=BASE) of the "
    "model's class in diffusers, then save_pretrained)"
)


def refuse_unmatched(base: WholeModel, tuned: WholeModel, found: Sequence[Delta]) -> NoReturn:
    """Raise `BadInput` for two models without a weight to compare; `found` are those that could not be."""
    if found:
        raise BadInput(
            "nothing-comparable",
            "no weight of the two models can be compared",
            file=tuned.location,
            tensor=found[0].tensors[0],
            expected=f"the weights of {base.location}",
            found=found[0].status,
            fix="name the base it was trained from, in a floating dtype",
        )
    if same := in_other_words(base.tensors, tuned.tensors):
        raise BadInput(
            "other-base",
            "the two models call their weights otherwise, and no name is in both",
            file=tuned.location,
            tensor=same[0][1],
            expected=f"the names of {base.location}, such as {same[0][0]}",
            found=f"{same[0][1]}; {counted(len(same), 'weight')} of one place and shape under two names",
            fix=RENAMED,
        )
    raise BadInput(
        "other-base",
        "the two models have no weight in common",
        file=tuned.location,
        expected="such as " + ", ".join(list(base.tensors)[:3]),
        found="such as " + ", ".join(list(tuned.tensors)[:3]),
        fix="name the base it was trained from",
    )


def in_other_words(base: Mapping[str, LazyTensor], tuned: Mapping[str, LazyTensor]) -> list[tuple[str, str]]:
    """Names of weights of one address and shape in both models, as the base and the other spell them."""
    places = {(place, base[name].shape): name for place, name in _placed(base)}
    return [
        (places[place, tuned[name].shape], name)
        for place, name in _placed(tuned)
        if (place, tuned[name].shape) in places
    ]


def _placed(tensors: Mapping[str, LazyTensor]) -> list[tuple[Address, str]]:
    return list(zip(parse_all(tensors), tensors, strict=True))
