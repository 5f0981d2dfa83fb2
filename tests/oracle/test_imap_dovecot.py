"""The same commands to ours and to Debian's Dovecot: what both say has to mean the same, or the difference is explained here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.peers import Dovecot
from tests.oracle.imap_kit import SameCommands, beside


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Return one connection to each."""
    if shutil.which("dovecot") is None or not Path("/usr/lib/dovecot/imap").exists():
        pytest.skip("dovecot-imapd is not installed")
    with beside(tmp_path_factory.mktemp("oracle"), Dovecot) as both:
        yield both


DELIMITER = "RFC 2046 5.1.1: the CRLF before a delimiter belongs to it; Dovecot counts it to the multipart that ends there"
NO_SUCH_PART = "what is neither multipart nor message has no part 1 below it; Dovecot gives the part itself"
DOWNGRADED = "RFC 6855 3 and RFC 6858 2: who did not say UTF8=ACCEPT is shown headers in ASCII; Dovecot 2.3 sends eight bits to everyone"
DIFFERENT = {"2 BODY.PEEK[1]": DELIMITER, "3 BODY": DELIMITER, "3 BODYSTRUCTURE": DELIMITER, "3 FULL": DELIMITER, "3 BODY.PEEK[2]": DELIMITER,
             "3 BODY.PEEK[2.TEXT]": DELIMITER, "2 BODY.PEEK[2.1]": NO_SUCH_PART, "2 BODY.PEEK[2.1.MIME]": NO_SUCH_PART,
             "3 BODY.PEEK[1.1]": NO_SUCH_PART, "mail attachment_pdf_lf": DOWNGRADED}


class TestDovecot(SameCommands):
    """Dovecot."""

    different = DIFFERENT
