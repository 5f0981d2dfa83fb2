"""What holds for every test: hypothesis draws the same examples in every run, or very many new ones when asked to.

`bin/test` (profile "same"): no surprise, no deadline that a busy machine could miss, nothing kept between runs. `bin/test --slow`
sets HYPOTHESIS_PROFILE=search: new examples each time, twenty times as many where a test does not say how many.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

PATIENT = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}

settings.register_profile("same", derandomize=True, **PATIENT)
settings.register_profile("search", max_examples=2000, print_blob=True, **PATIENT)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
