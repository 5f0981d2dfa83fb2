"""Parts of a message and the tree that they make: the values that mail.mime finds.

Read by IMAP, webmail, search and delivery reports. A part holds offsets into the message and what its header says; it points to others by
their index, so a tree has no cycles and needs no recursion. Reading a part decodes its octets in a stream. Never changes a message.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import charset, transfer
from .headers import Headers
from .parameters import Parameters, parameter
from .words import decode_words

TEXT_LIMIT = 1_048_576               # octets of a decoded text that are read unless told otherwise
DESCRIBING = frozenset((b"content-id", b"content-description", b"content-language", b"content-location", b"content-md5"))


class Part:
    """One entity. Offsets are into the whole message: header [start:header_end], body [body:end]."""

    __slots__ = ("index", "parent", "depth", "path", "start", "header_end", "body", "end", "type", "subtype", "params", "encoding",
                 "disposition", "disposition_params", "id", "description", "language", "location", "md5", "lines", "children", "opaque")

    def __init__(self, index: int, parent: int, depth: int, path: tuple[int, ...], start: int, header_end: int, body: int,
                 type: str, subtype: str, params: Parameters) -> None:
        self.index, self.parent, self.depth, self.path = index, parent, depth, path     # parent: -1 for the root
        self.start, self.header_end, self.body, self.end = start, header_end, body, body
        self.type, self.subtype, self.params = type, subtype, params
        self.encoding = self.disposition = ""
        self.disposition_params: Parameters = ()
        self.id = self.description = self.language = self.location = self.md5 = b""     # as they stand
        self.lines = 0                                    # line ends in the body
        self.children: list[int] = []
        self.opaque = False                               # a container that was not opened

    def __repr__(self) -> str:
        number = ".".join(map(str, self.path)) or "TEXT"
        return f"<Part {number} {self.content_type} [{self.body}:{self.end}]>"

    @property
    def content_type(self) -> str:
        """"type/subtype"."""
        return f"{self.type}/{self.subtype}"

    @property
    def charset(self) -> str:
        """The charset parameter, "us-ascii" for text that names none."""
        words = parameter(self.params, "charset").lower().split()
        return words[0] if words else "us-ascii" if self.type == "text" else ""

    @property
    def filename(self) -> str:
        """The name that the sender gave to the part, decoded; may hold anything, so it is no path."""
        return parameter(self.disposition_params, "filename") or parameter(self.params, "name")

    @property
    def size(self) -> int:
        """Octets of the body as it stands."""
        return self.end - self.body

    def describe(self, headers: Headers) -> None:
        """Take the fields that only describe; most parts have none of them."""
        if not headers.any(DESCRIBING):
            return
        self.id = headers.first("content-id") or b""
        self.description = headers.first("content-description") or b""
        self.language = headers.first("content-language") or b""
        self.location = headers.first("content-location") or b""
        self.md5 = headers.first("content-md5") or b""

    def make_opaque(self) -> None:
        """Show a container that is not opened as plain octets."""
        self.type, self.subtype, self.params, self.opaque = "application", "octet-stream", (), True

    def read(self, data: bytes, chunk: int = transfer.CHUNK) -> Iterator[bytes]:
        """Yield the decoded octets of the body."""
        machine = transfer.decoder(self.encoding)
        for at in range(self.body, self.end, chunk):
            yield machine.feed(data[at:min(at + chunk, self.end)])
        yield machine.finish()

    def text(self, data: bytes, limit: int = TEXT_LIMIT) -> str:
        """Return the first `limit` decoded octets as text in the part's charset."""
        pieces, size = [], 0
        for piece in self.read(data):
            pieces.append(piece)
            size += len(piece)
            if size >= limit:
                break
        return charset.decode(b"".join(pieces)[:limit], self.charset)

    def describes(self) -> str:
        """The Content-Description as text."""
        return decode_words(self.description)


class Structure:
    """All parts of a message in the order of their headers; parts[0] is the message itself."""

    __slots__ = ("parts", "cut", "headers")

    def __init__(self, parts: list[Part], cut: bool, headers: Headers) -> None:
        self.parts = parts
        self.cut = cut                                    # there were more parts than the limit allows
        self.headers = headers                            # of the message itself

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[Part]:
        return iter(self.parts)

    @property
    def root(self) -> Part:
        """The message itself."""
        return self.parts[0]

    def children(self, part: Part) -> list[Part]:
        """The parts of a multipart, or the one message inside a message/rfc822."""
        return [self.parts[index] for index in part.children]

    def find(self, path: tuple[int, ...]) -> Part | None:
        """The part with this section number: (2, 1) for "2.1"; () is the message itself. None if there is none."""
        part = self.parts[0]
        if not path:
            return part
        if part.type != "multipart":
            if path[0] != 1:
                return None
            path = path[1:]
        for number in path:
            part = self._step(part, number)
            if part is None:
                return None
        return part

    def _step(self, part: Part, number: int) -> Part | None:
        """One number further: into a multipart, or through a message/rfc822 into what it holds."""
        if part.type == "message" and part.children:
            part = self.parts[part.children[0]]
            if part.type != "multipart":
                return part if number == 1 else None
        if part.type != "multipart" or not 0 < number <= len(part.children):
            return None
        return self.parts[part.children[number - 1]]

    def first_text(self) -> Part | None:
        """The first text part that is no attachment: plain if there is one, else HTML; for previews and search."""
        html = None
        for part in self.parts:
            if part.type != "text" or part.disposition == "attachment":
                continue
            if part.subtype == "plain":
                return part
            html = html or part
        return html
