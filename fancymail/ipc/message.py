"""One IPC message: a verb and its parameters, on the wire and as people write it.

On the wire (docs/ipc.md, "Transport") a message is one ZeroMQ multipart message: an empty delimiter, a tag, the verb, one frame per
parameter. People write `push: incoming ; /path/of/slot`. Used by server, client, fmctl and the tests of docs/ipc.md; knows no socket.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

OK = b"ok"
ERROR = b"error"
RAW = b"raw"
DELIMITER = b""

MAX_FRAMES = 1024          # frames of one message, tag and verb included
MAX_FRAME = 64 * 1024      # octets of one frame; longer data travels by name or in raw chunks
RAW_CHUNK = 32 * 1024      # octets that our own daemons put into one raw message


class IpcError(Exception):
    """An `error` answer: an RFC 3463 status and one line of text for the asker."""

    def __init__(self, status: str, text: str, *more: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status
        self.text = text
        self.more = more

    @property
    def temporary(self) -> bool:
        """Whether asking again later may succeed (status class 4)."""
        return self.status.startswith("4")


@dataclass(slots=True)
class Reply:
    """One message of an answer that has several (`ok`, `mailinfo`, `raw` ...)."""

    verb: str
    params: tuple

    def __init__(self, verb: str, *params) -> None:
        self.verb = verb
        self.params = params

    def text(self, index: int = 0) -> str:
        """Return a received parameter as text; raises IndexError when there is none."""
        value = self.params[index]
        return value.decode() if isinstance(value, bytes) else str(value)


def encode_value(value) -> bytes:
    """Return the frame of one parameter: text as UTF-8, numbers in ASCII digits, octets as they are, structures as JSON."""
    kind = type(value)
    if kind is bytes:
        return value
    if kind is str:
        return value.encode()
    if kind is bool:
        return b"1" if value else b"0"
    if kind is int:
        return b"%d" % value
    if kind is float:
        return repr(value).encode()
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    return msgspec.json.encode(value)


def encode_result(result) -> list[bytes]:
    """Return the frames behind `ok` for what a verb returned: nothing, one value, or one frame for each of a list or tuple."""
    if result is None:
        return []
    if type(result) is tuple or type(result) is list:
        return [encode_value(value) for value in result]
    return [encode_value(result)]


def answer_frames(result) -> list[bytes]:
    """Return verb and parameters of an answer of one message: `ok` with what a verb returned, or the Reply that it returned."""
    if type(result) is Reply:
        return fitting([result.verb.encode(), *map(encode_value, result.params)])
    return fitting([OK, *encode_result(result)])


def fitting(frames: list[bytes]) -> list[bytes]:
    """Return the frames; raises IpcError when one is larger than a peer takes: its socket would drop the connection without a word."""
    if len(frames) > MAX_FRAMES - 3 or max(map(len, frames)) > MAX_FRAME:
        raise IpcError("5.3.4", f"this does not fit into a message: {len(frames)} frames, the largest of {max(map(len, frames))} octets")
    return frames


def error_frames(error: IpcError) -> list[bytes]:
    """Return verb and parameters of an error: the message first, as in the reference, then our extension, the status."""
    return [ERROR, error.text.encode("utf-8", "replace")[:2048], error.status.encode(), *(item.encode() for item in error.more)]


def raise_error(params: list[bytes]) -> None:
    """Raise the IpcError that a peer sent."""
    text = params[0].decode("utf-8", "replace") if params else "error"
    status = params[1].decode("ascii", "replace") if len(params) > 1 else "5.0.0"
    raise IpcError(status, text, *(item.decode("utf-8", "replace") for item in params[2:]))


def parse_line(line: str) -> tuple[str, list[str]]:
    """Read a message as people write it, `verb: one ; two`; a parameter in double quotes may hold `;` and outer spaces.

    Raises ValueError when there is no verb.
    """
    verb, _, rest = line.partition(":")
    verb = verb.strip()
    if not verb or " " in verb:
        raise ValueError("a message is written as `verb: parameter ; parameter`")
    return verb, split_params(rest) if rest.strip() else []


def split_params(rest: str) -> list[str]:
    """Split at `;` outside of double quotes; `\\"` and `\\\\` stand for themselves inside them."""
    params, current, quoted, position = [], [], False, 0
    was_quoted = False
    while position < len(rest):
        char = rest[position]
        if quoted and char == "\\" and position + 1 < len(rest):
            position += 1
            current.append(rest[position])
        elif char == '"' and (quoted or not "".join(current).strip()):
            if not quoted:
                current.clear()
            quoted, was_quoted = not quoted, True
        elif char == ";" and not quoted:
            params.append(_finished(current, was_quoted))
            current, was_quoted = [], False
        elif quoted or not was_quoted:
            current.append(char)
        position += 1
    if quoted:
        raise ValueError("a double quote is not closed")
    params.append(_finished(current, was_quoted))
    return params


def _finished(chars: list[str], was_quoted: bool) -> str:
    return "".join(chars) if was_quoted else "".join(chars).strip()


def format_message(verb: bytes | str, params) -> str:
    """Write a message as people read it; octets that are no text, or long, are shown by their length."""
    name = verb.decode("utf-8", "replace") if isinstance(verb, bytes) else verb
    shown = [_show(encode_value(param)) for param in params]
    return f"{name}: {' ; '.join(shown)}" if shown else name


def _show(frame: bytes) -> str:
    try:
        text = frame.decode()
    except UnicodeDecodeError:
        return f"<{len(frame)} octets>"
    if not text.isprintable():
        return f"<{len(frame)} octets>"
    if not text or ";" in text or text != text.strip() or text.startswith('"'):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return text
