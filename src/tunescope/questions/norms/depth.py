"""In which third of its layers did a model change most?"""

import math
from collections.abc import Mapping, Sequence

from tunescope.measure.depth import (
    THIRDS_RATIO,
    Depth,
    depth_evidence,
    depth_of,
    leading_thirds,
)
from tunescope.measure.towers import Tower
from tunescope.questions.norms.words import most, of_measure, times
from tunescope.study.finding import Finding, merged
from tunescope.words import named


def depth_findings(models: Mapping[str, Sequence[Tower]], metric: str) -> list[Finding]:
    """One finding for each third of each tower that leads in some models, over all models of the study."""
    looked = [(model, found) for model, its in models.items() for t in its if (found := depth_of(t))]
    told = [(looked[i][0], depth, len(looked)) for i, depth in leading_thirds([depth for _, depth in looked])]
    one = [_finding(model, depth, towers, metric) for model, depth, towers in told]
    return merged(one, lambda f: (f.kind, f.evidence["stack"]), lambda group: _together(group, metric))


def _finding(model: str, depth: Depth, towers: int, metric: str) -> Finding:
    title = depth.tower.title
    text = (
        f"{model} {most(metric)} in its {depth.most} {title}layers, {depth.span}: {times(depth.ratio)} the "
        f"{depth.least} third in {of_measure(metric)} (geometric means of {len(depth.layers)} {title}layers)."
    )
    strength = math.log(depth.ratio) / math.log(THIRDS_RATIO)
    evidence = {**depth_evidence(depth, towers), "title": title, "least": depth.least}
    return Finding(f"{depth.most}_layers", text, (model,), evidence=evidence, strength=strength)


def _together(group: Sequence[Finding], metric: str) -> str:
    first = group[0].evidence
    ratios = [f.evidence["ratio"] for f in group]
    layers = sorted({f.evidence["n"] for f in group})
    spans = {f.evidence["leading_layers"] for f in group}
    where = f" ({spans.pop()})" if len(spans) == 1 else ""
    place = group[0].kind.removesuffix("_layers")
    others = {f.evidence["least"] for f in group}
    against = f"their {others.pop()} third" if len(others) == 1 else "the third that changed least"
    count = f"{layers[0]}" if len(layers) == 1 else f"{layers[0]} to {layers[-1]}"
    return (
        f"{named([f.models[0] for f in group], 12)} {most(metric, several=True)} in their {place} "
        f"{first['title']}layers{where}: {times(min(ratios), max(ratios))} {against} in {of_measure(metric)} "
        f"(geometric means; {count} {first['title']}layers each)."
    )
