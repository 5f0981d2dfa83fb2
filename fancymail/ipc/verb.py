"""Verbs are declared once, on their method: from the signature come validation, help, the tables of docs/ipc.md and fmctl.

    @verb(callers="smtpin smtpout")
    def slot(self, queue: QueueName, count: Count = 1) -> list[str]:
        "Request slot files of a queue; write one, close it, then push it."

Used by servers (declaration), ipc/server.py (validation, dispatch), fmctl and the docs. A parameter that cannot be read is answered
`error` before the method runs; the method sees values only.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from fancymail.ipc.message import IpcError

OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Parameter:
    """How one kind of parameter is read from its frame, and how it is called in the docs."""

    name: str
    sentence: str
    read: Callable[[bytes], Any]


class Caller:
    """Who asks: the role that its key or door proved, and where it sits."""

    __slots__ = ("role", "address", "identity")

    def __init__(self, role: str, address: str, identity: bytes) -> None:
        self.role, self.address, self.identity = role, address, identity


class RawStream:
    """Marks a parameter that receives the raw chunks which follow the request (see ipc/raw.py)."""


def _matching(pattern: str, reason: str) -> Callable[[bytes], str]:
    compiled = re.compile(pattern)

    def read(frame: bytes) -> str:
        text = frame.decode()
        if not compiled.fullmatch(text):
            raise ValueError(reason)
        return text
    return read


def _text(frame: bytes) -> str:
    text = frame.decode()
    if "\0" in text or len(text) > 8192:
        raise ValueError("text without NUL, at most 8192 characters")
    return text


_NUMBER = re.compile(rb"[0-9]{1,18}")      # strict ASCII digits: int() alone takes "1_000" and Arabic-Indic digits


def _number(low: int, high: int) -> Callable[[bytes], int]:
    def read(frame: bytes) -> int:
        if not _NUMBER.fullmatch(frame) or not low <= (value := int(frame)) <= high:
            raise ValueError(f"a number from {low} to {high}")
        return value
    return read


def _seconds(frame: bytes) -> float:
    if not re.fullmatch(rb"[0-9]{1,9}(\.[0-9]{1,6})?", frame):
        raise ValueError("seconds, as 30 or 0.5")
    return float(frame)


def _flag(frame: bytes) -> bool:
    if frame not in (b"0", b"1", b""):
        raise ValueError("0 or 1")
    return frame == b"1"


def _json(frame: bytes) -> Any:
    try:
        return msgspec.json.decode(frame)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"JSON: {error}") from None


def _kind(base: type, name: str, sentence: str, read: Callable[[bytes], Any]):
    return Annotated[base, Parameter(name, sentence, read)]


def _text_kind(name: str, sentence: str, pattern: str):
    return _kind(str, name, sentence, _matching(pattern, sentence))


Text = _kind(str, "text", "UTF-8 text", _text)
Word = _text_kind("word", "printable ASCII without spaces, at most 255", r"[!-~]{1,255}")
Name = _text_kind("name", "letters, digits and - _ ., at most 64", r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
QueueName = _text_kind("queue", "the name of a configured queue", r"[a-z][a-z0-9-]{0,31}")
SlotPath = _text_kind("slot", "the file name that slot gave", r"[^\x00-\x1f\x7f]{1,4096}")
Address = _text_kind("address", "an address; empty is the null reverse-path", r"[^\x00-\x1f\x7f]{0,512}")
UserName = _text_kind("user", "an account as a full address, or a bare name of the default domain", r"[^\x00-\x1f\x7f]{1,320}")
Callback = _text_kind("callback", "socket://host:port, tcp://host:port or ipc://path", r"(socket|tcp|ipc)://[!-~]{1,200}")
Number = _kind(int, "number", "a number from 1", _number(1, 2**32 - 1))
Count = _kind(int, "count", "a number from 1 to 10000", _number(1, 10_000))
Octets = _kind(int, "octets", "a length in octets", _number(0, 2**48))
Seconds = _kind(float, "seconds", "a duration, as 30 or 0.5", _seconds)
Flag = _kind(bool, "flag", "1 or 0", _flag)
Raw = _kind(bytes, "raw", "octets", bytes)
Json = _kind(Any, "json", "a JSON value", _json)


@dataclass(slots=True)
class Verb:
    """One declared verb: its name on the wire, its parameters, who may say it."""

    name: str
    method: str
    sentence: str
    parameters: list[tuple[str, Parameter, bool]]    # (name, kind, optional)
    rest: tuple[str, Parameter] | None
    callers: frozenset[str]
    operator: bool
    remember: bool
    wants_caller: str | None
    wants_raw: str | None
    aliases: tuple[str, ...] = ()

    def allows(self, role: str) -> bool:
        """Whether a role may say this verb."""
        return self.operator if role == OPERATOR else role in self.callers or "*" in self.callers

    def usage(self) -> str:
        """Return the verb as people write it, optional parameters in brackets."""
        words = [f"[{name}]" if optional else name for name, _, optional in self.parameters]
        if self.rest:
            words.append(f"{self.rest[0]}...")
        return f"{self.name}: {' ; '.join(words)}" if words else self.name

    def read(self, frames: list[bytes]) -> list[Any]:
        """Return the values of the parameters; raises IpcError 5.5.4 naming the one that cannot be read."""
        known = self.parameters
        if len(frames) > len(known) and not self.rest:
            raise IpcError("5.5.4", f"too many parameters; say {self.usage()}")
        values = []
        for index, (name, kind, optional) in enumerate(known):
            if index >= len(frames):
                if not optional:
                    raise IpcError("5.5.4", f"parameter {index + 1}, {name}, is missing; say {self.usage()}")
                break
            values.append(_read(kind, name, frames[index]))
        if self.rest:
            name, kind = self.rest
            values += [_read(kind, name, frame) for frame in frames[len(known):]]
        return values


def _read(kind: Parameter, name: str, frame: bytes):
    try:
        return kind.read(frame)
    except UnicodeDecodeError:
        raise IpcError("5.5.4", f"{name} is not UTF-8") from None
    except ValueError as error:
        raise IpcError("5.5.4", f"{name} must be {error}") from None


def verb(function=None, *, callers: str = "", operator: bool = True, remember: bool = False, name: str | None = None, aliases: str = ""):
    """Declare a method of a daemon as a verb.

    `callers`: the roles that may say it, separated by spaces, `*` for all; `operator`: whether the operator may.
    `remember`: keep the answer for a while, so that the same request (same tag) said again is not done twice; for verbs that
    are not idempotent by themselves. `name`: the wire name when it is no Python name. `aliases`: further names.
    """
    def declare(method):
        method.verb_options = (frozenset(callers.split()), operator, remember, name, tuple(aliases.split()))
        return method
    return declare(function) if function else declare


def verbs_of(owner: type) -> dict[str, Verb]:
    """Return all verbs that a class declares or inherits, by wire name (aliases left out), in order of their definition."""
    found: dict[str, Verb] = {}
    for cls in reversed(owner.__mro__):
        for method_name, method in vars(cls).items():
            if hasattr(method, "verb_options"):
                spec = _describe(method_name, method)
                found.pop(spec.name, None)
                found[spec.name] = spec
    return found


def _describe(method_name: str, method) -> Verb:
    callers, operator, remember, name, aliases = method.verb_options
    hints = typing.get_type_hints(method, include_extras=True)
    parameters, rest, caller, raw = [], None, None, None
    for parameter in list(inspect.signature(method).parameters.values())[1:]:
        kind = hints.get(parameter.name)
        if kind is Caller:
            caller = parameter.name
        elif kind is RawStream:
            raw = parameter.name
        elif parameter.kind is parameter.VAR_POSITIONAL:
            rest = (parameter.name, _kind_of(kind, method_name, parameter.name))
        else:
            parameters.append((parameter.name, _kind_of(kind, method_name, parameter.name), parameter.default is not parameter.empty))
    sentence = inspect.getdoc(method)
    if not sentence:
        raise TypeError(f"verb {method_name} has no sentence")
    return Verb(name or method_name.replace("_", "-").rstrip("-"), method_name, sentence, parameters, rest, callers, operator, remember,
                caller, raw, aliases)


def _kind_of(hint, method: str, parameter: str) -> Parameter:
    for extra in getattr(hint, "__metadata__", ()):
        if isinstance(extra, Parameter):
            return extra
    raise TypeError(f"verb {method}: parameter {parameter} needs a kind of ipc/verb.py")
