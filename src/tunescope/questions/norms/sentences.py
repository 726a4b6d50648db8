"""The numbers of a norms readout as sentences: each model, what all share, one layer, how it was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunescope.measure.depth import LEAST_LAYERS
from tunescope.questions.norms.words import of_measure, times
from tunescope.study.finding import significant
from tunescope.words import counted, named, tower_name

Models = Mapping[str, Mapping[str, Any]]
# What stands above the sentences of the models: they tell sizes, findings what is more than chance.
AS_MEASURED = "Sizes as measured; which differences are more than chance stands under Findings."
# Families whose means lie closer than this are told as alike.
ALIKE = 1.1
# More models than this are told in fewer words each; their numbers stand in the table below.
FEW = 6
# A label longer than this, of the first of many models, is not said again for each.
LONG = 24
# Ratios closer than this share read the same.
_ROUNDED = 0.005
_THIRDS = ("early", "middle", "late")


def model_sentences(models: Models, metric: str, ratios: Mapping[str, float | None]) -> list[str]:
    """One sentence for each model: overall, against the first, MLP and attention, leading layers, largest."""
    still = [label for label, m in models.items() if _is_still(m)]
    known = [
        (label, m) for label, m in models.items() if m["overall_mean"] is not None and label not in still
    ]
    first = known[0][0] if known else None
    several = len({model["layer_stack"] for model in models.values()} - {"model"}) > 1
    out = []
    for i, (label, model) in enumerate(known):
        parts = [
            f"{label}: mean {of_measure(metric)} {significant(model['overall_mean'])}"
            f"{_over(model)}{_by_tower(model)}"
            f"{_against(models, label, first, ratios, len(known)) if i and first is not None else ''}"
        ]
        towers = model.get("tower_means")
        tower = _tower(model["layer_stack"], among=bool(towers)) if several or towers else ""
        families = _families(model["family_means"], brief=len(known) > FEW)
        parts += [
            f"{families}{_tower(model['layer_stack'], True, 'in') if families and towers else ''}",
            _layers(model, tower, brief=len(known) > FEW),
        ]
        parts.append(_largest(model))
        out.append("; ".join(part for part in parts if part) + ".")
    if still:
        out.append(f"{named(still, 12)}: {of_measure(metric)} zero in every weight.")
    missing: dict[str, list[str]] = {}
    for label, model in models.items():
        if model["overall_mean"] is None:
            missing.setdefault(without_number(model), []).append(label)
    return out + [f"{named(labels, 12)}: no number to sum up ({why})." for why, labels in missing.items()]


def _largest(model: Mapping[str, Any]) -> str:
    """The largest weight, and where that lies outside the layers the largest inside."""
    cell, inside = model["max_cell"], model.get("max_cell_in_layers")
    text = f"largest {cell['component_name']} ({significant(cell['value'])})"
    if inside is None:
        return text
    return f"{text} outside the layers, {inside['component_name']} ({significant(inside['value'])}) inside"


def _over(model: Mapping[str, Any]) -> str:
    """Which weights a mean leaves out, nothing where it leaves out none."""
    still, vectors = model.get("n_unmoved_kinds", 0), model.get("n_vectors", 0)
    if not still and not vectors:
        return ""
    left = ["norms and biases"] * bool(vectors) + ["kinds that changed nowhere"] * bool(still)
    count = model["n_components"] - model["n_excluded"]
    return f" over {count - still - vectors} of {counted(count, 'weight')} ({' and '.join(left)} left out)"


def _against(models: Models, label: str, first: str, ratios: Mapping[str, float | None], count: int) -> str:
    """The mean against that of the first model, over the weights of kinds that changed in both."""
    ratio = ratios.get(f"{label}/{first}")
    if ratio is None:
        return ""
    whose = f"that of {first}" if count <= FEW or len(first) <= LONG else "the first"
    mean, below = models[label]["overall_mean"], models[first]["overall_mean"]
    # Of models with other weights the ratio is not that of the two means that stand there.
    common = bool(below) and abs(ratio - mean / below) > _ROUNDED * ratio
    still = models[label].get("n_unmoved_kinds") or models[first].get("n_unmoved_kinds")
    over = f" over the weights that both have{', in kinds that changed in both' if still else ''}"
    return f", {times(ratio)} {whose}{over if common else ''}"


def without_number(model: Mapping[str, Any]) -> str:
    """Why a model has no mean."""
    if not model["n_components"]:
        return "no update"
    return "scale unknown" if model["n_without_scale"] == model["n_components"] else "no finite value"


def _tower(stack: str, among: bool = False, word: str = "of") -> str:
    """Of which tower something is; a model's own layers have a name only among others."""
    return "" if stack == "model" and not among else f" {word} the {tower_name(stack)}"


