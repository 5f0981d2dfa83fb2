"""The log of a daemon: one line per event, written once per turn of the event loop.

    log = Log("queue", settings.log, paths.log)
    log.info("accepted", id=envelope.id, size=size)
    2026-11-21T22:51:02.113Z queue info accepted id=k3v... size=1274

Used by every daemon. A line is at most 2 KiB and holds nothing that could forge another line or steer a terminal: what is
not printable is escaped. Secrets never appear. A full disk, a blocked pipe or a removed file never stops mail: lines that
cannot be written are counted, and the count is written when writing works again.
"""

from __future__ import annotations

import asyncio
import os
import re
import select
import sys
import time
import traceback
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from .secret import HIDDEN, Secret
from .settings.log import Log as LogSettings

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
LINE_LIMIT = 2048           # octets of a line, its end included
VALUE_LIMITS = (600, 120, 24, 0)   # characters of a value: the first that makes the line fit is taken
WAITING_LIMIT = 4096        # lines that may wait for the end of a loop turn
REOPEN_INTERVAL = 2.0       # seconds between looks whether the file is still the one at its path
PIPE_CHUNK = 4096           # octets that a pipe or terminal takes without blocking once poll says so (PIPE_BUF)

_PLAIN = re.compile(r"[A-Za-z0-9_.:/@+,<>\[\]{}()~^*%$#!?&|-]+")
_QUOTED = re.compile(r"[ ';=`]")         # what _PLAIN leaves out of printable ASCII, but for what is escaped
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
_SECRET_NAMES = frozenset("pass password passwd passphrase secret token credential credentials private_key".split())


class Log:
    """Writes the events of one daemon. `path` may be None: then only the console hears of them."""

    def __init__(self, name: str, settings: LogSettings, path: Path | str | None, console: bool = False) -> None:
        self.name = name
        self.lost = 0
        self._path = os.fspath(path) if path is not None else None
        self._always_console = console
        self._file = -1
        self._identity: tuple[int, int] | None = None
        self._looked = float("-inf")
        self._waiting: list[str] = []
        self._scheduled: asyncio.AbstractEventLoop | None = None
        self.apply(settings)

    def apply(self, settings: LogSettings) -> None:
        """Take new settings, at start and at reload."""
        self._threshold = LEVELS[settings.level]
        self._render = _json_line if settings.format == "json" else _text_line
        self._to_file = settings.file and self._path is not None
        self._to_console = (self._always_console or settings.console == "always"
                            or settings.console == "auto" and sys.stderr is not None and sys.stderr.isatty())

    def debug(self, event: str, /, **facts: object) -> None:
        """Write what only someone who looks for a fault wants to know."""
        if self._threshold <= 10:
            self._add("debug", event, facts)

    def info(self, event: str, /, **facts: object) -> None:
        """Write what happened, in the ordinary course of things."""
        if self._threshold <= 20:
            self._add("info", event, facts)

    def warning(self, event: str, /, **facts: object) -> None:
        """Write what an operator should look at some day."""
        if self._threshold <= 30:
            self._add("warning", event, facts)

    def error(self, event: str, /, **facts: object) -> None:
        """Write what an operator should look at now."""
        self._add("error", event, facts)

    def exception(self, event: str, error: BaseException | None = None, /, **facts: object) -> None:
        """Write an error with the end of its traceback; `error` defaults to the one being handled."""
        error = error if error is not None else sys.exception()
        if error is not None:
            facts["error"] = f"{type(error).__name__}: {error}"
            facts["trace"] = _trace(error)
        self._add("error", event, facts)

    def flush(self) -> None:
        """Write all lines that wait."""
        self._scheduled = None
        if not self._waiting:
            return
        lines = self._waiting[:]
        del self._waiting[:len(lines)]      # a pool's thread may have added one meanwhile
        if self.lost:
            lines.append(self._render(self.name, "warning", "log lines lost", {"count": self.lost}))
        data = "".join(lines).encode("utf-8", "backslashreplace")
        reached = not self._to_file or self._write_file(data)
        if self._to_console:
            _write_console(data)
        self.lost = 0 if reached else self.lost + len(lines) - bool(self.lost)

    def reopen(self) -> None:
        """Open the file anew, after it was rotated (SIGHUP)."""
        self.flush()
        if self._file >= 0:
            os.close(self._file)
        self._file, self._looked = -1, float("-inf")

    def close(self) -> None:
        """Write what waits and let go of the file."""
        self.reopen()

    def _add(self, level: str, event: str, facts: dict) -> None:
        if len(self._waiting) >= WAITING_LIMIT:
            self.lost += 1
            return
        self._waiting.append(self._render(self.name, level, event, facts))
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:      # outside a loop, or in a pool's thread: nobody else would flush
            self.flush()
            return
        if self._scheduled is not loop:
            self._scheduled = loop
            loop.call_soon(self.flush)

    def _write_file(self, data: bytes) -> bool:
        """Append; False when it could not be done, or only in part. Never waits: the file may be a pipe."""
        try:
            return os.write(self._open(), data) == len(data)
        except OSError:
            return False

    def _open(self) -> int:
        """Return the descriptor, opened anew when the path names another file by now."""
        now = time.monotonic()
        if now - self._looked < REOPEN_INTERVAL:
            if self._file < 0:
                raise OSError("the log cannot be opened")
            return self._file
        self._looked = now
        if self._file >= 0 and self._identity != _identity(self._path):
            os.close(self._file)
            self._file = -1
        if self._file < 0:
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o660)
            self._identity = _identity(self._path)
        return self._file


