"""What keeps a merge from being as expected beside its coefficients, in sentences."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tunescope.questions.verify.elsewhere import Elsewhere
from tunescope.questions.verify.measure import ZERO, Replayed
from tunescope.questions.verify.meeting import Unread
from tunescope.study.finding import Finding
from tunescope.words import counted, named


@dataclass(frozen=True, eq=False)
class Amiss:
    """Weights of adapters that are not in the model, modules as they were replayed, and the rest of it."""

    unread: Sequence[Unread]
    replayed: Sequence[Replayed]
    elsewhere: Elsewhere

    @property
    def told_nothing(self) -> list[tuple[str, str, str]]:
        """Label, component and why, of every update that could not be looked for; no zero updates."""
        found = [(gone.label, gone.component, gone.status) for gone in self.unread]
        for module in self.replayed:
            if module.found is None and module.status != ZERO:
                found += [(label, module.module.component, module.status) for label in module.labels]
        return found

    @property
    def unread_components(self) -> tuple[str, ...]:
        """The components of which something could not be looked for."""
        return tuple(dict.fromkeys(component for _, component, _ in self.told_nothing))

    @property
    def changed(self) -> tuple[str, ...]:
        """Weights that changed though no adapter changes them: updates of zero are none."""
        zero = (m.module.component for m in self.replayed if m.status == ZERO and m.moved)
        return (*zero, *self.elsewhere.changed)

    @property
    def non_finite(self) -> dict[str, int]:
        """How many values of each component of the model are NaN or infinite."""
        adapted = {m.module.component: m.non_finite for m in self.replayed if m.non_finite}
        return adapted | dict(self.elsewhere.non_finite)


def amiss_findings(amiss: Amiss) -> Iterator[Finding]:
    """What was not read, is missing, is not finite, or changed where no adapter changes anything."""
    yield from _unread(amiss)
    yield from _zero(amiss)
    if spoilt := amiss.non_finite:
        values = named([f"{name} ({counted(n, 'value')})" for name, n in spoilt.items()])
        where = counted(len(spoilt), "weight")
        text = f"The merged model holds values that are not finite in {where}: {values}."
        evidence = {
            "statistic": "values that are not finite",
            "value": sum(spoilt.values()),
            "n": len(spoilt),
        }
        yield Finding("non_finite", text, (), tuple(spoilt), evidence=evidence, severity="warning")
    if missing := amiss.elsewhere.missing:
        text = f"The merged model lacks {counted(len(missing), 'tensor')} of the base: {named(missing)}."
        evidence = {"statistic": "tensors only in the base", "value": len(missing)}
        yield Finding("missing", text, (), evidence=evidence, severity="warning")
    if apart := amiss.elsewhere.incomparable:
        names = [name for name, _ in apart]
        reasons = named(list(dict.fromkeys(why for _, why in apart)), most=2)
        text = (
            f"{counted(len(apart), 'weight')} that no adapter touches could not be compared with the base: "
        )
        text += f"{named(names)} ({reasons})."
        yield Finding("incomparable", text, (), tuple(names), evidence={"n": len(apart)}, severity="warning")
    if changed := amiss.changed:
        differ = "differs" if len(changed) == 1 else "differ"
        text = f"{counted(len(changed), 'weight')} that no adapter touches {differ} from the base: "
        yield Finding(
            "changed_elsewhere", f"{text}{named(changed)}.", (), changed, evidence={"n": len(changed)}
        )


def _zero(amiss: Amiss) -> Iterator[Finding]:
    """Adapters of which all updates, or some, are zero: there a merge leaves no trace."""
    every: Counter[str] = Counter()
    zero: dict[str, list[str]] = {}
    for module in amiss.replayed:
        every.update(list(module.module.deltas))
        for label in module.zero:
            zero.setdefault(label, []).append(module.module.component)
    for label, names in zero.items():
        if len(names) == every[label]:
            text = f"Every update of {label} is exactly zero, so merged and not merged are the same model."
        else:
            count = f"{len(names)} of {counted(every[label], 'update')}"
            text = f"{count} of {label} are exactly zero, where a merge leaves no trace: {named(names)}."
        evidence = {"statistic": "updates of zero", "value": len(names), "n": every[label]}
        components = () if len(names) == every[label] else tuple(names)
        yield Finding("untrained", text, (label,), components, evidence=evidence, severity="warning")


def _unread(amiss: Amiss) -> Iterator[Finding]:
    by_label: dict[str, dict[str, str]] = {}
    for label, component, why in amiss.told_nothing:
        if not why.startswith("non-finite"):
            by_label.setdefault(label, {})[component] = why
    for label, lost in by_label.items():
        reasons = named(list(dict.fromkeys(lost.values())), most=2)
        text = f"{label} changes {counted(len(lost), 'weight')} of which the merged model tells nothing: "
        evidence = {"statistic": "weights that tell nothing", "value": len(lost), "status": lost}
        yield Finding(
            "unread", f"{text}{named(lost)} ({reasons}).", (label,), tuple(lost), evidence=evidence,
            severity="warning",
        )  # fmt: skip
