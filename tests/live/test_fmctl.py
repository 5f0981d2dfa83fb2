"""fmctl's raw messages against the real mailbox server: rows, raw octets in both directions, none at all."""

from __future__ import annotations

import json


def test_raw_octets_there_and_back(suite, tmp_path):
    message, copy = tmp_path / "message.eml", tmp_path / "copy.eml"
    message.write_bytes(b"Subject: by hand\r\n\r\nHello.\r\n")
    user = "postmaster@example.test"
    empty = suite.fmctl("send", "mailbox", "maildrop", user).stdout
    assert empty.startswith("ok: 0 ; 0 ; ") and empty.count("\n") == 1
    number = suite.fmctl("send", "mailbox", "store", user, user, "--raw", str(message)).stdout.removeprefix("ok: ").strip()
    suite.fmctl("send", "mailbox", f"retr: {user} ; {number}", "--output", str(copy))
    assert copy.read_bytes().endswith(message.read_bytes())
    listed = suite.fmctl("send", "mailbox", "list", user).stdout.splitlines()
    assert listed == ["ok: 1", f"mailinfo: {number} ; {len(copy.read_bytes())}", "ok"]
    assert "raw: <12 octets>" in suite.fmctl("send", "mailbox", "maildrop", user).stdout
    suite.fmctl("send", "mailbox", "dele", user, number)
    done = suite.fmctl("send", "mailbox", "retr", user, number, check=False)
    assert done.returncode == 1 and done.stderr.startswith("error: ")


def test_who_can(suite):
    rows = json.loads(suite.fmctl("--json", "who-can", "pop").stdout)
    assert [(row["daemon"], row["roles"].split()) for row in rows] == [("queue", ["mailbox", "operator", "smtpout"])]
    assert suite.fmctl("who-can", "nothing", check=False).returncode == 1


def test_every_daemon_gives_its_metrics(suite):
    page = suite.fmctl("metrics").stdout
    for daemon in ("auth", "queue", "mailbox", "smtpout", "smtpin", "pop3", "imap", "imap-2"):
        assert f'fancymail_up{{daemon="{daemon}"}} 1\n' in page and f'fancymail_resident_octets{{daemon="{daemon}"}}' in page
    assert 'fancymail_messages{daemon="queue",queue="incoming",state="ready"} 0' in page


def test_reload_reaches_every_daemon(suite):
    done = suite.ask("reload")
    assert set(done["reloaded"]) == {"auth", "queue", "mailbox", "smtpout", "smtpin", "pop3", "imap", "imap-2"}


def test_dns_records_name_what_listens(suite):
    rows = suite.ask("dns", "example.test", "--address", "192.0.2.1", "--address", "2001:db8::1")
    values = {(row["name"], row["type"]): row["value"] for row in rows}
    assert values["example.test.", "MX"] == "10 mail.example.test."
    assert values["mail.example.test.", "A"] == "192.0.2.1" and values["mail.example.test.", "AAAA"] == "2001:db8::1"
    assert values["_submissions._tcp.example.test.", "SRV"] == f"0 1 {suite.ports['submissions']} mail.example.test."
    assert values["_25._tcp.mail.example.test.", "TLSA"].startswith("3 1 1 ")
