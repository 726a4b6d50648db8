"""`noise`: how far the prediction moves when a tensor is jittered, the truth that `curvature` predicts."""

from collections.abc import Iterator

import torch
from torch import Tensor

from tunescope.errors import UsageError
from tunescope.lm.batches import Batch
from tunescope.lm.loss import IGNORED, divergences
from tunescope.lm.parameters import Scored
from tunescope.lm.session import in_float32
from tunescope.questions.importance.setting import Samples, Setting


def _lowest_scale(kind: torch.dtype) -> float:
    """Below this the divergence, which is quadratic in σ, is all rounding error."""
    return float(torch.finfo(kind).eps ** 0.5)


class Noise:
    """Samples of KL(p ‖ p under w(1 + σξ))/σ² per token, ξ standard normal, for every row.

    Each draw is used with both signs: what is odd in σ cancels, and the quadratic form that `curvature`
    stands for is left up to σ². One sample per batch, weighted by its scored tokens.

    The model computes in float32 or wider: between two passes in bfloat16 lies a divergence that no σ
    removes. Raises `UsageError` for a σ below what float32 resolves, and for layers that stay narrow.
    """

    def __init__(self, setting: Setting, scale: float) -> None:
        self.setting, self.scale = setting, scale
        kinds = {torch.promote_types(e.parameter.dtype, torch.float32) for e in setting.parameters.scored}
        lowest = max(_lowest_scale(kind) for kind in kinds)
        if scale < lowest:
            kind = max(kinds, key=_lowest_scale)
            raise UsageError("out-of-range", f"noise of this scale would drown in the rounding of {kind}",
                             expected=f"{lowest:.1g} to 1", found=scale)  # fmt: skip

    def __call__(self, batch: Batch) -> Iterator[Samples]:
        tokens = sum(self.setting.scored_tokens(batch))
        if not tokens:
            return
        found: list[Tensor] = []
        with torch.no_grad(), in_float32(self.setting.model):
            scored = (self.setting.target(batch) != IGNORED).to(self.setting.device)
            before = self._predictions(batch, scored)
            for entry in self.setting.parameters.scored:
                found += [self._moved(batch, scored, before, entry, g) for g in range(entry.groups)]
        values = torch.stack(found).cpu().numpy() / self.scale**2
        yield Samples("noise", [batch.index], [float(tokens)], values[None])

    def _predictions(self, batch: Batch, scored: Tensor) -> Tensor:
        logits = self.setting.logits(batch)
        if logits.element_size() < 4:
            raise UsageError(
                "narrow-layers",
                "layers of this model compute in low precision whatever their weights are",
                expected="predictions in float32",
                found=str(logits.dtype).removeprefix("torch."),
                fix="--method curvature, which noise is the check of",
            )
        return logits[scored.to(logits.device)]

    def _moved(self, batch: Batch, scored: Tensor, before: Tensor, entry: Scored, group: int) -> Tensor:
        weights = entry.part(group)
        saved = weights.clone()
        applied = entry.applied(saved)
        generator = self.setting.generator(weights.device, 1, batch.index, entry.first + group)
        draw = torch.randn(weights.shape, dtype=weights.dtype, device=weights.device, generator=generator)
        try:
            means = []
            for sign in (self.scale, -self.scale):
                weights.copy_(applied * (1 + sign * draw) - entry.offset)
                means.append(divergences(before, self._predictions(batch, scored)).mean())
        finally:
            weights.copy_(saved)
        return torch.stack(means).mean()
