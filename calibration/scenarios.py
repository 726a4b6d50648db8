"""All scenarios; a question adds its own with one line."""

from calibration import norms
from calibration.harness import Scenario

SCENARIOS: tuple[Scenario, ...] = (*norms.SCENARIOS,)
