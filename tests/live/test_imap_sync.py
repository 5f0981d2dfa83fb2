"""Programs that keep a copy of an account: mbsync and offlineimap. Both ways, and a second run right after the first changes nothing."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from fancymail.core.imap.parts import headers
from fancymail.core.imap.precompute import precompute
from fancymail.mail.downgrade import Downgrade
from tests.live.conftest import needs
from tests.live.suite import ALICE, BOB
from tests.live.test_foreign_clients import run
from tests.samples_kit import sample_files

LETTER = b"From: Bob <bob@x.test>\r\nTo: alice@example.test\r\nSubject: %s\r\nMessage-ID: <%s@x.test>\r\n\r\nhello %s\r\n"


def letter(name: str) -> bytes:
    """Return a small message."""
    return LETTER % ((name.encode(),) * 3)


def fill(suite, user: str) -> None:
    """Give an account two folders with mail and flags."""
    with suite.imap(user) as wire:
        for box in ("INBOX", "Work", "Work/Entw&APw-rfe"):
            if box != "INBOX":
                wire.ok(f'CREATE "{box}"')
                wire.ok(f'SUBSCRIBE "{box}"')
            for number in range(4):
                wire.append(box, letter(f"{box.encode().hex()}-{number}"), [r"\Seen", r"\Flagged", "", r"\Answered \Seen"][number])


def picture(suite, user: str) -> dict[bytes, list[tuple[bytes, ...]]]:
    """Return mailbox -> sorted (subject line, flags...) of the whole account."""
    found = {}
    with suite.imap(user) as wire:
        for listed in wire.ok('LIST "" *').of("LIST"):
            name = listed.partition(b' "/" ')[2].strip(b'"')
            wire.select(name.decode(), "EXAMINE")
            rows = []
            for response in wire.ok("UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])").of("FETCH"):
                flags = response.partition(b"FLAGS (")[2].partition(b")")[0].split()
                subject = next(line for line in response.split(b"\r\n") if line.startswith(b"Subject:"))
                rows.append((subject, *sorted(flag for flag in flags if flag != b"\\Recent")))
            found[name] = sorted(rows)
    return found


def files(folder: Path) -> dict[str, bytes]:
    """Return path -> content of every message file of a tree of Maildirs."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.parent.name in ("cur", "new"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def change(folder: Path, flagged: str, removed: str) -> None:
    """As a local mail program does: flag one message, remove another, add a third."""
    for path in list(folder.rglob("*")):
        if path.is_file() and path.parent.name in ("cur", "new"):
            content = path.read_bytes()
            if f"Subject: {flagged}".encode() in content:
                name, _, flags = path.name.partition(":2,")
                path.rename(path.parent.parent / "cur" / f"{name}:2,{''.join(sorted(set(flags + 'F')))}")
            elif f"Subject: {removed}".encode() in content:
                path.unlink()


def add(maildir: Path, name: str) -> None:
    """Add a message to a Maildir."""
    (maildir / "cur" / f"1700000000.{random.Random(1).getrandbits(40)}.here:2,S").write_bytes(letter(name).replace(b"\r\n", b"\n"))


@needs("mbsync")
def test_mbsync_converges(suite, tmp_path):
    fill(suite, ALICE)
    boxes = tmp_path / "mail"
    boxes.mkdir()
    (tmp_path / "rc").write_text(
        f"IMAPAccount suite\nHost localhost\nPort {suite.ports['imaps']}\nUser {ALICE}\nPass {suite.accounts[ALICE]}\nSSLType IMAPS\n"
        f"CertificateFile {suite.ca}\n\nIMAPStore far\nAccount suite\n\n"
        f"MaildirStore near\nPath {boxes}/\nInbox {boxes}/INBOX\nSubFolders Verbatim\n\n"
        "Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSync All\nSyncState *\nCopyArrivalDate yes\n")
    sync = ["mbsync", "-c", tmp_path / "rc", "-a"]
    run(*sync)
    there, here = picture(suite, ALICE), files(boxes)
    assert len(here) == sum(len(rows) for rows in there.values()) == 12
    run(*sync)
    assert (picture(suite, ALICE), files(boxes)) == (there, here)           # a second run has nothing to do
    change(boxes, f"{b'INBOX'.hex()}-2", f"{b'Work'.hex()}-0")
    add(boxes / "Work", "from here")
    with suite.imap() as wire:
        wire.select("Work")
        wire.ok(r"STORE 3 +FLAGS (\Answered)")
        wire.append("INBOX", letter("from there"))
    run(*sync)
    there, here = picture(suite, ALICE), files(boxes)
    assert (f"Subject: {b'INBOX'.hex()}-2".encode(), b"\\Flagged") in there[b"INBOX"]
    assert [row for row in there[b"Work"] if row[0].endswith(b"-0")] == []
    assert (b"Subject: from here", b"\\Seen") in there[b"Work"]
    assert sum(b"Subject: from there" in content for content in here.values()) == 1
    run(*sync)
    run(*sync)
    assert (picture(suite, ALICE), files(boxes)) == (there, here)


