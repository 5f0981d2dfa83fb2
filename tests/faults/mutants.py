"""Every durable call of the code, taken out one at a time: what the laboratory must notice, or it proves nothing.

    for mutant in mutants(): ...            # found in the code by its syntax: syncs, renames, links, PRAGMA synchronous, checks of hashes and lengths
    install(name)                           # in a process that is to run with this one taken out, before it imports the suite

A mutant is known by file, function and text, not by line, so the list in docs/reliability.md stays true when lines move.
"""

from __future__ import annotations

import ast
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PLACES = (
    "fancymail/storage/*.py", "fancymail/storage/sqlite/*.py", "fancymail/core/commit.py", "fancymail/core/intake.py", "fancymail/core/queue.py",
    "fancymail/core/queue_desk.py", "fancymail/core/stowage.py", "fancymail/core/turn.py", "fancymail/servers/auth/daemon.py",
    "fancymail/servers/mailbox/delivery.py", "fancymail/servers/mailbox/uploads.py", "fancymail/servers/mailbox/daemon.py",
    "fancymail/servers/smtpin/*.py", "fancymail/servers/smtpout/outgoing.py", "fancymail/servers/moving/files.py",
    "fancymail/servers/moving/move.py", "fancymail/servers/moving/queues.py", "fancymail/core/moving.py")
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
    sys.meta_path.insert(0, _Finder({mutant.file: lambda: mutated(mutant)}))


def install_marks() -> None:
    """Have this process note where its syncs are made."""
    files = {mutant.file for mutant in mutants() if mutant.kind == "sync"}
    sys.meta_path.insert(0, _Finder({file: functools.partial(marked, file) for file in files}))


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

    def __init__(self, target: int, marks: list[str] | None = None) -> None:
        self.target, self.found, self.inside, self.marks = target, [], [], marks

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
        compared = CHECKED.search(ast.unparse(node.test)) or "Differs(" in ast.unparse(ends)
        if refuses and compared and "TYPE_CHECKING" not in ast.unparse(node.test):
            if self._hit("check", node, f"if {ast.unparse(node.test)}"):
                node.test = ast.copy_location(ast.Constant(False), node.test)
        return node

    def visit_Call(self, node):
        self.generic_visit(node)
        name, owner = _last(node.func), ast.unparse(node.func)
        if name == "pragma" and node.args and getattr(node.args[0], "value", "") == "synchronous":
            if getattr(node.args[1], "value", "FULL") == "FULL" and self._hit("pragma", node):
                node.args[1] = ast.copy_location(ast.Constant("OFF"), node)
        elif _syncs(name, owner):
            if self._hit("sync", node):
                return ast.copy_location(ast.Constant(name == "filesystem"), node)      # syncfs(2) says 0 when all is well
            if self.marks:
                return self._marked(f"lambda: {ast.unparse(node)}", node, "()")
        elif owner.startswith("os.") and name in NAMING:
            if self._hit("name", node):
                return ast.copy_location(ast.Constant(None), node)
        elif name == "verify":
            if self._hit("check", node):
                return ast.copy_location(ast.Constant(True), node)
        for place, argument in enumerate(node.args):
            if isinstance(argument, (ast.Name, ast.Attribute)) and SYNC.match(_last(argument)):
                if self._hit("sync", node):
                    node.args[place] = ast.copy_location(ast.parse("lambda *given: None", mode="eval").body, argument)
                elif self.marks:
                    node.args[place] = self._marked(ast.unparse(argument), argument)
        return node

    def _marked(self, function: str, node: ast.AST, behind: str = "") -> ast.AST:
        """The call, noted in the record as it begins and ends (tests/faults/marks.py)."""
        name = self.marks[len(self.found) - 1]
        code = f"__import__('tests.faults.marks').faults.marks.noted({name!r}, {function}){behind}"
        return ast.copy_location(ast.parse(code, mode="eval").body, node)

    def visit_Await(self, node):
        self.generic_visit(node)
        if isinstance(node.value, ast.Constant):            # what was awaited has been taken out
            return node.value
        return node


def _syncs(name: str, owner: str) -> bool:
    if owner.startswith(("asyncio.", "self.index.")):
        return False
    return SYNC.match(name) is not None or "sync" in owner.lower() and name in ("everything", "filesystem", "files")


def _last(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def marked(file: str):
    """The code of a module that notes in the record where its syncs are made."""
    path = ROOT / file
    tree = _Candidates(-1, [mutant.name for mutant in _of(path)]).visit(ast.parse(path.read_text()))
    return compile(ast.fix_missing_locations(tree), str(path), "exec")


def mutated(mutant: Mutant):
    """The code of the module without it."""
    path = ROOT / mutant.file
    tree = _Candidates(mutant.place).visit(ast.parse(path.read_text()))
    return compile(ast.fix_missing_locations(tree), str(path), "exec")


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, fullname: str, path: str, make: Callable) -> None:
        super().__init__(fullname, path)
        self.make = make

    def get_code(self, fullname):
        return self.make()


class _Finder(importlib.abc.MetaPathFinder):
    """Gives some files other code."""

    def __init__(self, made: dict[str, Callable]) -> None:
        self.made = {file.removesuffix(".py").removesuffix("/__init__").replace("/", "."): (file, make) for file, make in made.items()}

    def find_spec(self, fullname, path, target=None):
        if fullname not in self.made:
            return None
        file, make = self.made[fullname]
        loader = _Loader(fullname, str(ROOT / file), make)
        is_package = [str((ROOT / file).parent)] if file.endswith("__init__.py") else None
        return importlib.util.spec_from_file_location(fullname, loader.path, loader=loader, submodule_search_locations=is_package)