def _by_tower(model: Mapping[str, Any]) -> str:
    """The mean of every tower, where a model has several."""
    means: Mapping[str, float] = model.get("tower_means", {})
    told = ", ".join(f"{tower_name(stack)} {significant(mean)}" for stack, mean in means.items())
    return f" over all towers ({told})" if told else ""


def _is_still(model: Mapping[str, Any]) -> bool:
    """Whether nothing of the model moved: there is no leading layer and no largest weight."""
    return bool(model["overall_mean"] == 0 and model["max_cell"]["value"] == 0)


def _families(means: Mapping[str, float | None], brief: bool) -> str:
    mlp, attention = means["mlp"], means["attention"]
    if not mlp or not attention:
        return ""
    if max(mlp, attention) < ALIKE * min(mlp, attention):
        return f"MLP and attention alike{_both(mlp, attention, brief)}"
    if mlp > attention:
        return f"MLP {times(mlp / attention)} attention{_both(mlp, attention, brief)}"
    return f"attention {times(attention / mlp)} MLP{_both(attention, mlp, brief)}"


def _both(first: float, second: float, brief: bool) -> str:
    return "" if brief else f" ({significant(first)} and {significant(second)})"


def _layers(model: Mapping[str, Any], tower: str, brief: bool) -> str:
    """The three layers that lead; with their means where there is room, as ranks hide how close they are."""
    top, means = model["top_layers"][:3], model.get("top_layer_means", [])[:3]
    if len(top) < 2:
        return ""
    sizes = "" if brief or not means else f" ({named(map(significant, means), 3)})"
    return f"most in layers {named(map(str, top), 3)}{tower}{sizes}"


def shared_sentence(models: Models, findings: Sequence[Mapping[str, Any]] = ()) -> str | None:
    """Which order of the thirds, or else which largest third, all models share; `None` where they share none.

    Thirds of too few layers to be tested, or that are alike, are not spoken of. No factor is given: that of
    a finding is one of geometric means. It says of which models no finding tells the thirds from chance.
    """
    having = {label: m for label, m in models.items() if _has_thirds(m)}
    # Layers of an image model and of its text encoder are not the same thirds of anything.
    if not having or len({m["layer_stack"] for m in having.values()}) > 1 or len(having) == 1 < len(models):
        return None
    orders = {tuple(sorted(_THIRDS, key=lambda k, t=m["thirds"]: t[k])) for m in having.values()}  # type: ignore[misc]
    if len({order[2] for order in orders}) > 1:
        return None
    order = next(iter(orders))
    layers = shared_layers(having)
    where = {name: f" ({layers[name]})" if layers else "" for name in _THIRDS}
    text = f"In {_those(list(having), len(models))} the mean is largest in the {order[2]} third of the layers"
    text += where[order[2]]
    if len(orders) == 1:
        text += f", then the {order[1]}{where[order[1]]}, and smallest in the {order[0]}{where[order[0]]}"
    return f"{text}{_told_by_test(list(having), order[2], findings)}."


def _told_by_test(labels: Sequence[str], third: str, findings: Sequence[Mapping[str, Any]]) -> str:
    """Of which models a finding tells that this third leads, where it is not all of them."""
    told = {label for f in findings if f["kind"] == f"{third}_layers" for label in f["models"]}
    having = [label for label in labels if label in told]
    if len(having) == len(labels):
        return ""
    return f"; told from chance in {named(having)} alone" if having else "; no test tells that from chance"