@needs("offlineimap")
def test_offlineimap_converges(suite, tmp_path):
    fill(suite, BOB)
    boxes = tmp_path / "mail"
    (tmp_path / "rc").write_text(
        f"[general]\naccounts = suite\nmetadata = {tmp_path}/meta\nui = quiet\nmaxsyncaccounts = 1\n"
        "[Account suite]\nlocalrepository = near\nremoterepository = far\n"
        f"[Repository near]\ntype = Maildir\nlocalfolders = {boxes}\nsync_deletes = yes\n"
        f"[Repository far]\ntype = IMAP\nremotehost = localhost\nremoteport = {suite.ports['imaps']}\nremoteuser = {BOB}\n"
        f"remotepass = {suite.accounts[BOB]}\nssl = yes\nsslcacertfile = {suite.ca}\nauth_mechanisms = PLAIN\n")
    sync = ["offlineimap", "-c", tmp_path / "rc", "-o"]
    run(*sync)
    there, here = picture(suite, BOB), files(boxes)
    assert len(here) == sum(len(rows) for rows in there.values()) == 12
    run(*sync)
    assert (picture(suite, BOB), files(boxes)) == (there, here)
    change(boxes, f"{b'INBOX'.hex()}-2", f"{b'Work'.hex()}-0")
    add(boxes / "Work", "from here")
    with suite.imap(BOB) as wire:
        wire.append("INBOX", letter("from there"))
    run(*sync)
    there = picture(suite, BOB)
    assert (f"Subject: {b'INBOX'.hex()}-2".encode(), b"\\Flagged") in there[b"INBOX"]
    assert [row for row in there[b"Work"] if row[0].endswith(b"-0")] == []
    assert (b"Subject: from here", b"\\Seen") in there[b"Work"]             # its UID came back by APPENDUID
    run(*sync)
    here = files(boxes)
    assert sum(b"Subject: from there" in content for content in here.values()) == 1
    run(*sync)
    assert (picture(suite, BOB), files(boxes)) == (there, here)


def shown(content: bytes) -> bytes:
    """A message as it goes out to who did not say UTF8=ACCEPT."""
    message = content.replace(b"\n", b"\r\n")
    return Downgrade(headers(precompute(b"", message, 0).parts))(message).replace(b"\r\n", b"\n")


@needs("mbsync")
def test_mbsync_takes_every_kind_of_mail_there_and_back(suite, tmp_path):
    """Sample messages go up from a Maildir and come down again into another one, octet for octet but for line ends, and but for headers in UTF-8:
    mbsync does not say UTF8=ACCEPT."""
    samples = sample_files()[-150:]
    user = "postmaster@example.test"
    up, down = tmp_path / "up", tmp_path / "down"
    for folder in (up / "INBOX" / part for part in ("cur", "new", "tmp")):
        folder.mkdir(parents=True)
    down.mkdir()
    sent = []
    for number, path in enumerate(samples):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        if b"\0" in content or b"\r" in content or b"\n\n" not in content or not content.endswith(b"\n"):
            continue                        # mbsync itself changes these
        (up / "INBOX" / "cur" / f"{number}.x:2,").write_bytes(content)
        sent.append(content)
    for folder in (up, down):
        (tmp_path / f"{folder.name}.rc").write_text(
            f"IMAPAccount suite\nHost localhost\nPort {suite.ports['imap']}\nUser {user}\nPass {suite.accounts[user]}\nSSLType STARTTLS\n"
            f"CertificateFile {suite.ca}\n\nIMAPStore far\nAccount suite\n\nMaildirStore near\nPath {folder}/\nInbox {folder}/INBOX\n\n"
            "Channel all\nFar :far:\nNear :near:\nCreate Both\nSync All\nSyncState *\n")
        run("mbsync", "-c", tmp_path / f"{folder.name}.rc", "-a")
    got = [content for content in files(down).values()]
    shutil.rmtree(up)

    def plain(content: bytes) -> bytes:
        return b"\n".join(line for line in content.split(b"\n") if not line.startswith(b"X-TUID:"))
    exact = {plain(content) for content in got} & {plain(content) for content in sent}
    assert sorted(map(plain, got)) == sorted(map(shown, map(plain, sent))) and len(exact) > 0.8 * len(sent)
