"""Updates of adapters that meet no weight of their base: refused where none does, else a finding."""

from collections.abc import Iterator, Sequence

from tunescope.delta import ABSENT, UNFIT, Delta
from tunescope.errors import BadInput, printable
from tunescope.source.opened import Source
from tunescope.study.finding import Finding
from tunescope.words import counted, named

_SHOWN = 3


def not_attached(sources: Sequence[Source]) -> Iterator[Finding]:
    """A warning for every adapter of which some updates meet no weight of the base that fits.

    Raises `BadInput` (`other-base`) for an adapter of which none does.
    """
    for source in sources:
        if source.base is None:
            continue
        found = [(delta, why) for delta in source.deltas if (why := _why(delta))]
        if found and len(found) == len(source.deltas):
            _refuse(source.location, source.base.location, found)
        if found:
            yield _finding(source, found)


def _why(delta: Delta) -> str:
    """What the base has in the place of an update's weight, empty where that may be the one it changes."""
    if delta.base is not None or delta.pair is not None:
        return ""
    said = delta.status.split("; ")
    return next((part for part in said if part == ABSENT or part.startswith(UNFIT)), "")


def _finding(source: Source, found: Sequence[tuple[Delta, str]]) -> Finding:
    names = tuple(delta.component_name for delta, _ in found)
    absent = [delta.component_name for delta, why in found if why == ABSENT]
    unfit = [f"{d.component_name} is {d.d_out}×{d.d_in}, {why}" for d, why in found if why.startswith(UNFIT)]
    told = [*([f"not in the base: {named(absent)}"] if absent else []), *unfit[:_SHOWN]]
    told += [f"{len(unfit) - _SHOWN} more of other shapes"] if len(unfit) > _SHOWN else []
    several = len(found) > 1
    text = (
        f"{len(found)} of {counted(len(source.deltas), 'update')} of {source.label} "
        f"{'meet' if several else 'meets'} no weight of {source.base.location if source.base else ''} that "
        f"fits ({'; '.join(told)}): nothing that needs the base is said of {'them' if several else 'it'}."
    )
    evidence = {
        "statistic": "updates without a weight that fits", "value": len(found), "n": len(source.deltas),
        "absent": len(absent), "other_shape": len(unfit),
    }  # fmt: skip
    strength = len(found) / len(source.deltas)
    return Finding(
        "not_attached", text, (source.label,), names, evidence=evidence, severity="warning", strength=strength
    )


def _refuse(adapter: str, base: str, found: Sequence[tuple[Delta, str]]) -> None:
    """Refuse a base that has none of the weights, or has them in other shapes."""
    shown = found[:_SHOWN]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    names = (printable(d.tensors[0] if d.tensors else d.component_name) for d, _ in shown)
    raise BadInput(
        "other-base",
        f"no update of the adapter meets a weight of {base} that fits",
        file=adapter,
        tensor=", ".join(names) + more,
        expected=", ".join(f"{d.d_out}×{d.d_in}" for d, _ in shown),
        found=", ".join(why for _, why in shown),
        fix="name the base it was trained on, or leave --base out",
    )
