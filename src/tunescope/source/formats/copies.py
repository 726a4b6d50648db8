"""One update that PEFT saved several times, because its module is also kept whole (`modules_to_save`)."""

import re
from collections.abc import Mapping
from dataclasses import replace

from tunescope.source.files.tensors import LazyTensor, Ledger
from tunescope.source.formats.leftovers import COPY_OF_BEFORE
from tunescope.source.formats.names import Key
from tunescope.words import counted

# What PEFT puts around a module that is saved whole: the trained copy, under the adapter's name or not, and
# the module as it was.
_TRAINED = re.compile(r"\.modules_to_save(?:\.default)?(?=\.|$)")
_BEFORE = re.compile(r"\.original_module(?=\.|$)")


def once(keys: Mapping[str, Key], tensors: Mapping[str, LazyTensor], ledger: Ledger) -> dict[str, Key]:
    """The keys by tensor name, each parameter once, under the name of the module itself.

    The copy from before training is left, and so is a trained copy of equal bytes; of two that differ the
    one in `modules_to_save` is kept, which is the one that acts, and said.
    """
    kept: dict[str, Key] = {}
    plain = {(key.module, key.parameter): name for name, key in keys.items()}
    replaced: set[str] = set()
    for name, key in keys.items():
        if _BEFORE.search(key.module):
            ledger.left([name], COPY_OF_BEFORE)
            continue
        module = _TRAINED.sub("", key.module)
        first = plain.get((module, key.parameter)) if module != key.module else None
        if first is not None and _equal(tensors[first], tensors[name]):
            ledger.left([name], f"the same tensor a second time: {first}")
        else:
            replaced |= {first} - {None} if first is not None else set()
            kept[name] = replace(key, module=module)
    if replaced:
        text = (
            f"{counted(len(replaced), 'tensor differs', 'tensors differ')} from the "
            "trained copy in modules_to_save, which was taken"
        )
        ledger.notice("saved-twice", text, min(replaced))
        ledger.left(replaced, "another copy in modules_to_save is the one that acts")
    return {name: key for name, key in kept.items() if name not in replaced}


def _equal(one: LazyTensor, other: LazyTensor) -> bool:
    alike = (one.shape, one.dtype) == (other.shape, other.dtype)
    return alike and one.read().tobytes() == other.read().tobytes()
