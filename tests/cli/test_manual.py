"""What fmctl writes from the configuration: the records of a domain, as a zone takes them."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from fancymail.cli.fmctl import main


def dns(state, domain: str):
    return CliRunner().invoke(main, ["--json", "--state", str(state), "dns", domain])


@pytest.mark.parametrize("domain, name", [("Example.Test.", "example.test."), ("B\u00fccher.test", "xn--bcher-kva.test.")])
def test_names_of_records_are_in_ascii(tmp_path, domain, name):
    rows = json.loads(dns(tmp_path, domain).stdout)
    assert rows[0]["name"] == name and rows[0]["type"] == "MX"
    assert all(row["name"].isascii() and row["value"].isascii() for row in rows)


@pytest.mark.parametrize("domain", ["", "a b;c", "x\udce9.test", "[192.0.2.1]"])
def test_what_is_no_domain_has_no_records(tmp_path, domain):
    done = dns(tmp_path, domain)
    assert done.exit_code == 2 and "DOMAIN" in done.output
