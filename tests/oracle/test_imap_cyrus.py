"""The same commands to ours and to Debian's Cyrus: what both say has to mean the same, or the difference is explained here.

Its package and Dovecot's cannot be installed together: so it is unpacked into a folder (build/peers, kept), and runs in a mount namespace in
which that lies over the machine's own files. Skipped where that cannot be: it needs root, and packages to be had by apt-get.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.packages import Packages, PackagesMissing
from bench.peers.cyrus import Cyrus
from bench.room import Room
from tests.oracle.imap_kit import SameCommands, beside

PEERS = Path(__file__).resolve().parents[2] / "build" / "peers"


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Return one connection to each."""
    if os.geteuid() != 0:
        pytest.skip("unpacked packages can be laid over the machine's files by root only")
    try:
        root = Packages(PEERS).root("cyrus")
    except (PackagesMissing, OSError) as error:
        pytest.skip(f"Cyrus cannot be unpacked: {error}")
    with beside(tmp_path_factory.mktemp("oracle"), lambda folder: Cyrus(folder / "peer", Room(root, folder))) as both:
        yield both


DELIMITER = "RFC 2046 5.1.1: the CRLF before a delimiter belongs to it; Cyrus, as Dovecot, counts it to the multipart that ends there"
NO_CHARSET = "RFC 2045 5.2: a text without a charset is US-ASCII; Cyrus leaves the default out where the part has a Content-Type"
EMPTY_HEADER = "a part that is no message has no header of its own; Cyrus answers with an empty line"
NO_CODE = "RFC 5530 3 leaves it to the server: Cyrus says in words that there is one already, or none"
NO_LINE_END = "Cyrus does not find what stands in quoted-printable on a last line without its end"
EIGHT_BITS = "RFC 5322 2.2: a header is ASCII; Cyrus puts X for each octet that is not, ours writes it anew without UTF8=ACCEPT (RFC 6858)"
DIFFERENT = {"mail attachment_pdf_lf": EIGHT_BITS,
             "2 BODY.PEEK[1]": DELIMITER, "3 BODY.PEEK[2]": DELIMITER, "3 BODY.PEEK[2.TEXT]": DELIMITER, "3 BODY": DELIMITER,
             "3 BODYSTRUCTURE": DELIMITER, "3 FULL": DELIMITER, "2 BODY": NO_CHARSET, "2 BODYSTRUCTURE": NO_CHARSET, "2 FULL": NO_CHARSET,
             "2 BODY.PEEK[2.HEADER.FIELDS (SUBJECT)]": EMPTY_HEADER, "code CREATE": NO_CODE, "code DELETE": NO_CODE,
             "BODY frühling": NO_LINE_END}


class TestCyrus(SameCommands):
    """Cyrus."""

    different = DIFFERENT
