"""Which TLS context a route gets, and when the authorities are read."""

from __future__ import annotations

import ssl

import pytest

from fancymail.servers.smtpout.pool import Contexts


@pytest.mark.parametrize("tls", ["may", "require", "never"])
def test_encryption_to_whoever_it_is_reads_no_authorities(tls):
    contexts = Contexts("")
    assert contexts[tls].verify_mode == ssl.CERT_NONE and not contexts[tls].check_hostname
    assert "proven" not in vars(contexts)


@pytest.mark.parametrize("tls", ["verify", "implicit"])
def test_who_has_to_prove_itself_is_checked(tls):
    contexts = Contexts("")
    assert contexts[tls].verify_mode == ssl.CERT_REQUIRED and contexts[tls].check_hostname
    assert contexts[tls] is contexts[tls]


def test_a_bad_file_of_authorities_is_refused_at_once(tmp_path):
    (tmp_path / "bad.pem").write_text("nothing")
    with pytest.raises(ssl.SSLError):
        Contexts(str(tmp_path / "bad.pem"))
    with pytest.raises(OSError):
        Contexts(str(tmp_path / "missing.pem"))
