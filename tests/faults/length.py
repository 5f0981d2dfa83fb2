"""How much the long forms do: which seeds, for how long. tests/faults/campaign.py sets these variables; so may whoever runs one test alone.

The short forms, which run with every `bin/test`, have seed 1 and a length of their own.
"""

from __future__ import annotations

import os

FIRST = int(os.environ.get("FAULTS_SEED", "2"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("FAULTS_SEEDS", "1")))
SECONDS = float(os.environ.get("FAULTS_SECONDS", "20"))         # of each loop
CUTS = int(os.environ.get("FAULTS_CUTS", "8"))                  # of the power, under load
