"""Read fancymail.toml into `Settings`, or say everything that is wrong with it at once.

Called by every daemon at start and at reload, by the supervisor and by fmctl. A broken file raises SettingsError and
changes nothing. Never writes, never guesses: an unknown key is an error with a suggestion.
"""

from __future__ import annotations

import difflib
import re
import socket
import tomllib
import types
import typing
from collections.abc import Callable
from pathlib import Path

import msgspec

from ..secret import Secret
from .catalog import Settings
from .section import Section

FILE_NAME = "fancymail.toml"


class SettingsError(Exception):
    """The configuration cannot be used. `problems` has one line each: file: key: reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_settings(path: Path | str | None, state: Path | str, read: Callable[[Path], bytes] = Path.read_bytes) -> Settings:
    """Return the settings of `path`; None: STATE/fancymail.toml if there is one, otherwise all defaults. `read` opens the file.

    Raises SettingsError with every problem of the file.
    """
    if path is None:
        path = Path(state) / FILE_NAME
        if not path.exists():
            return parse_settings({}, "(defaults)")
    return parse_settings(_read(Path(path), read), str(path))


def parse_settings(tables: dict, source: str) -> Settings:
    """Turn the tables of a file into Settings; `source` stands before each problem."""
    problems = [f"{source}: {problem}" for problem in _check(Settings, tables, "")]
    if problems:
        raise SettingsError(problems)
    try:
        settings = msgspec.convert(tables, Settings, dec_hook=_decode)
    except (msgspec.ValidationError, ValueError) as error:
        raise SettingsError([f"{source}: {_words(error)}"]) from None
    return msgspec.structs.replace(settings, server=_named(settings.server))


def _read(path: Path, read: Callable[[Path], bytes]) -> dict:
    try:
        return tomllib.loads(read(path).decode("utf-8"))
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read: {error.strerror or error}"]) from None
    except UnicodeDecodeError as error:
        raise SettingsError([f"{path}: is not UTF-8 at octet {error.start}"]) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([f"{path}: is not TOML: {error}"]) from None


def _check(shape: type[Section], table: object, where: str) -> list[str]:
    """List the problems of one table: unknown and missing keys, then each value by itself."""
    if not isinstance(table, dict):
        return [f"{where}: expected a table [{where}], got {_kind(table)}"]
    fields = {field.encode_name: field for field in msgspec.structs.fields(shape)}
    problems = []
    for key, value in table.items():
        name = f"{where}.{key}" if where else key
        if key in fields:
            problems += _check_value(fields[key].type, value, name)
        else:
            problems.append(f"{name}: unknown {'option' if where else 'section'}{_suggest(key, fields)}")
    problems += [f"{where}.{key}: is required" for key, field in fields.items() if field.required and key not in table]
    return problems or _check_whole(shape, table, where)


def _check_whole(shape: type[Section], table: dict, where: str) -> list[str]:
    """Let the section's own __post_init__ speak, once its options are right one by one."""
    if shape is Settings:
        return []
    try:
        msgspec.convert(table, shape, dec_hook=_decode)
    except (msgspec.ValidationError, ValueError) as error:
        return [f"{where}: {_words(error)}"]
    return []


def _check_value(kind: object, value: object, name: str) -> list[str]:
    """Check one value; tables inside tables are walked, so that each of their errors has its own line."""
    plain, arguments = strip(kind), typing.get_args(strip(kind))
    if isinstance(plain, type) and issubclass(plain, Section):
        return _check(plain, value, name)
    origin = typing.get_origin(plain)
    if origin is dict and isinstance(value, dict):
        items = [(item, f"{name}.{_quoted(key)}") for key, item in value.items()]
        return [problem for item, place in items for problem in _check_value(arguments[1], item, place)]
    if origin in (list, tuple) and isinstance(value, list) and is_section(arguments[0]):
        items = [(item, f"{name}[{index}]") for index, item in enumerate(value, 1)]
        return [problem for item, place in items for problem in _check_value(arguments[0], item, place)]
    try:
        msgspec.convert(value, kind, dec_hook=_decode)
    except (msgspec.ValidationError, ValueError) as error:
        return [f"{name}: {_words(error)}{_suggest_choice(plain, value)}"]
    return []


def strip(kind: object) -> object:
    """Return a type without Annotated and without `| None`."""
    while typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        return strip(options[0]) if len(options) == 1 else kind
    return kind


def is_section(kind: object) -> bool:
    plain = strip(kind)
    return isinstance(plain, type) and issubclass(plain, Section)


def _suggest(key: str, known: typing.Iterable[str]) -> str:
    close = difflib.get_close_matches(key.replace("_", "-").lower(), list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _suggest_choice(plain: object, value: object) -> str:
    if typing.get_origin(plain) is not typing.Literal or not isinstance(value, str):
        return ""
    choices = [str(choice) for choice in typing.get_args(plain)]
    return f"; one of {', '.join(choices)}{_suggest(value, choices)}"


def _words(error: Exception) -> str:
    """msgspec's words, with the place inside the value in front when there is one."""
    text = str(error)
    match = re.fullmatch(r"(.*?) - at `\$(.*)`", text, re.DOTALL)
    if match is None:
        return _lower(text)
    return f"{match[2].lstrip('.')}: {_lower(match[1])}" if match[2] else _lower(match[1])


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _kind(value: object) -> str:
    names = {str: "a text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a table"}
    return names.get(type(value), type(value).__name__)


def _quoted(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f'"{key}"'


def _decode(kind: type, value: object) -> object:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"expected {kind.__name__}, got {_kind(value)}")


def _named(server):
    """Fill in the names that the machine itself knows."""
    hostname = (server.hostname or _machine_name()).lower().rstrip(".")
    parent = hostname.partition(".")[2]
    domain = server.default_domain or (parent if "." in parent else hostname)
    return msgspec.structs.replace(server, hostname=hostname, default_domain=domain.lower())


def _machine_name() -> str:
    name = socket.gethostname()
    return name if "." in name else socket.getfqdn(name) or "localhost"
