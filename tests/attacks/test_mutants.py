"""The attacks can fail: each protection is taken away, its attack is tried again, and the test has to notice.

A mutant is one name replaced by something weaker; the attack is a test of this folder, run as it is. At least one per class of the catalogue.
"""

from __future__ import annotations

import inspect
import poplib
from contextlib import AsyncExitStack
from typing import NamedTuple

import pytest

from fancymail.base import log
from fancymail.core import heading, mx, queue
from fancymail.core.accounts import Directory
from fancymail.core.budget import Budget
from fancymail.ipc import security
from fancymail.ipc.message import IpcError
from fancymail.mail.imap import strings
from fancymail.protocol.engine import Engine
from fancymail.protocol.pop3.content import Stuffing
from fancymail.protocol.smtp import content
from fancymail.protocol.smtp.content import ContentRules
from fancymail.protocol.smtp.security import SecureServer
from fancymail.servers.auth.daemon import AuthServer
from fancymail.servers.doors.listener import Caps
from fancymail.servers.imap import places
from fancymail.servers.queue import daemon as queue_server
from fancymail.servers.smtpin import SmtpInServer
from fancymail.servers.smtpout import resolver
from tests.attacks import test_auth, test_dns, test_evil, test_imap, test_loops, test_pop3, test_relay, test_smtp, test_traces
from tests.attacks.catalogue import CATALOGUE
from tests.servers.imap import kit as imap_kit
from tests.servers.pop3 import kit as pop3_kit

house = test_evil.house
NOTICED = (AssertionError, TimeoutError, IpcError, poplib.error_proto, pytest.fail.Exception)


class Mutant(NamedTuple):
    """The class, what is weakened (an object, a name, its substitute), and the attack with its arguments."""

    letter: str
    owner: object
    name: str
    substitute: object
    attack: object
    arguments: tuple = ()


def _every_operator(self, version, request, domain, address, identity, mechanism, *more):
    return self.allowed.get(more[0], "queue") if more else "operator"


async def _open_to_all(session, name):
    owner, inner = places.split(session.account, name)
    mailbox = await session.reader.mailbox(owner, inner) if owner and inner else None
    return places.Place(owner, mailbox, places.ALL) if mailbox else None


def _endless(block, hostname, hops, *more, real=heading.transfer_heading):
    return real(block, hostname, 1_000_000, *more)


