"""Short names of components, unique within a model."""

from collections import Counter
from collections.abc import Iterable, Sequence

from tunescope.address.families import classify, spelled
from tunescope.address.place import Address


def component_names(addresses: Sequence[Address]) -> list[str]:
    """A short name for every address, unique within the sequence, such as `L24_ATTN_K`.

    The stack leads where there are several stacks, the expert ends the name where there is one, and the
    shortest end of the module path that tells them apart replaces the component where two modules would
    share it.

    >>> from tunescope.address import parse
    >>> component_names([parse("h.2.attn.c_attn"), parse("h.2.mlp.c_fc")])
    ['L2_ATTN_QKV', 'L2_MLP_UP']
    """
    several = len({a.stack for a in addresses}) > 1
    names = [_name(a, a.component, several) for a in addresses]
    rivals: dict[str, set[str]] = {}
    for address, name in zip(addresses, names, strict=True):
        rivals.setdefault(name, set()).add(address.module_type)
    names = [
        _name(a, told_apart(a.module_type, rivals[n]), several) if len(rivals[n]) > 1 else n
        for a, n in zip(addresses, names, strict=True)
    ]
    return _numbered(names)


def told_apart(module_type: str, rivals: Iterable[str]) -> str:
    """The shortest end of a module path, in capitals, that none of its rivals shares.

    >>> told_apart("img_mlp.net.0.proj", ["img_mlp.net.0.proj", "txt_mlp.net.0.proj"])
    'IMG_MLP_NET_0_PROJ'
    """
    others = [rival.split(".") for rival in rivals if rival != module_type]
    parts = module_type.split(".")
    for k in range(1, len(parts)):
        if all(rival[-k:] != parts[-k:] for rival in others):
            return spelled(".".join(parts[-k:]), classify(module_type)[0])
    return spelled(module_type, classify(module_type)[0])


def _name(address: Address, component: str, with_stack: bool) -> str:
    parts = [address.stack.upper()] if with_stack else []
    parts += [] if address.layer is None else [f"L{address.layer}"]
    parts += [component] + ([] if address.expert is None else [f"E{address.expert}"])
    return "_".join(parts)


def _numbered(names: list[str]) -> list[str]:
    """The names with `_2`, `_3`, … behind later copies of a name that still repeats."""
    taken = set(names)
    seen: Counter[str] = Counter()
    out = []
    for name in names:
        seen[name] += 1
        new, k = name, seen[name]
        while k > 1 and (new := f"{name}_{k}") in taken:
            k += 1
        taken.add(new)
        out.append(new)
    return out
