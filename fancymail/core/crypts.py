"""Password hashes that come from elsewhere: two handlers that passlib lacks, and the spellings of other servers made ours.

Used by core/passwords.py. `canonical(text)` takes what an administrator brings (crypt(3), LDAP, Dovecot's {SCHEME}, Apache) and
gives the one spelling that is kept, or says why not. Formats that cost too much to check are refused here, once, so that no
stored hash can hold up the login of others.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error

import bcrypt as bcrypt_library
import passlib.hash
import passlib.utils.handlers as handlers
from passlib.utils.binary import ab64_encode


class _Foreign(handlers.MinimalHandler):
    """Hashes of one format that are read and never made."""

    setting_kwds = context_kwds = ()
    _FORMAT: re.Pattern

    @classmethod
    def identify(cls, text: str | bytes) -> bool:
        """Whether this is a hash of the format, and of a usual cost."""
        return cls._FORMAT.fullmatch(_str(text)) is not None

    @classmethod
    def hash(cls, secret, **settings):
        raise TypeError(f"{cls.name} hashes are read, never made")

    genhash = genconfig = hash


class Bcrypt(_Foreign):
    """bcrypt, read only: passlib's own handler fails with bcrypt 5, which refuses what it used to cut at 72 octets."""

    name = "bcrypt"
    _FORMAT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")

    @classmethod
    def verify(cls, secret: str | bytes, text: str | bytes) -> bool:
        """Compare as every bcrypt does: the first 72 octets count."""
        octets = secret.encode() if isinstance(secret, str) else secret
        return bcrypt_library.checkpw(octets[:72], _str(text).encode())

    @classmethod
    def cost(cls, text: str) -> int:
        """Return the logarithm of the rounds."""
        return int(cls._FORMAT.fullmatch(text)[1])


class Yescrypt(_Foreign):
    """yescrypt, read only: what Linux systems keep in /etc/shadow. The system's libcrypt does it, without holding the GIL."""

    name = "yescrypt"
    # j4T to jBT: 0.5 to 64 MiB; more is nobody's default.
    _FORMAT = re.compile(r"\$y\$j[4-9AB][T5]\$[./A-Za-z0-9]{1,86}\$[./A-Za-z0-9]{43}")

    @classmethod
    def verify(cls, secret: str | bytes, text: str | bytes) -> bool:
        """Compare; raises ValueError where the system cannot do yescrypt."""
        octets = secret.encode() if isinstance(secret, str) else secret
        found = _crypt(octets, _str(text).encode())
        if found is None:
            raise ValueError("this system's libcrypt cannot read yescrypt")
        return handlers.consteq(found, _str(text).encode())


@functools.cache
def _libcrypt() -> ctypes.CDLL | None:
    name = ctypes.util.find_library("crypt")
    try:
        library = ctypes.CDLL(name or "libcrypt.so.1")
        library.crypt_rn.restype = ctypes.c_char_p
        library.crypt_rn.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int)
    except (OSError, AttributeError):
        return None
    return library


def _crypt(phrase: bytes, setting: bytes) -> bytes | None:
    """Call libxcrypt's reentrant crypt; None where there is none or it doesn't know the setting."""
    library = _libcrypt()
    if library is None:
        return None
    scratch = ctypes.create_string_buffer(32_768)         # struct crypt_data, fixed by its ABI
    return library.crypt_rn(phrase, setting, scratch, len(scratch))


_HEX = {32: "hex_md5", 64: "hex_sha256", 128: "hex_sha512"}
READABLE = (
    Bcrypt, Yescrypt, passlib.hash.sha512_crypt, passlib.hash.sha256_crypt, passlib.hash.md5_crypt, passlib.hash.apr_md5_crypt,
    passlib.hash.pbkdf2_sha512, passlib.hash.pbkdf2_sha256, passlib.hash.pbkdf2_sha1, passlib.hash.scrypt,
    passlib.hash.ldap_salted_sha512, passlib.hash.ldap_salted_sha256, passlib.hash.ldap_salted_sha1, passlib.hash.ldap_salted_md5,
    passlib.hash.ldap_sha1, passlib.hash.ldap_md5, *(getattr(passlib.hash, name) for name in _HEX.values()))
_MOST_ROUNDS = {"sha512_crypt": 1_000_000, "sha256_crypt": 1_000_000, "pbkdf2_sha512": 2_000_000, "pbkdf2_sha256": 2_000_000,
                "pbkdf2_sha1": 4_000_000}

for _handler in (passlib.hash.sha512_crypt, passlib.hash.sha256_crypt, passlib.hash.md5_crypt):
    # Python's crypt holds the GIL for the whole hash, and with it every other login; passlib's own code is slower but lets go.
    _handler.set_backend("builtin")

