"""docs/performance.md: the tables stand between markers and are made from bench/results/, the prose between them is written by hand.

    <!-- bench: smtp -->
    ...
    <!-- end of bench: smtp -->

Used by bin/bench, and by the test that compares page, figures and results.
"""

from __future__ import annotations

import re
from pathlib import Path

from bench import result as results
from bench.works import PARTS

ROOT = Path(__file__).resolve().parent.parent
PAGE, FIGURES = ROOT / "docs/performance.md", ROOT / "docs/figures"
NOTHING = "Not measured yet."
ABOUT = ("processors", "memory", "kernel", "python", "load")


def made(text: str) -> str:
    """Return the page with all tables made anew."""
    return re.sub(r"(<!-- bench: ([a-z0-9]+) -->\n).*?(<!-- end of bench: \2 -->)", lambda match: f"{match[1]}{section(match[2])}\n{match[3]}", text,
                  flags=re.S)


def section(part: str) -> str:
    """Return what stands between the markers of a part. Raises KeyError for a part that there is not."""
    work, found = PARTS[part], results.read(part)
    if found is None:
        return NOTHING
    pictures = "".join(f"\n\n![{title}](figures/{name})" for name, (title, _) in drawn(part).items())
    return f"{work.page(found)}{pictures}\n\n{signature(found)}"


def signature(found: results.Result) -> str:
    """Return when and on what it was measured."""
    packages = ", ".join(f"{name} {version}" for name, version in found.machine.items() if name not in ABOUT)
    about = ", ".join(found.machine[name] for name in ABOUT if name in found.machine)
    rounds = max(len(row.rounds) for row in found.rows)
    return f"<sub>{found.taken}; rounds: {rounds}; {about}{'; ' + packages if packages else ''}.</sub>"


def drawn(part: str) -> dict[str, tuple[str, str]]:
    """Return the figures of a part: file name -> (title, SVG)."""
    found = results.read(part)
    draw = getattr(PARTS[part], "figures", None)
    return draw(found) if found and draw else {}


def wanted() -> dict[Path, str]:
    """Return page and figures as the results would have them."""
    return {PAGE: made(PAGE.read_text()), **{FIGURES / name: svg for part in PARTS for name, (_, svg) in drawn(part).items()}}


def write() -> list[Path]:
    """Write the page and the figures; return what changed."""
    changed = {path: text for path, text in wanted().items() if not path.exists() or path.read_text() != text}
    FIGURES.mkdir(exist_ok=True)
    for path, text in changed.items():
        path.write_text(text)
    return list(changed)
