"""The generated parts of docs/ipc.md: verb tables from the daemons' classes, examples from their files.

Called by `fmctl docs` (to rewrite the page) and by the tests (to compare). Knows no daemon by itself.
"""

from __future__ import annotations

import re
from pathlib import Path

from fancymail.ipc.verb import Verb, verbs_of

VERBS = re.compile(r"(<!-- verbs -->\n).*?(<!-- end -->)", re.DOTALL)
INCLUDE = re.compile(r"(<!-- include (\S+) -->\n```(\w+)\n).*?(```\n<!-- end -->)", re.DOTALL)


def render_page(page: str, folder: Path, daemons: dict[str, type], base: type) -> str:
    """Return docs/ipc.md with its generated parts made anew; `folder` is where included files lie, `base` the common daemon class."""
    page = INCLUDE.sub(lambda match: match[1] + (folder / match[2]).read_text() + match[4], page)
    return VERBS.sub(lambda match: match[1] + verb_tables(daemons, base) + match[2], page)


def verb_tables(daemons: dict[str, type], base: type) -> str:
    """Return one table for the common verbs, and one for each daemon's own."""
    common = verbs_of(base)
    parts = ["### Every daemon\n\n", _table(common.values())]
    for name, daemon in daemons.items():
        own = [verb for verb in verbs_of(daemon).values() if common.get(verb.name) != verb]
        own.sort(key=lambda verb: verb.method not in vars(daemon))          # what it has from another class comes last
        parts += [f"### {name}\n\n", _table(own)]
    return "".join(parts)


def _table(verbs) -> str:
    rows = ["| message | parameters | what it does | who may say it |\n|---|---|---|---|\n"]
    rows += [f"| **{verb.name}**{_aliases(verb)} | {_parameters(verb)} | {_cell(verb.sentence)} | {_callers(verb)} |\n" for verb in verbs]
    return "".join(rows) + "\n"


def _aliases(verb: Verb) -> str:
    return f" (or {', '.join(verb.aliases)})" if verb.aliases else ""


def _parameters(verb: Verb) -> str:
    words = [f"[*{name}*: {kind.sentence}]" if optional else f"*{name}*: {kind.sentence}" for name, kind, optional in verb.parameters]
    if verb.rest:
        words.append(f"*{verb.rest[0]}* ...: {verb.rest[1].sentence}")
    if verb.wants_raw:
        words.append("then raw octets")
    return " ; ".join(words)


def _callers(verb: Verb) -> str:
    roles = ["everybody"] if "*" in verb.callers else sorted(verb.callers)
    return ", ".join([*roles, *(["operator"] if verb.operator and "*" not in verb.callers else [])])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
