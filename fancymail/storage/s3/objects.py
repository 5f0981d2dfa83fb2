"""Objects in a bucket of an S3 server, by key: the few calls that FancyMail makes, over obstore.

    objects = Objects("s3://bucket/prefix?endpoint=http://127.0.0.1:9000&access-key-id=...&secret-access-key=...&region=...")

What the address does not say comes from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL). Every call
blocks until the server's answer; made from a fiber it runs in a thread meanwhile (`beside`). An object that is not there is KeyError, all that
the server or the network refuses is OSError.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

PATIENCE = 10                   # seconds of one request and its repetitions
LARGE = 32 << 20                # octets from which an object is sent in parts
OPTIONS = {"endpoint": "endpoint", "region": "region", "access-key-id": "access_key_id", "secret-access-key": "secret_access_key",
           "virtual-hosted": "virtual_hosted_style_request"}


class Objects:
    """One bucket, or what lies below a prefix of it."""

    def __init__(self, address: str) -> None:
        """Raises ValueError for an address that is none."""
        parts = urlsplit(address)
        asked = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        if parts.scheme != "s3" or not parts.netloc or set(asked) - set(OPTIONS):
            raise ValueError(f"s3://BUCKET/PREFIX with {', '.join(OPTIONS)} behind a question mark")
        named: dict[str, Any] = {OPTIONS[name]: value for name, value in asked.items()}
        self.address, self.prefix = address, parts.path.strip("/")
        self._store = S3Store(
            parts.netloc, prefix=self.prefix or None, region=named.pop("region", None) or "us-east-1", **named,
            client_options={"allow_http": asked.get("endpoint", "").startswith("http:"), "timeout": timedelta(seconds=PATIENCE),
                            "connect_timeout": timedelta(seconds=3)},
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=PATIENCE)})

    def put(self, key: str, octets: bytes | Iterable[bytes], length: int) -> None:
        """Write an object; several pieces are never in memory together when they are long."""
        if length < LARGE and not isinstance(octets, bytes):
            octets = b"".join(octets)
        with _refusing(key):
            obstore.put(self._store, key, octets, use_multipart=length >= LARGE)

    def get(self, key: str) -> bytes:
        """All of an object."""
        with _refusing(key):
            return bytes(obstore.get(self._store, key).bytes())

    def chunks(self, key: str, size: int) -> Iterator[bytes]:
        """All of an object, in pieces of about `size` octets."""
        with _refusing(key):
            for piece in obstore.get(self._store, key).stream(min_chunk_size=size):
                yield bytes(piece)

    def part(self, key: str, start: int, length: int) -> bytes:
        """Some of an object."""
        with _refusing(key):
            return bytes(obstore.get_range(self._store, key, start=start, length=length)) if length else b""

    def size(self, key: str) -> int:
        """Octets of an object; raises KeyError."""
        with _refusing(key):
            return obstore.head(self._store, key)["size"]

    def remove(self, keys: Iterable[str]) -> None:
        """Those that are there."""
        keys = list(keys)
        if keys:
            with _refusing(keys[0]):
                obstore.delete(self._store, keys)

    def keys(self, folder: str) -> Iterator[tuple[str, float]]:
        """What lies below a folder: key, seconds since the epoch of its last writing."""
        with _refusing(folder):
            for page in obstore.list(self._store, prefix=folder, chunk_size=1000):
                for found in page:
                    yield found["path"], found["last_modified"].timestamp()


class _refusing:
    """`with _refusing(key):` says what the server refuses as KeyError or OSError."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, FileNotFoundError):
            raise KeyError(self.key) from None
        if isinstance(error, BaseError):
            reason = str(error).strip().splitlines()
            raise OSError(f"the object store refuses: {reason[0][:200] if reason else type(error).__name__}") from error
