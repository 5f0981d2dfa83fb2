"""NOTIFY, ESEARCH of several mailboxes and searches that go on, with a second session that makes things happen."""

from __future__ import annotations

import asyncio

LETTER = b"Subject: number %d\r\n\r\ntext\r\n"


async def heard(client, *wanted: bytes) -> list[bytes]:
    """Responses until each of the wanted ones (by how they begin) was there."""
    found, missing = [], list(wanted)
    async with asyncio.timeout(10):
        while missing:
            found.append(await client.response())
            missing = [each for each in missing if not found[-1].startswith(each)]
    return found


async def test_notify_tells_of_other_mailboxes(suite):
    watcher, worker = await suite.login(), await suite.login()
    await worker.ok("CREATE Work")
    status = await watcher.ok("NOTIFY SET STATUS (personal (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange))")
    assert b"* STATUS Work (MESSAGES 0 UIDNEXT 1 UIDVALIDITY" in b"\n".join(status)
    await worker.append("Work", LETTER % 1)
    await heard(watcher, b"* STATUS Work (MESSAGES 1 UIDNEXT 2")
    await worker.ok("CREATE Play")
    await heard(watcher, b"* LIST (\\HasNoChildren) \"/\" Play")
    await worker.ok("RENAME Play Rest")
    lines = await heard(watcher, b"* LIST (\\HasNoChildren")
    assert lines[-1].endswith(b'"/" Rest ("OLDNAME" (Play))')
    await worker.ok("DELETE Rest")
    await heard(watcher, b"* LIST (\\NonExistent")
    await watcher.ok("NOTIFY NONE")
    await worker.append("Work", LETTER % 2)
    assert await watcher.ok("NOOP") == []


async def test_notify_tells_of_the_selected_mailbox_at_once(suite):
    watcher, worker = await suite.login(), await suite.login()
    await watcher.ok("SELECT INBOX")
    await watcher.ok("NOTIFY SET (selected (MessageNew (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)]) MessageExpunge FlagChange))")
    await worker.append("INBOX", LETTER % 1)
    lines = await heard(watcher, b"* 1 EXISTS", b"* 1 FETCH (UID 1 BODY")
    assert b"Subject: number 1" in lines[-1]
    await worker.ok("SELECT INBOX")
    await worker.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    await heard(watcher, b"* 1 FETCH (FLAGS (\\")
    await worker.ok("EXPUNGE")
    await heard(watcher, b"* 1 EXPUNGE")


async def test_selected_delayed_waits_with_expunges(suite):
    watcher, worker = await suite.login(), await suite.login()
    await worker.append("INBOX", LETTER % 1)
    await watcher.ok("SELECT INBOX")
    await watcher.ok("NOTIFY SET (selected-delayed (MessageNew MessageExpunge FlagChange))")
    await worker.ok("SELECT INBOX")
    await worker.ok("STORE 1 +FLAGS (\\Deleted)")
    await worker.ok("EXPUNGE")
    await worker.append("INBOX", LETTER % 2)
    lines = await heard(watcher, b"* 2 EXISTS")
    assert not any(b"EXPUNGE" in line for line in lines)
    assert b"* 1 EXPUNGE" in await watcher.ok("NOOP")


async def test_a_search_of_several_mailboxes(suite):
    client = await suite.login()
    await client.ok("CREATE Work")
    await client.ok("CREATE Empty")
    for mailbox, number in (("INBOX", 1), ("Work", 1), ("Work", 2)):
        await client.append(mailbox, LETTER % number)
    lines = await client.ok('ESEARCH IN (personal) RETURN (COUNT ALL) SUBJECT "number"')
    assert sorted(line.split(b"MAILBOX ")[1].split()[0] for line in lines) == [b"INBOX", b"Work"]
    assert any(line.endswith(b"UID ALL 1:2 COUNT 2") for line in lines) and all(b'(TAG "t' in line and b"UIDVALIDITY" in line for line in lines)
    assert (await client.ask("ESEARCH ALL"))[-1].startswith((b"NO", b"BAD"))
    await client.ok("SELECT Work")
    selected, = await client.ok('ESEARCH RETURN (COUNT) SUBJECT "number 2"')
    assert b"MAILBOX Work" in selected and selected.endswith(b"UID COUNT 1")


async def test_a_search_that_goes_on(suite):
    client, worker = await suite.login(), await suite.login()
    for number in (1, 2, 3):
        await worker.append("INBOX", LETTER % number)
    await client.ok("SELECT INBOX")
    await worker.ok("SELECT INBOX")
    found = await client.ok("UID SEARCH RETURN (ALL UPDATE) UNSEEN")
    tag = found[0].split(b'"')[1]
    assert found == [b'* ESEARCH (TAG "%b") UID ALL 1:3' % tag]
    await worker.ok("STORE 2 +FLAGS (\\Seen)")
    await worker.append("INBOX", LETTER % 4)
    client.start("NOOP")
    await heard(client, b'* ESEARCH (TAG "%b") UID REMOVEFROM (0 2)' % tag, b'* ESEARCH (TAG "%b") UID ADDTO (0 4)' % tag)
    await worker.ok("STORE 1 +FLAGS (\\Deleted)")
    await worker.ok("EXPUNGE")
    lines = await client.ok("NOOP")
    assert lines.index(b'* ESEARCH (TAG "%b") UID REMOVEFROM (0 1)' % tag) < lines.index(b"* 1 EXPUNGE")
    await client.ok(f'CANCELUPDATE "{tag.decode()}"')
    await worker.ok("STORE 1:* -FLAGS (\\Seen)")
    assert not any(b"ESEARCH" in line for line in await client.ok("NOOP"))


async def test_who_may_look_a_mailbox_up_may_not_look_into_it(suite):
    alice, bob = await suite.login(), await suite.login("bob@example.test")
    await alice.ok("CREATE Shared")
    await alice.append("Shared", LETTER % 1)
    await alice.ok("SETACL Shared bob@example.test l")
    command = 'ESEARCH IN (subtree "Other Users") RETURN (COUNT) SUBJECT number'
    assert await bob.ok(command) == []
    assert await bob.ok('NOTIFY SET STATUS (subtree "Other Users" (MessageNew MessageExpunge))') == []
    await alice.ok("SETACL Shared bob@example.test lr")
    found, = [line for line in await bob.ok(command) if line.startswith(b"* ESEARCH")]        # NOTIFY tells of it, too
    assert b"Other Users/alice@example.test/Shared" in found and found.endswith(b"COUNT 1")
