"""A finding is data: what was found, where, the numbers with the threshold they crossed, one sentence."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tunescope.errors import Notice


@dataclass(frozen=True, eq=False)
class Finding:
    """One finding; `evidence` holds the measured numbers beside the thresholds they were held against."""

    kind: str
    text: str
    model_id: str | tuple[str, ...]
    component_name: str | None = None
    step: int | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    severity: str = "note"

    def record(self) -> dict[str, Any]:
        """The finding as plain JSON types."""
        models = [self.model_id] if isinstance(self.model_id, str) else list(self.model_id)
        return {
            "kind": self.kind,
            "model_id": models[0] if len(models) == 1 else models,
            "component_name": self.component_name,
            "step": self.step,
            "evidence": dict(self.evidence),
            "severity": self.severity,
            "text": self.text,
        }


def sentences(findings: Iterable[Finding]) -> list[str]:
    """Markdown list items, warnings first."""
    ordered = sorted(findings, key=lambda f: f.severity != "warning")
    return [f"- **{f.kind.replace('_', ' ')}**: {f.text}" for f in ordered]


def named(names: Iterable[str], most: int = 4) -> str:
    """A few names in a sentence: `a, b, c and 7 more`.

    >>> named(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    listed = list(names)
    rest = len(listed) - most
    if rest > 0:
        return f"{', '.join(listed[:most])} and {rest} more"
    return " and ".join([", ".join(listed[:-1]), listed[-1]]) if len(listed) > 1 else "".join(listed)


def significant(value: float | None, digits: int = 3) -> str:
    """A number with three significant digits, or `n/a`.

    >>> significant(0.0012345), significant(None), significant(1234.5)
    ('0.00123', 'n/a', '1.23e+03')
    """
    return "n/a" if value is None or value != value else f"{value:.{digits}g}"


_KINDS = {"half-saved": "half_saved", "half_saved": "half_saved", "not-understood": "not_understood"}

# Notices that only say what was done.
_ONLY_SAID = {"published-norms"}


def noticed(label: str, notice: Notice) -> Finding:
    """What was noticed while reading a source, as a finding."""
    kind = _KINDS.get(notice.slug, notice.slug.replace("-", "_"))
    evidence = {"tensor": notice.tensor} if notice.tensor else {}
    text = notice.text if notice.text.startswith(f"{label}:") else f"{label}: {notice.text}"
    severity = "note" if notice.slug in _ONLY_SAID else "warning"
    return Finding(kind, text, label, evidence=evidence, severity=severity)
