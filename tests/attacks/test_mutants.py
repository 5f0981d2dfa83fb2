"""The attacks can fail: each protection is taken away, its attack is tried again, and the test has to notice.

A mutant is one name replaced by something weaker; the attack is a test of this folder, run as it is.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from fancymail.base import log
from fancymail.core import queue
from fancymail.ipc import security
from fancymail.ipc.message import IpcError
from fancymail.protocol.smtp import content
from fancymail.servers import queue as queue_server
from fancymail.servers.smtpin import SmtpInServer
from tests.attacks import test_evil, test_relay, test_smtp, test_traces

house = test_evil.house


class Mutant(NamedTuple):
    """What is weakened (an object, a name, its substitute), and the attack with its arguments."""

    owner: object
    name: str
    substitute: object
    attack: object
    arguments: tuple = ()


def _every_operator(self, version, request, domain, address, identity, mechanism, *more):
    return self.allowed.get(more[0], "queue") if more else "operator"


MUTANTS = {
    "bare newlines are content": Mutant(content, "bare_newline", lambda block: False, test_smtp.test_false_ends_in_chunks, ("\n.\n",)),
    "everybody may relay": Mutant(SmtpInServer, "may_relay", lambda self, peer: True, test_relay.test_no_recipient_is_relayed, ("<v@x.test>",)),
    "a greeting's name is trusted": Mutant(SmtpInServer, "may_relay", lambda self, peer: True, test_relay.test_names_grant_nothing,
                                           ("EHLO", "us.test")),
    "the log writes what it is given": Mutant(log, "_printable", lambda text: text, test_traces.test_smtp_words_in_the_log,
                                              ('" level=error',)),
}
HOUSED = {
    "consumers have every queue": Mutant(queue_server.QueueServer, "_require", staticmethod(lambda caller, own: None),
                                         test_evil.test_a_role_has_its_queues_and_no_other, ("smtpout", "incoming")),
    "a name counts in every queue": Mutant(queue.QueueManager, "_require_in", staticmethod(lambda queue, id, found: None),
                                           test_evil.test_a_role_has_its_queues_and_no_other, ("mailbox", "incoming")),
    "keys of strangers are welcome": Mutant(security.Gatekeeper, "_role", _every_operator, test_evil.test_a_key_of_nobody_is_refused_by_all),
}


@pytest.mark.parametrize("what", MUTANTS)
async def test_a_missing_protection_is_noticed(tmp_path, monkeypatch, what):
    mutant = MUTANTS[what]
    monkeypatch.setattr(mutant.owner, mutant.name, mutant.substitute)
    with pytest.raises((AssertionError, TimeoutError)):
        await mutant.attack(tmp_path, *mutant.arguments)


@pytest.mark.parametrize("what", HOUSED)
async def test_a_missing_protection_among_daemons_is_noticed(house, monkeypatch, what):
    mutant = HOUSED[what]
    monkeypatch.setattr(mutant.owner, mutant.name, mutant.substitute)
    with pytest.raises((AssertionError, TimeoutError, IpcError)):
        await mutant.attack(house, *mutant.arguments)
