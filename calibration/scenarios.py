"""All scenarios; a question adds its own with one line."""

from calibration import (
    attribution,
    bands,
    gains,
    importance,
    merges,
    norms,
    pairs,
    runs,
    subspace,
    trajectory,
)
from calibration.harness import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    *norms.SCENARIOS,
    *bands.SCENARIOS,
    *pairs.SCENARIOS,
    *trajectory.SCENARIOS,
    *runs.SCENARIOS,
    *subspace.SCENARIOS,
    *attribution.SCENARIOS,
    *gains.SCENARIOS,
    *importance.SCENARIOS,
    *merges.SCENARIOS,
)
