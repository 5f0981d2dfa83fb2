"""What holds for every test: compiled code is kept, hypothesis draws the same examples in every run, or very many new ones when asked to.

`bin/test` (profile "same"): no surprise, no deadline that a busy machine could miss, nothing kept between runs. `bin/test --slow`
sets HYPOTHESIS_PROFILE=search: new examples each time, twenty times as many where a test does not say how many.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

# Hundreds of daemons and commands are started by the tests. Where the environment forbids to keep compiled code, each of them would compile
# all of it anew, for a second and more: it is kept then, but in a folder of the tests and not beside the sources.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "compiled")
    sys.dont_write_bytecode = False

PATIENT = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}

settings.register_profile("same", derandomize=True, **PATIENT)
settings.register_profile("search", max_examples=2000, print_blob=True, **PATIENT)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
