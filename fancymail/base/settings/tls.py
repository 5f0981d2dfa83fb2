"""The certificates and the rules of TLS, shared by every listener.

Read by servers/doors/tls.py (certificates, versions, ciphers) and servers/doors/listener.py (the handshake's deadline). Paths that are
not absolute lie in the state folder. A change of the files is taken over by `fmctl reload` without dropping sessions.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fancymail.base.settings.section import Section, say


class Certificate(Section):
    """One certificate of a domain (served when the client names the domain by SNI)."""

    certificate: Annotated[str, say("PEM file with the certificate and its chain.", min_length=1)]
    key: Annotated[str, say("PEM file with the private key, readable only by the daemon.", min_length=1)]


class Tls(Section):
    """Certificates and versions of TLS."""

    certificate: Annotated[str, say("PEM file with the default certificate and its chain.", min_length=1)] = "tls/cert.pem"
    key: Annotated[str, say("PEM file with the default private key.", min_length=1)] = "tls/key.pem"
    minimum_version: Annotated[Literal["1.2", "1.3"], say("The oldest version of TLS that is spoken.")] = "1.2"
    ciphers: Annotated[str, say("Ciphers of TLS 1.2 in OpenSSL's notation; TLS 1.3 has its own, which are all good.")] = (
        "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20")
    handshake: Annotated[float, say("Seconds within which a handshake must be complete.", gt=0, le=300)] = 20.0
    domains: Annotated[dict[str, Certificate], say(
        "Certificates of single domains: names (or *.names) as clients give them by SNI.")] = {}
