"""All scenarios; a question adds its own with one line."""

from calibration import norms, trajectory
from calibration.harness import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    *norms.SCENARIOS,
    *trajectory.SCENARIOS,
)