def _has_thirds(model: Mapping[str, Any]) -> bool:
    """Whether a model has enough layers for its thirds to be tested, and means that are not alike."""
    means = [model["thirds"][name] for name in _THIRDS]
    if not all(means) or max(means) < ALIKE * min(means):
        return False
    return int(model.get("n_layers", LEAST_LAYERS)) >= LEAST_LAYERS


def _those(labels: Sequence[str], of: int) -> str:
    if len(labels) < of or of == 1:
        return named(labels, 12)
    return "both models" if of == 2 else f"all {of} models"


def shared_layers(models: Models) -> dict[str, str] | None:
    """The first and last layer of each third, `None` where models differ in it or do not say."""
    every = [m.get("third_layers") for m in models.values() if m["overall_mean"] is not None]
    if not every or not every[0] or any(layers != every[0] for layers in every):
        return None
    return {k: _span(*layers) if layers else "none" for k, layers in every[0].items()}


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}–{last}"


def focus_lead(models: Models, metric: str) -> str:
    """What the ranks and percentiles of one layer are those of."""
    lead = f"Among the layers of a model by mean {of_measure(metric)}: rank 1 changed most, and the "
    lead += "percentile is the share of layers at or below this one."
    raw = {m["focus_layer"]["mlp"]["measure"] for m in models.values() if m["focus_layer"]["mlp"]["of"]}
    if len(models) > FEW or len(raw) != 1:
        return lead
    return f"{lead} MLP: the same of the sum of {of_measure(raw.pop())} over a layer's MLP weights."


def _among(model: Mapping[str, Any]) -> str:
    """Of which tower a layer is, where a model has several."""
    return _tower(model["layer_stack"], among=True) if model.get("tower_means") else ""


def focus_sentences(models: Models) -> list[str]:
    """One layer in words: rank, percentile, growth against the first model, and its MLP alone."""
    out = []
    first = next(iter(models), "")
    for label, model in models.items():
        focus = model["focus_layer"]
        if focus["rank"] is None or _is_still(model):
            out.append(f"{label}: no update in this layer{_among(model)}.")
            continue
        text = f"{label}: rank {focus['rank']} of {focus['of']}{_among(model)}"
        text += f" (percentile {focus['percentile']:.1f})"
        if focus["growth"] is not None and label != first:
            text += f", {times(focus['growth'])} its mean in {first}"
        if focus["mlp"]["rank"] is not None and len(models) <= FEW:
            text += f"; MLP percentile {focus['mlp']['percentile']:.1f}"
        out.append(f"{text}.")
    return out


def methods(metric: str, unsaid: Sequence[str] = ()) -> str:
    """How the numbers were made, for an appendix; `unsaid` are models whose table is silent on the scale."""
    what = "ΔW is what fine-tuning added to a weight, the adapter's scale included"
    if metric.startswith("unscaled_"):
        what = "BA is the product of an adapter's factors, its scale not applied (ΔW where there are none)"
    if unsaid:
        what += f" (of {named(unsaid, 12)} the published table does not say whether it is)"
    return (
        f"{what}; ‖·‖ is the Frobenius norm, d_out the number of outputs. "
        f"Means run over all weights with a finite {of_measure(metric)}, norms, biases and kinds of "
        "weight that changed nowhere in the model left out; ratios of models over the weights that both "
        "have, in kinds that changed in both. Thirds, families and "
        "single weights are tested on logarithms: thirds over the kinds of weight that all layers have (F "
        "test, neighbours as alike as the profiles show, and random orders of the layers), families "
        "inside layers that have both (t over layers and "
        "over kinds), whole layers against the median of the others, and single weights against a level "
        "for each layer and kind (t₅ scatter, or the tail that the others have); what several models have at "
        "one place counts once; p is adjusted for all models of the study. How often findings are wrong or "
        "missed is simulated in docs/calibration.md."
    )