def escape(value: object, limit: int = VALUE_LIMITS[0]) -> str:
    """Return any value as printable text of one line, at most `limit` characters of it, quoted when it needs to be."""
    if type(value) is int:
        return str(value)
    if type(value) is str and len(value) <= limit and _PLAIN.fullmatch(value):
        return value
    text = _shown(value, limit)
    if _PLAIN.fullmatch(text):
        return text
    return f'"{_printable(text)}"'


def _printable(text: str) -> str:
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(_ESCAPES.get(char) or (char if char.isprintable() else _code(ord(char))) for char in text)


def _shown(value: object, limit: int) -> str:
    """The value as text, cut to `limit` characters. Octets that are not UTF-8 show as \\xNN."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        value = bytes(value[:limit + 1]).decode("utf-8", "backslashreplace")
    elif isinstance(value, bool):
        value = "yes" if value else "no"
    elif isinstance(value, float):
        value = f"{value:.3f}".rstrip("0").rstrip(".")
    elif value is None:
        value = "-"
    elif isinstance(value, (list, tuple, set, frozenset)):
        value = ",".join(_shown(item, limit) for item in list(value)[:64])
    text = value if type(value) is str else str(value)
    return text if len(text) <= limit else text[:limit] + "..."


def _code(point: int) -> str:
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def _hide(name: str, value: object) -> object:
    """A fact that is named like a secret is one, whatever the caller thought."""
    return HIDDEN if isinstance(value, Secret) or name in _SECRET_NAMES else value


_second = (0, "")


def _now() -> str:
    """The time in UTC to the millisecond; the text of a second is made once."""
    global _second
    moment = time.time()
    second = int(moment)
    if second != _second[0]:
        _second = (second, datetime.fromtimestamp(second, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S"))
    return f"{_second[1]}.{int((moment - second) * 1000):03d}Z"


def _text_line(daemon: str, level: str, event: str, facts: dict) -> str:
    head = f"{_now()} {daemon} {level} {_printable(event[:200])}"
    if (plain := _plain_facts(facts)) is not None:
        return f"{head}{plain}\n"
    for limit in VALUE_LIMITS:
        line = head + "".join([f" {name}={escape(_hide(name, value), limit)}" for name, value in facts.items()])
        if len(line) < LINE_LIMIT // 4 or len(line.encode("utf-8", "backslashreplace")) < LINE_LIMIT:
            return line + "\n"
    return head + " facts=too-long\n"


def _number(value: object) -> str:
    """A number as text; of anything else something that no plain line can have."""
    return str(value) if type(value) is int else _shown(value, VALUE_LIMITS[0]) if type(value) is float else "\n"


def _plain_facts(facts: dict) -> str | None:
    """The facts of a short line in which nothing has to be hidden, cut or escaped, as of most; looked at all together."""
    values = [value if type(value) is str else _number(value) for value in facts.values()]
    together = "".join(values)
    if len(together) > LINE_LIMIT // 4 or not (together.isascii() and together.isprintable()) or '"' in together or "\\" in together:
        return None
    if not _SECRET_NAMES.isdisjoint(facts):
        return None
    if "" in values or _QUOTED.search(together):
        values = [f'"{value}"' if not value or _QUOTED.search(value) else value for value in values]
    return "".join([f" {name}={value}" for name, value in zip(facts, values)])


def _json_line(daemon: str, level: str, event: str, facts: dict) -> str:
    record: dict[str, object] = {"time": _now(), "daemon": daemon, "level": level, "event": event[:200]}
    for limit in VALUE_LIMITS:
        shown = {name if name not in record else f"{name}_": _json_value(_hide(name, value), limit) for name, value in facts.items()}
        line = _ascii_json(record | shown)
        if len(line) < LINE_LIMIT:
            return line + "\n"
    return _ascii_json(record | {"facts": "too-long"}) + "\n"


def _json_value(value: object, limit: int) -> object:
    if isinstance(value, (bool, int, float)) or value is None:
        return value
    return _shown(value, limit)


def _ascii_json(record: dict) -> str:
    """JSON whose every character is printable ASCII, so that a terminal may show it as it is."""
    text = msgspec.json.encode({name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
                                for name, value in record.items()}).decode()
    return text if text.isascii() and "\x7f" not in text else re.sub(r"[^\x20-\x7e]", _json_escape, text)


def _json_escape(match: re.Match) -> str:
    units = match[0].encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _trace(error: BaseException) -> str:
    """Where it happened, innermost first: that end matters when the line is cut."""
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{Path(frame.filename).stem}.{frame.name}:{frame.lineno}" for frame in reversed(frames[-16:]))


def _identity(path: str | None) -> tuple[int, int] | None:
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _write_console(data: bytes) -> None:
    """Write to standard error as far as it takes octets at once; a stopped terminal must not stop a daemon."""
    try:
        poll, descriptor = select.poll(), sys.stderr.fileno()
        poll.register(descriptor, select.POLLOUT)
        for start in range(0, len(data), PIPE_CHUNK):
            ready = poll.poll(0)
            if not ready or not ready[0][1] & select.POLLOUT:
                return
            os.write(descriptor, data[start:start + PIPE_CHUNK])
    except (OSError, ValueError, AttributeError):
        return