_SCHEME = re.compile(r"\{([A-Za-z0-9-]+)(?:\.(b64|base64|hex))?\}(.*)", re.DOTALL)
_CRYPT_SCHEMES = frozenset(("CRYPT", "ARGON2I", "ARGON2ID", "BLF-CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "MD5-CRYPT"))
_DIGESTS = {"SHA": 20, "SHA1": 20, "SHA256": 32, "SHA512": 64, "LDAP-MD5": 16, "PLAIN-MD5": 16}
_SALTED = frozenset(("SSHA", "SSHA256", "SSHA512", "SMD5"))
_PBKDF2 = {"PBKDF2": "pbkdf2", "PBKDF2-SHA1": "pbkdf2", "PBKDF2-SHA256": "pbkdf2-sha256", "PBKDF2-SHA512": "pbkdf2-sha512"}
CLEARTEXT = frozenset(("PLAIN", "CLEAR", "CLEARTEXT"))


def cleartext(text: str) -> str | None:
    """Return the password of `{PLAIN}password` and its like, None for anything else."""
    match = _SCHEME.fullmatch(text)
    return match[3] if match and match[1].upper() in CLEARTEXT else None


def canonical(text: str) -> str:
    """Return the spelling of a foreign hash that we keep; raises ValueError saying what is wrong with it."""
    match = _SCHEME.fullmatch(text)
    if not match:
        if re.fullmatch(r"[0-9A-Fa-f]{32,128}", text):
            raise ValueError("bare hexadecimal could be anything: put {PLAIN-MD5}, {SHA256} or {SHA512} before it")
        return checked(text)
    scheme, encoding, rest = match[1].upper(), match[2] or "", match[3]
    if scheme in _CRYPT_SCHEMES or (scheme == "MD5" and rest.startswith("$1$")):
        return checked(rest)
    if scheme == "PBKDF2" and rest.startswith("$1$"):
        return checked(_dovecot_pbkdf2(rest))
    if scheme in _PBKDF2:
        return checked(f"${_PBKDF2[scheme]}${rest}")
    if scheme in _SALTED:
        return checked(f"{{{scheme}}}{b64encode(_octets(rest, encoding)).decode()}")
    if scheme == "MD5":
        scheme = "LDAP-MD5"
    if scheme in _DIGESTS:
        return _digest(_octets(rest, encoding, _DIGESTS[scheme]), _DIGESTS[scheme])
    raise ValueError(f"the scheme {{{scheme}}} is not known here")


def checked(text: str) -> str:
    """Return a hash in one of our spellings; raises ValueError if no handler reads it or it costs too much to check."""
    if text.startswith("$argon2"):
        _check_argon2(text)
        return text
    handler = next((handler for handler in READABLE if handler.identify(text)), None)
    if handler is None:
        raise ValueError("this is no password hash that can be read here")
    if handler is Bcrypt:
        if not 4 <= Bcrypt.cost(text) <= 15:
            raise ValueError("bcrypt costs from 4 to 15 are taken")
    elif handler is not Yescrypt and hasattr(handler, "from_string"):
        parsed = handler.from_string(text)
        if parsed.checksum is None:
            raise ValueError("this is a salt without a hash")
        if handler.name == "scrypt" and (128 * parsed.block_size << parsed.rounds) * parsed.parallelism > 128 << 20:
            raise ValueError("this scrypt hash needs more than 128 MiB to check")
        if getattr(parsed, "rounds", 0) > _MOST_ROUNDS.get(handler.name, 10**9):
            raise ValueError(f"more than {_MOST_ROUNDS[handler.name]} rounds take too long to check")
    return text


def _check_argon2(text: str) -> None:
    try:
        parsed = passlib.hash.argon2.from_string(text)
    except ValueError as error:
        raise ValueError(f"this argon2 hash cannot be read: {error}") from None
    if parsed.checksum is None:
        raise ValueError("this argon2 hash has no digest")
    if parsed.memory_cost > 256 << 10 or parsed.memory_cost * parsed.rounds > 2 << 20:
        raise ValueError("this argon2 hash needs more than 256 MiB, or too much time, to check")


def _dovecot_pbkdf2(rest: str) -> str:
    """Turn Dovecot's `$1$salt$rounds$hex` (SHA-1) into passlib's spelling."""
    match = re.fullmatch(r"\$1\$([ -#%-~]{1,64})\$([1-9][0-9]{0,8})\$([0-9a-fA-F]{40})", rest)
    if not match:
        raise ValueError("a {PBKDF2} hash is $1$salt$rounds$digest")
    salt, digest = (ab64_encode(octets).decode() for octets in (match[1].encode(), bytes.fromhex(match[3])))
    return f"$pbkdf2${match[2]}${salt}${digest}"


def _octets(text: str, encoding: str, length: int = 0) -> bytes:
    """Decode a digest: as its suffix says, else hexadecimal if it has just that length, else base64."""
    try:
        if encoding == "hex" or (not encoding and length and len(text) == 2 * length):
            octets = bytes.fromhex(text)
        else:
            octets = b64decode(text, validate=True)
    except (ValueError, Base64Error):
        raise ValueError("the digest is neither base64 nor hexadecimal") from None
    if length and len(octets) != length:
        raise ValueError(f"the digest has {len(octets)} octets instead of {length}")
    return octets


def _digest(octets: bytes, length: int) -> str:
    if length == 20:
        return f"{{SHA}}{b64encode(octets).decode()}"
    return octets.hex()


def _str(text: str | bytes) -> str:
    return text.decode("latin-1") if isinstance(text, bytes) else text
