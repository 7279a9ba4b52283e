"""How many cases a property test draws: few by default, `MKD_FUZZ=10000` (`make fuzz`) for a long search."""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings

VARIABLE = "MKD_FUZZ"


def cases(few: int) -> Callable[[Any], Any]:
    """Returns the settings of a property test that draws `few` cases, or as many as `MKD_FUZZ` says."""
    count = int(os.environ.get(VARIABLE, few))
    slow = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    # A failure of a long search is shown as it was drawn: to shrink it takes longer than the search.
    phases = [Phase.explicit, Phase.generate] + ([] if VARIABLE in os.environ else [Phase.shrink])
    return settings(
        max_examples=count, deadline=None, suppress_health_check=slow, database=None, phases=phases
    )
