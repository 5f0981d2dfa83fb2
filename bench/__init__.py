"""The measurements: the same work on our suite and on what people run today, in turn, and the tables that say what came out.

    bin/bench [part ...]        cli.py: makes the peers ready, runs the parts, writes results/*.json and docs/performance.md

packages.py and room.py make the peers' Debian packages run from a folder; peers/ has one small class per server; works/ has one module
per part of the page; processes.py reads what a server costs, result.py keeps it, page.py and figures.py show it. Nothing here is used
by the suite itself.
"""
