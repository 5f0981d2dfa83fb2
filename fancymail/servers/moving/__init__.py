"""Moving a whole installation between files and a cluster: `fancymail migrate` (docs/scale.md 6).

`files.py` and `cluster.py` are the two sides, `queues.py` what waits in their queues, `move.py` the order of events. The rules of what has to be
carried are core/moving.py's. No daemon: cli/migrate.py runs it in its own process.
"""
