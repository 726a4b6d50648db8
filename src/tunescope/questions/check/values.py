"""What only values say of tensors that are part of no ΔW: saved modules, methods without a matrix."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tunescope.questions.check.wanted import MULTIPLIED, PARAMETER, Wanted
from tunescope.source.files.tensors import LazyTensor, is_float, to_float32
from tunescope.source.formats.lycoris import rescaled
from tunescope.source.formats.names import strip_wrappers
from tunescope.source.opened import Source
from tunescope.study.finding import Finding
from tunescope.words import counted, named

# Values that are looked at together.
_AT_ONCE = 1 << 22


def _all(value: float) -> Callable[[Any], bool]:
    return lambda array: bool(np.all(array == value))


def _pairs(array: Any) -> bool:
    """HRA: two equal reflections after each other are none."""
    return array.ndim == 2 and array.shape[1] % 2 == 0 and bool(np.array_equal(array[:, ::2], array[:, 1::2]))


# Whether a parameter is what PEFT starts it with, under which its module changes nothing
# [huggingface/peft: src/peft/tuners/*/layer.py, reset_*parameters].
_STARTS: Mapping[str, Callable[[Any], bool]] = {
    "ia3_l": _all(1), "oft_R": _all(0), "oft_r": _all(0), "boft_R": _all(0), "boft_s": _all(1),
    "hra_u": _pairs,    "hira_B": _all(0), "road_theta": _all(0), "road_alpha": _all(1), "beft_bias": _all(0),
    "poly_lora_B": _all(0), "lily_B": _all(0), "peanut_B": _all(0), "frod_lambda_s_values": _all(0),
    "psoft_R": _all(0), "psoft_R.vector_a": _all(1), "psoft_R.vector_b": _all(1), "adaption_gate": _all(0),
    "shadow_up": _all(0),
    # [KohakuBlueleaf/LyCORIS: modules/diag_oft.py, boft.py, glora.py, ia3.py]
    "oft_blocks": _all(0), "rescale": _all(1), "a2": _all(0), "b2": _all(0), "weight": _all(0),
}  # fmt: skip
# Parameters of which one is nothing without the other.
_TOGETHER = (
    ("hira_A", "hira_B"), ("boft_R", "boft_s"), ("road_theta", "road_alpha"), ("deft_P", "deft_R"),
    ("poly_lora_A", "poly_lora_B"), ("peanut_A", "peanut_B"), ("adaption_prompt", "adaption_gate"),
)  # fmt: skip
Held = dict[str, dict[str, LazyTensor]]


def value_findings(source: Source, modules: list[Wanted]) -> Iterator[Finding]:
    """What the values say that are in no update: not finite anywhere, and of each module as of an update."""
    yield from _not_finite(source)
    if source.deltas or not modules:
        return
    held = _parameters(source)
    names = {one.module: one.component_name for one in modules if not one.whole}
    untrained, unknown = [], []
    for module, name in names.items():
        known = [(p, t) for p, t in held.get(module, {}).items() if p in _STARTS and t.supported]
        if not known:
            unknown.append(name)
        elif all(_STARTS[parameter](to_float32(tensor.read())) for parameter, tensor in known):
            untrained.append(name)
    many = len(names)
    if untrained:
        text = (
            f"{len(untrained)} of {counted(many, 'module')} of {source.label} "
            f"{'changes' if len(untrained) == 1 else 'change'} nothing: their parameters are as "
        )
        yield _raised(
            "untrained", f"{text}they were before training ({named(untrained)}).", source, untrained, many
        )
    yield from _half_saved(source, held, names)
    if unknown:
        method = source.config.get("peft_type", source.format)
        text = (
            f"whether {len(unknown)} of {counted(many, 'module')} of {source.label} "
            f"{'was' if len(unknown) == 1 else 'were'} trained cannot be told: "
            f"{method} starts from random numbers or from the base's own ({named(unknown)})."
        )
        yield _raised("not_judged", text, source, unknown, many, severity="note")


def _parameters(source: Source) -> Held:
    """The float tensors of every module by the names of its parameters."""
    held: Held = {}
    scaling = rescaled(source.tensors)
    for tensor in source.tensors.values():
        plain = strip_wrappers(tensor.name)
        found = PARAMETER.search(plain)
        if (module := plain.removesuffix(".weight")) in scaling and is_float(tensor):
            held.setdefault(module, {})["weight"] = tensor
        elif (multiplied := MULTIPLIED.search(plain)) is not None and is_float(tensor):
            held.setdefault(plain[: multiplied.start()], {})[multiplied["name"]] = tensor
        elif found is not None and is_float(tensor):
            tail = plain[found.start("name") :].removesuffix(".weight").removesuffix(".default")
            held.setdefault(found["module"] or "", {})[tail] = tensor
    return held


def _half_saved(source: Source, held: Held, names: Mapping[str, str]) -> Iterator[Finding]:
    half = [
        f"{names[module]} without {lacking}"
        for module, parameters in held.items()
        for pair in _TOGETHER
        for there, lacking in (pair, pair[::-1])
        if module in names and there in parameters and lacking not in parameters
    ]
    if half:
        text = (
            f"{len(half)} of {counted(len(names), 'module')} of {source.label} "
            f"{'is' if len(half) == 1 else 'are'} half saved ({named(half)})."
        )
        yield _raised("half_saved", text, source, half, len(names))


def _not_finite(source: Source) -> Iterator[Finding]:
    left = {entry.tensor for entry in source.coverage if entry.status != "used"}
    looked = [t for t in source.tensors.values() if t.name in left and is_float(t) and t.numel]
    broken = [tensor.name for tensor in looked if not _finite(tensor)]
    if broken:
        text = (
            f"{len(broken)} of {counted(len(looked), 'tensor')} of "
            f"{source.label} that are in no update hold values "
            f"that are no finite numbers ({named(broken)})."
        )
        yield _raised("non_finite", text, source, [], len(looked), tensors=broken)


def _finite(tensor: LazyTensor) -> bool:
    starts = range(0, tensor.numel, _AT_ONCE)
    parts = (to_float32(tensor.part(n, min(n + _AT_ONCE, tensor.numel))) for n in starts)
    return all(bool(np.isfinite(part).all()) for part in parts)


def _raised(kind: str, text: str, source: Source, components: list[str], of: int, **more: Any) -> Finding:
    severity = more.pop("severity", "warning")
    evidence = {"components": len(components), "of": of, **more}
    return Finding(kind, text, (source.label,), tuple(components), severity=severity, evidence=evidence)
