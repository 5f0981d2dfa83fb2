"""TLS without asyncio's: one SSLObject over two MemoryBIOs per connection, one plaintext buffer for the whole process.

connection.py feeds octets of the network to `TlsStream.receive` and sends what `encrypt` and `outgoing` give. asyncio's
own TLS holds a 256 KiB buffer for every connection; here an idle one holds what OpenSSL needs and nothing else. `Certificates`
keeps the contexts: the default one, one per SNI name, reloaded in place. Never does I/O on sockets, never looks a file up by a
name that a client sent.
"""

from __future__ import annotations

import hashlib
import ssl
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fancymail.base.settings.tls import Tls
from fancymail.servers.containment.lending import opened, read_file

# A BIO keeps the size of the most it ever held, so both are fed in small pieces: 28 kB for an idle connection that was busy, where
# full records of 16 KiB would take 41 kB and save a quarter of the encryption's time.
SLICE = 4096                                   # octets of ciphertext fed at once
RECORD = 3072                                  # octets of plaintext in a record
READ = 128 * 1024                              # most octets of ciphertext that `receive` is given at once
_plain = bytearray(READ + 32768)           # shared by all connections, used only within receive(): a read, and a record that waited for its end
_plain_view = memoryview(_plain)


class TlsError(Exception):
    """The handshake failed or the peer broke TLS; str() is OpenSSL's reason, fit for a log."""


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """What is known of an established session (for Received, for logs, for SASL channel binding)."""

    version: str                 # "TLSv1.3"
    cipher: str                  # "TLS_AES_256_GCM_SHA384"
    bits: int                    # 256
    sni: str                     # the name the client asked for, "" if none
    server_end_point: bytes      # tls-server-end-point (RFC 5929 4.1); b"" where it is undefined


@dataclass(frozen=True, slots=True)
class Served:
    """One certificate with the context that serves it."""

    context: ssl.SSLContext
    server_end_point: bytes


class Certificates:
    """The default certificate and those of single names. Raises OSError, ssl.SSLError or ValueError when files do not fit.

    `reload` loads everything anew and changes nothing when any file is bad; sessions under way keep what they have.
    """

    def __init__(self, settings: Tls, state: Path, alpn: Iterable[str] = ()) -> None:
        self._alpn = list(alpn)
        self.reload(settings, state)

    def reload(self, settings: Tls, state: Path) -> None:
        """Load all certificates again; on any error the old ones stay."""
        default = self._load(settings, state / settings.certificate, state / settings.key)
        named = {name.lower().rstrip("."): self._load(settings, state / pair.certificate, state / pair.key)
                 for name, pair in settings.domains.items()}
        default.context.sni_callback = self._choose
        self.default, self.named = default, named
        self.handshake = settings.handshake

    def stream(self) -> TlsStream:
        """Begin the server's side of a session."""
        return TlsStream(self.default)

    def find(self, name: str) -> Served:
        """The certificate for an SNI name: the exact name, then `*.` and the rest of it, then the default."""
        name = name.lower().rstrip(".")
        exact = self.named.get(name)
        if exact is None:
            exact = self.named.get("*." + name.partition(".")[2], self.default)
        return exact

    def _choose(self, tls: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """OpenSSL read the ClientHello: serve the certificate of the name it asks for (RFC 6066 3)."""
        stream: TlsStream | None = tls.stream()     # type: ignore[attr-defined]
        if name and stream is not None:
            stream.sni = name[:255]
            stream.served = self.find(name)
            if stream.served.context is not context:
                tls.context = stream.served.context

    def _load(self, settings: Tls, certificate: Path, key: Path) -> Served:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[settings.minimum_version]
        # A compressed or renegotiated session is an attack, not a feature (RFC 9325 3.3, 3.5).
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.set_ciphers(settings.ciphers)
        with opened(certificate) as chain, opened(key) as secret:
            context.load_cert_chain(chain, secret)
        if self._alpn:
            context.set_alpn_protocols(self._alpn)
        return Served(context, server_end_point(read_file(certificate)))


def server_end_point(pem: bytes) -> bytes:
    """The hash of the first certificate of a PEM file as RFC 5929 4.1 asks; b"" where that is undefined."""
    certificate = x509.load_pem_x509_certificate(pem)
    algorithm = certificate.signature_hash_algorithm
    if algorithm is None:
        return b""                              # Ed25519 and its like use no hash of their own: undefined
    name = algorithm.name
    if name in ("md5", "sha1"):                 # RFC 5929 4.1: these two are replaced by SHA-256
        name = "sha256"
    return hashlib.new(name, certificate.public_bytes(Encoding.DER)).digest()


class TlsStream:
    """One side of a TLS session: octets in, octets out."""

    __slots__ = ("served", "sni", "established", "ended", "_incoming", "_outgoing", "_tls", "__weakref__")

    def __init__(self, served: Served) -> None:
        self.served = served
        self.sni = ""
        self.established = False
        self.ended = False                      # the peer sent close_notify
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = served.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._tls.stream = weakref.ref(self)    # type: ignore[attr-defined]  # weak: a cycle would keep 20 kB until a collection

    def receive(self, data: memoryview) -> bytes:
        """Take ciphertext (at most READ octets) and return the plaintext that it completes. Raises TlsError."""
        filled = 0
        for start in range(0, len(data), SLICE):
            self._incoming.write(data[start:start + SLICE])
            try:
                if not self.established:
                    self._tls.do_handshake()
                    self.established = True
                filled = self._read(filled)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                raise TlsError(reason(error)) from None
        return bytes(_plain_view[:filled])

    def _read(self, filled: int) -> int:
        """Decrypt every complete record into the shared buffer from `filled` on; return where it ends."""
        read = self._tls.read
        try:
            while True:
                count = read(len(_plain) - filled, _plain_view[filled:])
                if count == 0:
                    self.ended = True
                    return filled
                filled += count
        except ssl.SSLWantReadError:
            return filled
        except ssl.SSLZeroReturnError:
            self.ended = True
            return filled

    def encrypt(self, data: bytes | memoryview) -> bytes:
        """Return the records that carry `data`, and whatever else waits to be sent. Raises TlsError."""
        view, pieces = memoryview(data), []
        try:
            for start in range(0, len(view), RECORD):
                self._tls.write(view[start:start + RECORD])
                pieces.append(self._outgoing.read())
        except ssl.SSLError as error:
            raise TlsError(reason(error)) from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def outgoing(self) -> bytes:
        """Take what TLS itself wants to say: handshake, tickets, alerts."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def finish(self) -> bytes:
        """Say close_notify; the answer is not awaited (RFC 8446 6.1 lets us)."""
        if self.established:
            try:
                self._tls.unwrap()
            except (ssl.SSLError, ValueError):
                pass                            # WantRead: the alert is written, which was all we wanted
        return self.outgoing()

    def info(self) -> TlsInfo:
        """Describe the established session."""
        cipher, version, bits = self._tls.cipher()
        return TlsInfo(self._tls.version() or version, cipher, bits, self.sni, self.served.server_end_point)


def reason(error: ssl.SSLError) -> str:
    """OpenSSL's reason in a few words: "http request", "wrong version number"."""
    return (error.reason or type(error).__name__).lower().replace("_", " ")