MUTANTS = {
    "bare newlines are content": Mutant("A", content, "bare_newline", lambda block: False, test_smtp.test_false_ends_in_chunks, ("\n.\n",)),
    "TLS changes nothing of what was said before": Mutant("B", SecureServer, "tls_started", Engine.tls_started,
                                                          test_smtp.test_nothing_of_before_tls_counts),
    "headers have no limit": Mutant("C", ContentRules, "_count_header", lambda self, lines: None, test_smtp.test_huge_headers,
                                    ("X: y\r\n" * 20_000,)),
    "names are read kindly": Mutant("D", Directory, "find", lambda self, user: self._store.account(self.key(user.strip())),
                                    test_auth.test_odd_names_are_nobody, ("alice ",)),
    "everybody may relay": Mutant("E", SmtpInServer, "may_relay", lambda self, peer: True, test_relay.test_no_recipient_is_relayed, ("<v@x.test>",)),
    "a greeting's name is trusted": Mutant("E", SmtpInServer, "may_relay", lambda self, peer: True, test_relay.test_names_grant_nothing,
                                           ("EHLO", "us.test")),
    "nobody waits": Mutant("F", Budget, "wait", lambda self, *which: 0.0, test_auth.test_over_the_budget_nothing_is_hashed),
    "a restart forgives": Mutant("F", AuthServer, "_recall_counts", lambda self: None, test_auth.test_who_makes_it_crash_gets_no_new_budget),
    "failures are not written down": Mutant("F", Budget, "kept", lambda self, *which: [], test_auth.test_who_makes_it_crash_gets_no_new_budget),
    "an address may have all connections": Mutant("G", Caps, "take", lambda self, key, own: True, test_smtp.test_too_many_of_one_address),
    "messages go round for ever": Mutant("K", heading, "transfer_heading", _endless, test_loops.test_too_many_hops, (51, "554 5.4.6")),
    "any address is a host": Mutant("M", mx, "public", lambda address: True, test_dns.test_mx_that_leads_inside, ("10.1.2.3",)),
    "any datagram is the answer": Mutant("M", resolver, "answers", lambda question, data: True,
                                         test_dns.test_a_forged_answer_before_the_true_one_is_ignored, (test_dns.wrong_name,)),
    "the log writes what it is given": Mutant("P", log, "_printable", lambda text: text, test_traces.test_smtp_words_in_the_log,
                                              ('" level=error',)),
}
HOUSED = {
    "consumers have every queue": Mutant("O", queue_server.QueueServer, "_require", staticmethod(lambda caller, own: None),
                                         test_evil.test_a_role_has_its_queues_and_no_other, ("smtpout", "incoming")),
    "a name counts in every queue": Mutant("O", queue.QueueManager, "_require_in", staticmethod(lambda queue, id, found: None),
                                           test_evil.test_a_role_has_its_queues_and_no_other, ("mailbox", "incoming")),
    "keys of strangers are welcome": Mutant("O", security.Gatekeeper, "_role", _every_operator, test_evil.test_a_key_of_nobody_is_refused_by_all),
}
READ = {
    "quotes are said as they are": Mutant("H", strings, "quoted", lambda octets: b'"' + octets + b'"',
                                          test_imap.test_nothing_said_by_others_breaks_a_response),
    "mailboxes are everybody's": Mutant("I", places, "look", _open_to_all, test_imap.test_nobody_reads_the_mail_of_others,
                                        ("Other Users/bob@example.test/INBOX",)),
    "dots are sent as they are": Mutant("J", Stuffing, "__call__", lambda self, chunk: chunk, test_pop3.test_no_message_ends_early,
                                        (b"x\r\n.\r\n+OK forged\r\n",)),
}


async def noticed(patch: pytest.MonkeyPatch, mutant: Mutant, /, **fixtures) -> BaseException:
    """Take the protection away, try the attack with those fixtures that it wants: it has to fail; how it did."""
    patch.setattr(mutant.owner, mutant.name, mutant.substitute)
    parameters = inspect.signature(mutant.attack).parameters
    own = dict(zip([name for name in parameters if name not in fixtures], mutant.arguments, strict=True))
    with pytest.raises(NOTICED) as caught:
        await mutant.attack(**own, **{name: fixtures[name] for name in parameters if name in fixtures})
    return caught.value


@pytest.mark.still                      # the attack fails, as it has to, before it comes to the end of its daemon
@pytest.mark.parametrize("what", MUTANTS)
async def test_a_missing_protection_is_noticed(tmp_path, monkeypatch, what):
    assert await noticed(monkeypatch, MUTANTS[what], tmp_path=tmp_path, monkeypatch=monkeypatch)


@pytest.mark.parametrize("what", HOUSED)
async def test_a_missing_protection_among_daemons_is_noticed(house, tmp_path, monkeypatch, what):
    assert await noticed(monkeypatch, HOUSED[what], house=house, tmp_path=tmp_path)


@pytest.mark.parametrize("what", READ)
async def test_a_missing_protection_of_mailboxes_is_noticed(tmp_path, monkeypatch, what):
    async with AsyncExitStack() as stack:
        if READ[what].letter == "J":
            suite = await stack.enter_async_context(pop3_kit.started(tmp_path))
        else:
            suite = await imap_kit.start(tmp_path, stack)
            stack.push_async_callback(imap_kit.stop, suite)
            await suite.deliver(test_imap.BEFORE, "bob@example.test")
        assert await noticed(monkeypatch, READ[what], suite=suite, monkeypatch=monkeypatch)


@pytest.mark.still
def test_every_class_has_a_mutant():
    letters = {mutant.letter for mutant in (*MUTANTS.values(), *HOUSED.values(), *READ.values())}
    assert letters == {letter for letter, entry in CATALOGUE.items() if entry.tests and letter != "-"}
