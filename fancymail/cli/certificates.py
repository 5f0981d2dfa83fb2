"""A private certificate authority and one server certificate, for the demo and for tests of TLS on one's own machine.

Called by `fancymail up --demo`. P-256 keys, ten years for the CA, 397 days for the server (what clients accept); made
anew when it is about to end. Not for the public: there a certificate of a public CA is configured in [tls].
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS, SERVER_DAYS, RENEW_DAYS = 3650, 397, 30

DIGITAL_SIGNATURE = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
SIGN_CERTIFICATES = x509.KeyUsage(False, False, False, False, False, True, True, False, False)


def ensure(ca: Path, certificate: Path, key: Path, names: list[str]) -> None:
    """Make the three files, unless they are there and good for a while. `names` are host names and addresses. Raises OSError."""
    if ca.exists() and key.exists() and certificate.exists() and not _ends_soon(certificate):
        return
    moment = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("FancyMail demo CA")
    ca_certificate = (_builder(ca_name, ca_name, ca_key, moment, CA_DAYS)
                      .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                      .add_extension(SIGN_CERTIFICATES, critical=True)
                      .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
                      .sign(ca_key, hashes.SHA256()))
    server = (_builder(_name(names[0]), ca_name, server_key, moment, SERVER_DAYS)
              .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
              .add_extension(DIGITAL_SIGNATURE, critical=True)
              .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
              .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
              .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
              .sign(ca_key, hashes.SHA256()))
    private = server_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(key, private, 0o600)
    _write(certificate, server.public_bytes(serialization.Encoding.PEM), 0o644)
    _write(ca, ca_certificate.public_bytes(serialization.Encoding.PEM), 0o644)      # its key is not kept: it signs only once


def _builder(subject, issuer, key, moment: datetime.datetime, days: int) -> x509.CertificateBuilder:
    return (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment - datetime.timedelta(hours=1))
            .not_valid_after(moment + datetime.timedelta(days=days)))


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _ends_soon(certificate: Path) -> bool:
    try:
        ends = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except ValueError:
        return True
    return ends - datetime.datetime.now(datetime.timezone.utc) < datetime.timedelta(days=RENEW_DAYS)


def _write(path: Path, data: bytes, mode: int) -> None:
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as file:
        file.write(data)
    temporary.rename(path)
