"""Every durable call of the code, taken out one at a time: what the laboratory must notice, or it proves nothing.

    for mutant in mutants(): ...            # found in the code by its syntax: syncs, renames, links, PRAGMA synchronous, checks of hashes and lengths
    install(name)                           # in a process that is to run with this one taken out, before it imports the suite

A mutant is known by file, function and text, not by line, so the list in docs/reliability.md stays true when lines move.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import re
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PLACES = (
    "fancymail/storage/*.py", "fancymail/storage/sqlite/*.py", "fancymail/core/commit.py", "fancymail/core/intake.py", "fancymail/core/queue.py",
    "fancymail/core/queue_desk.py", "fancymail/core/stowage.py", "fancymail/core/turn.py", "fancymail/servers/delivery.py",
    "fancymail/servers/uploads.py", "fancymail/servers/mailbox.py", "fancymail/servers/smtpin/*.py", "fancymail/servers/smtpout/outgoing.py")
DERIVED = ("fancymail/storage/sqlite/fulltext.py",)         # may be lost at any time
SYNC = re.compile(r"_?(fsync|fdatasync|syncfs|sync|sync_[a-z_]+|durable)\Z")
NAMING = {"rename", "replace", "link", "renames"}
CHECKED = re.compile(r"sha256|digest|\bEND\b|_whole|file_length|wanted|EMPTIED|\.hash\b|st_nlink|crc|checksum|in_transaction")


class Mutant(NamedTuple):
    """One call or check, and what becomes of it."""

    name: str           # FILE FUNCTION: TEXT
    file: str
    place: int          # among the candidates of the file
    kind: str           # sync, name, pragma, check


def mutants() -> list[Mutant]:
    """All of them, in order of file and place."""
    files = sorted({path for pattern in PLACES for path in ROOT.glob(pattern)})
    return [mutant for path in files if str(path.relative_to(ROOT)) not in DERIVED for mutant in _of(path)]


def install(name: str) -> None:
    """Have this process import the module with the mutant's call taken out."""
    mutant = next(mutant for mutant in mutants() if mutant.name == name)
    sys.meta_path.insert(0, _Finder(mutant))


def _of(path: Path) -> list[Mutant]:
    finder = _Candidates(-1)
    finder.visit(ast.parse(path.read_text()))
    file, seen, found = str(path.relative_to(ROOT)), Counter(), []
    for place, (kind, function, text) in enumerate(finder.found):
        seen[function, text] += 1
        again = f" ({seen[function, text]})" if seen[function, text] > 1 else ""
        found.append(Mutant(f"{file.removeprefix('fancymail/')} {function}: {text}{again}", file, place, kind))
    return found


class _Candidates(ast.NodeTransformer):
    """Counts candidates as it walks, and takes out the one at `target`."""

    def __init__(self, target: int) -> None:
        self.target, self.found, self.inside = target, [], []

    def _hit(self, kind: str, node: ast.AST, text: str = "") -> bool:
        text = " ".join((text or ast.unparse(node)).split())
        self.found.append((kind, ".".join(self.inside) or "module", text if len(text) <= 90 else text[:87] + "..."))
        return len(self.found) - 1 == self.target

    def visit_FunctionDef(self, node):
        self.inside.append(node.name)
        for arguments, defaults in ((node.args.args[::-1], node.args.defaults[::-1]), (node.args.kwonlyargs, node.args.kw_defaults)):
            for argument, default in zip(arguments, defaults):
                if argument.arg == "synchronous" and isinstance(default, ast.Constant) and default.value == "FULL":
                    if self._hit("pragma", default, "synchronous = 'FULL'"):
                        default.value = "OFF"
        self.generic_visit(node)
        self.inside.pop()
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node):
        self.inside.append(node.name)
        self.generic_visit(node)
        self.inside.pop()
        return node

    def visit_If(self, node):
        self.generic_visit(node)
        ends = node.body[-1]
        refuses = isinstance(ends, ast.Raise) or isinstance(ends, ast.Return) and isinstance(ends.value, ast.Constant) and ends.value.value is False
        if refuses and CHECKED.search(ast.unparse(node.test)) and "TYPE_CHECKING" not in ast.unparse(node.test):
            if self._hit("check", node, f"if {ast.unparse(node.test)}"):
                node.test = ast.copy_location(ast.Constant(False), node.test)
        return node

    def visit_Call(self, node):
        self.generic_visit(node)
        name, owner = _last(node.func), ast.unparse(node.func)
        if name == "pragma" and node.args and getattr(node.args[0], "value", "") == "synchronous":
            if getattr(node.args[1], "value", "FULL") == "FULL" and self._hit("pragma", node):
                node.args[1] = ast.copy_location(ast.Constant("OFF"), node)
        elif SYNC.match(name) and not owner.startswith(("asyncio.", "self.index.")):
            if self._hit("sync", node):
                return ast.copy_location(ast.Constant(0), node)
        elif owner.startswith("os.") and name in NAMING:
            if self._hit("name", node):
                return ast.copy_location(ast.Constant(None), node)
        elif name == "verify":
            if self._hit("check", node):
                return ast.copy_location(ast.Constant(True), node)
        for place, argument in enumerate(node.args):
            if isinstance(argument, (ast.Name, ast.Attribute)) and SYNC.match(_last(argument)) and self._hit("sync", node):
                node.args[place] = ast.copy_location(ast.parse("lambda *given: None", mode="eval").body, argument)
        return node

    def visit_Await(self, node):
        self.generic_visit(node)
        if isinstance(node.value, ast.Constant):            # what was awaited has been taken out
            return node.value
        return node


def _last(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def mutated(mutant: Mutant):
    """The code of the module without it."""
    path = ROOT / mutant.file
    tree = _Candidates(mutant.place).visit(ast.parse(path.read_text()))
    return compile(ast.fix_missing_locations(tree), str(path), "exec")


class _Loader(importlib.machinery.SourceFileLoader):
    mutant: Mutant

    def get_code(self, fullname):
        return mutated(self.mutant)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant
        self.module = mutant.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def find_spec(self, fullname, path, target=None):
        if fullname != self.module:
            return None
        loader = _Loader(fullname, str(ROOT / self.mutant.file))
        loader.mutant = self.mutant
        return importlib.util.spec_from_file_location(fullname, loader.path, loader=loader)
