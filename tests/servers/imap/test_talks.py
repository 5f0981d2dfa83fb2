"""Every talk of several sessions, against the whole suite: with the shards at hand, and with fm-mailbox asked for every reading.

Nothing is offered without one: each command and each word of CAPABILITY has a talk in which another session is there.
"""

from __future__ import annotations

import re

import pytest

from fancymail.protocol.imap.grammar import APPENDING, RULES
from fancymail.protocol.imap.options import EXTENSIONS, Options, capabilities
from fancymail.servers.asking.reader import VerbReader
from fancymail.servers.imap import daemon
from tests.servers.imap.talks import Player, talks

# What a client says that uses a capability; what no talk can play has the test that does.
USES = {
    "IMAP4rev1": r"SELECT", "IMAP4rev2": r"ENABLE IMAP4rev2", "LITERAL+": r".*\{\d+\+\}", "ID": r"ID ", "ENABLE": r"ENABLE ", "IDLE": r"IDLE",
    "UNSELECT": r"UNSELECT", "NAMESPACE": r"NAMESPACE", "CHILDREN": r"LIST .*CHILDREN", "UIDPLUS": r"UID EXPUNGE", "MOVE": r"MOVE",
    "CONDSTORE": r".*(UNCHANGEDSINCE|CONDSTORE)", "QRESYNC": r"ENABLE QRESYNC", "ESEARCH": r"SEARCH RETURN", "SEARCHRES": r"SEARCH RETURN \(SAVE",
    "SORT": r"SORT \(", "SORT=DISPLAY": r"SORT .*DISPLAY", "THREAD=REFERENCES": r"THREAD REFERENCES",
    "THREAD=ORDEREDSUBJECT": r"UID THREAD ORDEREDSUBJECT", "LIST-EXTENDED": r"LIST \(SUBSCRIBED RECURSIVEMATCH",
    "LIST-STATUS": r"LIST .*RETURN .*STATUS", "SPECIAL-USE": r"LIST \(SPECIAL-USE", "CREATE-SPECIAL-USE": r"CREATE .*\(USE",
    "STATUS=SIZE": r"STATUS .*SIZE", "BINARY": r"FETCH .*BINARY", "MULTIAPPEND": r"APPEND .*\{\d+\+\}.*\{\d+\+\}", "QUOTA": r"GETQUOTAROOT",
    "QUOTA=RES-STORAGE": r"STATUS .*DELETED-STORAGE", "UTF8=ACCEPT": r"ENABLE UTF8=ACCEPT", "OBJECTID": r"SEARCH THREADID",
    "SAVEDATE": r"SEARCH SAVED", "WITHIN": r"SEARCH .*OLDER", "PREVIEW": r"FETCH .*PREVIEW", "REPLACE": r"REPLACE",
    "METADATA": r"SETMETADATA INBOX", "METADATA-SERVER": r'SETMETADATA ""', "ESORT": r"SORT RETURN", "CONTEXT=SEARCH": r"SEARCH RETURN \(UPDATE",
    "CONTEXT=SORT": r"SORT RETURN \(UPDATE", "PARTIAL": r"(UID )?FETCH .*PARTIAL", "NOTIFY": r"NOTIFY SET", "ACL": r"SETACL",
    "RIGHTS=texk": r"MYRIGHTS",
    "LIST-MYRIGHTS": r"LIST .*RETURN .*MYRIGHTS", "LIST-METADATA": r"LIST .*RETURN .*METADATA", "CATENATE": r"APPEND .*CATENATE",
    "MULTISEARCH": r"ESEARCH IN", "SEARCH=FUZZY": r"SEARCH .*FUZZY", "UIDONLY": r"ENABLE UIDONLY", "APPENDLIMIT": r"STATUS .*APPENDLIMIT",
    "MESSAGELIMIT": r"SEARCH UIDAFTER"}
ELSEWHERE = {"SASL-IR": "test_imap.py: test_scram", "COMPRESS=DEFLATE": "test_imap.py: test_compress",
             "INPROGRESS": "test_imap.py: test_a_change_that_takes_long_tells_of_itself"}
COMMANDS = {*RULES, *APPENDING} - {"LOGIN", "COMPRESS"}       # every talk logs in; what is deflated no talk can read
WATCHED = [talk for talk in talks() if len(re.findall(r"^login ", talk.read_text(), re.M)) > 1]


@pytest.mark.parametrize("talk", talks(), ids=lambda path: path.stem)
async def test_talk(suite, talk):
    await Player(suite).play(talk)


@pytest.mark.parametrize("talk", talks(), ids=lambda path: path.stem)
async def test_talk_by_verbs(suite, talk, monkeypatch):
    monkeypatch.setattr(daemon, "open_reader", lambda imap, **more: VerbReader(lambda: imap.peer("mailbox")))
    await suite.restart()
    await Player(suite).play(talk)


def said_in_company() -> list[str]:
    """All that sessions say in talks in which another one is there."""
    return [line for talk in WATCHED for line in re.findall(r"^\w+> (.*)", talk.read_text(), re.M)]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_a_talk_with_a_second_session(command):
    assert [line for line in said_in_company() if line == command or line.startswith(command + " ")]


def test_everything_that_is_offered_has_a_talk_with_a_second_session():
    offered = {word.partition("=")[0] if "LIMIT=" in word else word
               for word in capabilities(Options(message_limit=3), True, True, True).decode().split()}
    assert offered == {*USES, *ELSEWHERE} and {*EXTENSIONS} < offered
    lines = said_in_company()
    assert [word for word, shape in USES.items() if not any(re.match(f"(UID )?{shape}", line) for line in lines)] == []
