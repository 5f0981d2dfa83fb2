"""Import this first, and the process runs with one durable call taken out: the one that the environment names.

`-p tests.faults.mutated` for pytest, `import tests.faults.mutated` for the processes of a laboratory. Without FAULTS_MUTANT it does nothing.
"""

from __future__ import annotations

import os

from tests.faults.mutants import install, install_marks

VARIABLE = "FAULTS_MUTANT"

if os.environ.get("FAULTS_MARKS"):
    install_marks()
if name := os.environ.get(VARIABLE):        # last: what it alters comes without marks
    install(name)
