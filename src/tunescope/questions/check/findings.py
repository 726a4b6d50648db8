"""What stands in the way of loading an adapter, in words."""

from collections.abc import Iterator, Sequence
from typing import Any

from tunescope.address import parse
from tunescope.delta import Dense, Factored
from tunescope.measure.similarity import norm
from tunescope.questions.check.attach import spelled
from tunescope.questions.check.base import BaseNames
from tunescope.questions.check.place import Place
from tunescope.source.opened import Source
from tunescope.study.finding import Finding
from tunescope.words import counted, named


def attach_findings(
    label: str, found: Sequence[Place], base: BaseNames, configured: object = None
) -> Iterator[Finding]:
    """Findings of one adapter against one base; `configured` is the base that the adapter's config names."""
    yield from _loading(label, found, base)
    wrong = [place for place in found if place.status != "attached" and place.fault == "base"]
    if not wrong:
        return
    evidence: dict[str, Any] = {"modules": len(found), "attached": len(found) - len(wrong)}
    names = tuple(place.wanted.component_name for place in wrong)
    remedies = sorted({place.remedy for place in wrong if place.remedy})
    text = (
        f"{_of(len(wrong), len(found))} of {label} "
        f"{'meets' if len(wrong) == 1 else 'meet'} no weight of {base.location} that fits "
        f"({named(names)})." + (f" Remedy: {named(remedies)}." if remedies else "")
    )
    evidence |= {"remedies": remedies}
    yield Finding("not_attached", text, (label,), names, evidence=evidence, severity="warning")
    if _is_another(found, base):
        yield _another(label, found, base, configured)
    else:
        yield from _depth(label, wrong, base)
    yield from _experts(label, wrong, base)
    yield from _width(label, wrong, found)


def _of(some: int, every: int) -> str:
    return f"{some} of {counted(every, 'module')}"


def rank_findings(label: str, found: Sequence[Place]) -> Iterator[Finding]:
    """Factors of another rank than the config states: PEFT refuses them."""
    wrong = [place for place in found if place.fault == "rank"]
    if not wrong:
        return
    first, names = wrong[0], tuple(place.wanted.component_name for place in wrong)
    remedies = sorted({place.remedy for place in wrong})
    text = (
        f"{_of(len(wrong), len(found))} of {label} "
        f"{'has' if len(wrong) == 1 else 'have'} another rank than its config states "
        f"({named(names)}): by the config a factor of {names[0]} is {spelled(first.expected)}, in the "
        f"file {spelled(first.found)}; PEFT refuses to load it (size mismatch). Remedy: {named(remedies)}."
    )
    evidence = {
        "modules": len(found), "differing": len(wrong), "expected": list(first.expected or ()),
        "found": list(first.found or ()), "remedies": remedies,
    }  # fmt: skip
    yield Finding("rank_mismatch", text, (label,), names, evidence=evidence, severity="warning")


def config_findings(label: str, found: Sequence[Place]) -> Iterator[Finding]:
    """Modules for whose tensors PEFT makes no layer by the config, and those that it asks for in vain."""
    wrong = [place for place in found if place.fault == "config"]
    if not wrong:
        return
    names, remedies = tuple(p.wanted.component_name for p in wrong), sorted({p.remedy for p in wrong})
    # The sentence names the modules: what follows a colon in a remedy names its own once more.
    advice = sorted({remedy.partition(": PEFT makes no layer of ")[0] for remedy in remedies})
    text = (
        f"{_of(len(wrong), len(found))} of {label} {'is' if len(wrong) == 1 else 'are'} not loaded by its "
        f"config ({named(names)}). Remedy: {named(advice)}."
    )
    evidence = {"modules": len(found), "left_out": len(wrong), "remedies": remedies}
    yield Finding("left_out_by_config", text, (label,), names, evidence=evidence, severity="warning")


def _loading(label: str, found: Sequence[Place], base: BaseNames) -> Iterator[Finding]:
    """Modules that meet their weights by a rule of the loader, not by the names in the files."""
    rules: dict[str, list[str]] = {}
    for place in found:
        if place.status == "attached" and (rule := place.loading or base.loading):
            rules.setdefault(rule, []).append(place.wanted.component_name)
    for rule, names in rules.items():
        text = (
            f"{_of(len(names), len(found))} of {label} "
            f"{'meets its weight' if len(names) == 1 else 'meet their weights'} once loaded: {rule}."
        )
        evidence = {"modules": len(found), "renamed": len(names), "rule": rule}
        yield Finding("names_of_the_loader", text, (label,), tuple(names), evidence=evidence)


def _is_another(found: Sequence[Place], base: BaseNames) -> bool:
    """Whether the base has no module of these names in any layer of any stack."""
    there = {parse(name).module_type for name in base.shapes}
    strange = (place.wanted.address.module_type not in there and not place.remedy for place in found)
    return all(place.status == "missing" for place in found) and all(strange)


def _another(label: str, found: Sequence[Place], base: BaseNames, configured: object) -> Finding:
    kinds = sorted({place.wanted.address.module_type for place in found})
    named_so = (
        f" Its config names the base {configured}." if isinstance(configured, str) and configured else ""
    )
    text = (
        f"{base.location} has no weight called as those of {label} are ({named(kinds)}): "
        "another architecture."
    )
    evidence = {"module_types": kinds, "base_named": configured}
    return Finding("other_architecture", text + named_so, (label,), evidence=evidence, severity="warning")


