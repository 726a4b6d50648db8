"""The metrics of a norms table in words, and numbers as a sentence gives them."""

_WORDS = {
    "frobenius_norm": "‖ΔW‖",
    "frobenius_norm_normalized": "‖ΔW‖/√d_out",
    "unscaled_frobenius_norm": "‖BA‖",
    "unscaled_frobenius_norm_normalized": "‖BA‖/√d_out",
    "spectral_norm": "the largest singular value of ΔW",
    "stable_rank": "stable rank",
    "effective_rank": "effective rank",
    "participation_ratio": "participation ratio",
    "energy_rank_90": "directions that hold 90 % of ‖ΔW‖²",
    "energy_rank_99": "directions that hold 99 % of ‖ΔW‖²",
    "lora_A_norm": "‖A‖",
    "lora_B_norm": "‖B‖",
    "lora_rank": "LoRA rank",
    "lora_alpha": "LoRA alpha",
    "scale": "scale",
}


def of_measure(metric: str) -> str:
    """A metric as a sentence names it."""
    return _WORDS.get(metric, metric.replace("_", " "))


def is_size(metric: str) -> bool:
    """Whether a metric says how much a weight changed; a rank or a shape is merely large."""
    return metric.endswith(("frobenius_norm", "frobenius_norm_normalized", "spectral_norm"))


def most(metric: str, several: bool = False) -> str:
    """The verb of `… in its late layers`."""
    if is_size(metric):
        return "changed most"
    return f"{'have' if several else 'has'} the largest values"


def times(low: float, high: float | None = None) -> str:
    """A factor, or a range of factors.

    >>> times(1.684), times(1.49, 1.684), times(12.3)
    ('1.68×', '1.49× to 1.68×', '12×')
    """
    if high is None or _factor(low) == _factor(high):
        return f"{_factor(low)}×"
    return f"{_factor(low)}× to {_factor(high)}×"


def _factor(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"
