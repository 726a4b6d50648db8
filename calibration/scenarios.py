"""All scenarios; a question adds its own with one line."""

from calibration import attribution, importance, norms, subspace, trajectory
from calibration.harness import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    *norms.SCENARIOS,
    *trajectory.SCENARIOS,
    *subspace.SCENARIOS,
    *attribution.SCENARIOS,
    *importance.SCENARIOS,
)