def _depth(label: str, wrong: Sequence[Place], base: BaseNames) -> Iterator[Finding]:
    """Layers that the base does not have, where it has others of that stack."""
    deepest, stacks = _layers(base)
    beyond: dict[str, set[int]] = {}
    for address in (place.wanted.address for place in wrong if place.status == "missing"):
        # Under a wrapper prefix the modules stand in another stack.
        homes = {address.stack} if address.stack in deepest else stacks.get(address.module_type, set())
        if address.layer is not None and len(homes) == 1:
            (stack,) = homes
            if address.layer > deepest[stack]:
                beyond.setdefault(stack, set()).add(address.layer)
    for stack, found in sorted(beyond.items()):
        layers = sorted(found)
        text = (
            f"{label} has layers up to {layers[-1]}, the base up to {deepest[stack]}: "
            f"{counted(len(layers), 'layer')} of it can be attached nowhere."
        )
        yield Finding(
            "wrong_depth", text, (label,), severity="warning",
            evidence={"stack": stack, "layers": layers, "base_last_layer": deepest[stack]},
        )  # fmt: skip


def _layers(base: BaseNames) -> tuple[dict[str, int], dict[str, set[str]]]:
    """The last layer of every stack of a base, and in which stacks a kind of module is."""
    deepest: dict[str, int] = {}
    stacks: dict[str, set[str]] = {}
    for address in (parse(name) for name in base.shapes):
        if address.layer is not None:
            deepest[address.stack] = max(deepest.get(address.stack, 0), address.layer)
            stacks.setdefault(address.module_type, set()).add(address.stack)
    return deepest, stacks


def _experts(label: str, wrong: Sequence[Place], base: BaseNames) -> Iterator[Finding]:
    """Experts that the base does not have, be they numbered there or stacked in one tensor."""
    numbered = [a.expert for a in (parse(name) for name in base.shapes) if a.expert is not None]
    stacked = [p.found[0] for p in wrong if p.status == "missing" and p.found and len(p.found) == 3]
    count = max([*(n + 1 for n in numbered), *stacked], default=0)
    asked = (p.wanted.address.expert for p in wrong if p.status == "missing")
    beyond = sorted({expert for expert in asked if expert is not None and expert >= count})
    if count and beyond:
        text = f"{label} has experts numbered up to {beyond[-1]}, those of the base end at {count - 1}."
        evidence = {"experts": beyond, "base_experts": count}
        yield Finding("experts_out_of_range", text, (label,), evidence=evidence, severity="warning")


def _width(label: str, wrong: Sequence[Place], found: Sequence[Place]) -> Iterator[Finding]:
    """Shapes that differ nearly everywhere: another width."""
    differing = [place for place in wrong if place.status == "shape_differs"]
    tables = [place for place in differing if "vocabulary" in place.remedy]
    if tables:
        text = f"The vocabulary of {label} and of the base differ in size ({tables[0].remedy})."
        yield Finding("vocabulary_resized", text, (label,), evidence=_shapes(tables[0]), severity="warning")
    rest = [p for p in differing if p not in tables and (p.found is None or not _same_sizes(p))]
    # Of a base with too few layers most modules meet nothing.
    met = sum(place.status != "missing" for place in found)
    if rest and 2 * len(rest) > met:
        first = rest[0]
        text = (
            f"{label} is of another width than the base in {_of(len(rest), len(found))}: "
            f"{first.wanted.component_name} changes "
            f"{spelled(first.wanted.shape)}, the base has {spelled(first.found)}."
        )
        yield Finding("wrong_width", text, (label,), evidence=_shapes(first), severity="warning")


def _same_sizes(place: Place) -> bool:
    """Whether a layer has the sizes that its factors ask for, so that its width is right."""
    return [size for size in place.wanted.shape if size] == list(place.found or ())


def _shapes(place: Place) -> dict[str, Any]:
    return {"expected": list(place.wanted.shape), "found": list(place.found or ())}


def deep_findings(source: Source) -> Iterator[Finding]:
    """What only the values say: updates of zero, values that are no numbers, modules that hold the same."""
    zero, broken, seen = [], [], dict[bytes, list[str]]()
    for delta in source.deltas:
        update = delta.open()
        size = norm(update)
        if size == 0:
            zero.append(delta.component_name)
        elif size != size or size in (float("inf"), float("-inf")):
            broken.append(delta.component_name)
        else:
            seen.setdefault(_bytes(update), []).append(delta.component_name)
    many = len(source.deltas)
    twins = [name for names in seen.values() if len(names) > 1 for name in names]
    for kind, names, what in (
        ("untrained", zero, ("is", "are", "exactly zero")),
        ("non_finite", broken, ("holds", "hold", "values that are not finite")),
        ("duplicate", twins, ("holds", "hold", "the same update as another module")),
    ):
        if names:
            text = (
                f"{len(names)} of {counted(many, 'update')} of "
                f"{source.label} {what[len(names) > 1]} {what[2]} "
                f"({named(names)})."
            )
            yield Finding(kind, text, (source.label,), tuple(names), severity="warning",
                          evidence={"components": len(names), "of": many})  # fmt: skip


def _bytes(update: Factored | Dense) -> bytes:
    arrays = (update.B, update.A) if isinstance(update, Factored) else (update.matrix,)
    return b"|".join(array.tobytes() for array in arrays)
