"""A test can fail, and waits for something that happens: nothing here runs a test, it reads all of them.

A test asserts something, or leaves that to a function of ours that does; what it waits for is a condition, never a number of seconds. What sets
the pace of faults, of load and of hostile clients (the kits of tests/faults, tests/soak and tests/load) may rest.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
JUDGES = {"raises", "warns", "fail", "importorskip"}           # pytest's own
Function = (ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def parsed() -> dict[Path, ast.Module]:
    """All modules of the tests."""
    return {path: ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}


def called(function: ast.AST) -> set[str]:
    """The last words of all that a function calls, or gives to others to call."""
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    given = {argument.id for call in calls for argument in call.args if isinstance(argument, ast.Name)}
    return given | {ast.unparse(call.func).rpartition(".")[2] for call in calls}


def judges_itself(function: ast.AST) -> bool:
    return any(isinstance(node, ast.Assert) for node in ast.walk(function)) or bool(called(function) & JUDGES)


class Names:
    """What the names that a test calls stand for: functions of its module, those it imports, and methods of our kits."""

    def __init__(self) -> None:
        self.modules = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): module for path, module in parsed().items()}
        self.functions = {name: {node.name: node for node in module.body if isinstance(node, Function)} for name, module in self.modules.items()}
        self.imports = {name: self._imported(module) for name, module in self.modules.items()}
        self.methods: dict[str, list] = {}
        for name, module in self.modules.items():
            for kit in (node for node in ast.walk(module) if isinstance(node, ast.ClassDef)):
                for node in (node for node in kit.body if isinstance(node, Function)):
                    self.methods.setdefault(node.name, []).append((name, node))

    @staticmethod
    def _imported(module: ast.Module) -> dict[str, tuple[str, str]]:
        found = [node for node in ast.walk(module) if isinstance(node, ast.ImportFrom) and node.module]
        return {alias.asname or alias.name: (node.module, alias.name) for node in found for alias in node.names}

    def judges(self, place: str, function: ast.AST, depth: int = 4) -> bool:
        """Whether a function asserts, or calls one of ours that does."""
        if judges_itself(function):
            return True
        return depth > 0 and any(self._named(place, word, depth - 1) for word in called(function))

    def _named(self, place: str, word: str, depth: int) -> bool:
        home, original = self.imports[place].get(word, (place, word))
        if found := self.functions.get(home, {}).get(original):
            return self.judges(home, found, depth)
        kits = self.methods.get(word, ())
        return bool(kits) and all(self.judges(where, method, depth) for where, method in kits)


def written() -> list[tuple[str, ast.AST]]:
    """Every test, with the name of its module."""
    return [(".".join(path.relative_to(ROOT.parent).with_suffix("").parts), node) for path, module in parsed().items()
            for node in ast.walk(module) if isinstance(node, Function) and node.name.startswith("test_")]


def test_every_test_asserts_something():
    names = Names()
    assert not [f"{place}.{node.name}" for place, node in written() if not names.judges(place, node)]


def rests(module: ast.Module) -> list[int]:
    """Lines that let time pass and look at nothing: outside of any loop that ends when something is true."""
    loops = [node for node in ast.walk(module) if isinstance(node, ast.While) and not isinstance(node.test, ast.Constant)]
    polls = {id(inner) for loop in loops for inner in ast.walk(loop)}
    return [node.lineno for node in ast.walk(module) if isinstance(node, ast.Call) and id(node) not in polls
            and ast.unparse(node.func) in ("time.sleep", "asyncio.sleep", "sleep") and ast.unparse(node.args[0]) != "0"]


def test_no_test_waits_for_the_clock():
    found = {str(path.relative_to(ROOT)): rests(module) for path, module in parsed().items() if path.name.startswith("test_")}
    assert not {name: lines for name, lines in found.items() if lines}


@pytest.mark.parametrize("text, wrong", [
    ("time.sleep(1)", [1]), ("await asyncio.sleep(0.1)", [1]), ("while not done():\n    time.sleep(0.1)", []), ("await asyncio.sleep(0)", []),
    ("while True:\n    time.sleep(0.1)", [2])])
def test_rests_are_seen(text, wrong):
    assert rests(ast.parse(text)) == wrong


@pytest.mark.parametrize("text, judged", [
    ("def test_a():\n    run()", False), ("def test_a():\n    assert run()", True),
    ("def test_a():\n    with pytest.raises(OSError):\n        run()", True)])
def test_what_asserts_is_seen(text, judged):
    assert judges_itself(ast.parse(text)) == judged
