"""The numbers of a norms readout as sentences: each model, what all share, one layer, how it was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunescope.questions.norms.words import of_measure, times
from tunescope.study.finding import named, significant
from tunescope.version import __version__

Models = Mapping[str, Mapping[str, Any]]
# Families whose means lie closer than this are told as alike.
ALIKE = 1.1
# More models than this are told in fewer words each; their numbers stand in the table below.
FEW = 6
_THIRDS = ("early", "middle", "late")


def model_sentences(models: Models, metric: str) -> list[str]:
    """One sentence for each model: overall, against the first, MLP and attention, leading layers, largest."""
    still = [label for label, m in models.items() if _is_still(m)]
    known = [
        (label, m) for label, m in models.items() if m["overall_mean"] is not None and label not in still
    ]
    first = known[0] if known else None
    out = []
    for i, (label, model) in enumerate(known):
        parts = [f"{label}: mean {of_measure(metric)} {significant(model['overall_mean'])}"]
        if i and first is not None and first[1]["overall_mean"]:
            parts[0] += f", {times(model['overall_mean'] / first[1]['overall_mean'])} that of {first[0]}"
        parts += [_families(model["family_means"], brief=len(known) > FEW), _layers(model["top_layers"])]
        cell = model["max_cell"]
        parts.append(f"largest {cell['component_name']} ({significant(cell['value'])})")
        out.append("; ".join(part for part in parts if part) + ".")
    if still:
        out.append(f"{named(still, 12)}: {of_measure(metric)} zero in every weight.")
    missing = [label for label, m in models.items() if m["overall_mean"] is None]
    if missing:
        out.append(f"{named(missing, 12)}: no number to sum up (no update, or no finite value).")
    return out


def _is_still(model: Mapping[str, Any]) -> bool:
    """Whether nothing of the model moved: there is no leading layer and no largest weight."""
    return bool(model["overall_mean"] == 0 and model["max_cell"]["value"] == 0)


def _families(means: Mapping[str, float | None], brief: bool) -> str:
    mlp, attention = means["mlp"], means["attention"]
    if not mlp or not attention:
        return ""
    both = "" if brief else f" ({significant(mlp)} and {significant(attention)})"
    if max(mlp, attention) < ALIKE * min(mlp, attention):
        return f"MLP and attention alike{both}"
    if mlp > attention:
        return f"MLP {times(mlp / attention)} attention{both}"
    return f"attention {times(attention / mlp)} MLP{both}"


def _layers(top: Sequence[int]) -> str:
    if len(top) < 2:
        return ""
    return f"most in layers {named(map(str, top[:3]), 3)}"


def shared_sentence(models: Models) -> str | None:
    """In which order the thirds of the layers stand in all models, `None` where they have none."""
    thirds = [m["thirds"] for m in models.values() if all(m["thirds"][k] for k in _THIRDS)]
    if not thirds:
        return None
    orders = {tuple(sorted(_THIRDS, key=lambda k, t=t: t[k])) for t in thirds}  # type: ignore[misc]
    who = f"In all {len(thirds)} models" if len(thirds) > 1 else "In this model"
    if len(orders) > 1:
        return f"The thirds of the layers stand in no order that all {len(thirds)} models share."
    order = orders.pop()
    ratios = [t[order[2]] / t[order[0]] for t in thirds]
    apart = times(min(ratios), max(ratios))
    return (
        f"{who} the mean is smallest in the {order[0]} third of the layers, then the {order[1]}, and largest "
        f"in the {order[2]} third ({apart} the {order[0]})."
    )


def focus_sentences(models: Models) -> list[str]:
    """One layer in words: rank, percentile, growth against the first model, and its MLP alone."""
    out = []
    first = next(iter(models), "")
    for label, model in models.items():
        focus = model["focus_layer"]
        if focus["rank"] is None or _is_still(model):
            out.append(f"{label}: no update in this layer.")
            continue
        text = f"{label}: rank {focus['rank']} of {focus['of']} (percentile {focus['percentile']:.1f})"
        if focus["growth"] is not None and label != first:
            text += f", {times(focus['growth'])} its mean in {first}"
        if focus["mlp"]["rank"] is not None and len(models) <= FEW:
            text += f"; its summed MLP norms at percentile {focus['mlp']['percentile']:.1f}"
        out.append(f"{text}.")
    return out


def methods(metric: str, sources: Sequence[Mapping[str, Any]]) -> str:
    """How the numbers were made, for an appendix: definitions, version, and what was read."""
    read = "; ".join(_source(source) for source in sources)
    return (
        f"Measured with tunescope {__version__}. ΔW is what fine-tuning added to a weight, the adapter's "
        "scale included unless the name of the measure says BA; ‖·‖ is the Frobenius norm, d_out the number "
        f"of outputs. Means run over all weights with a finite {of_measure(metric)}. Thirds, families and "
        "single weights are tested on logarithms: thirds over the kinds of weight that all layers have (F "
        "test and random orders of the layers), families inside layers that have both (t over layers and "
        "over kinds), single weights against a level for each layer and kind (t₅ scatter, given the next "
        "largest); p is adjusted for all models of the study. How often findings are wrong or missed is "
        f"simulated in docs/calibration.md. Read: {read}."
    )


def _source(source: Mapping[str, Any]) -> str:
    revision = f", revision {source['revision']}" if source.get("revision") else ""
    digest = source.get("digest")
    known = "" if digest is None else f", {digest['kind'].replace('_', ' ')} {digest['value'][:12]}"
    return f"{source['label']} ({source['format']}{revision}{known})"
