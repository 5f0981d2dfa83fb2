"""A session whose connection is gone leaves nothing behind, at whatever point it was, and without the collector's help."""

from __future__ import annotations

import gc
import weakref

import pytest

from fancymail.protocol.smtp import reply
from fancymail.protocol.smtp.options import Options
from fancymail.protocol.smtp.server import SmtpServer

BEGINNINGS = [b"", b"EHLO x.test\r\n", b"EHLO x.test\r\nMAIL FROM:<s@x.test>\r\n",
              b"EHLO x.test\r\nMAIL FROM:<s@x.test>\r\nRCPT TO:<a@us.test>\r\nDATA\r\n", b"x" * 65536]


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("said", BEGINNINGS)
def test_nothing_keeps_it_alive(said, answered):
    gc.disable()
    try:
        engine = SmtpServer(Options(host="us.test"))
        engine.greet()
        engine.receive(said)
        waits = False
        while engine.next_event() is not None:
            waits = True
            if not answered:
                break
            engine.accept()
            waits = False
        engine.receive(b"Subject: half a message\r\n" * 1000)
        engine.release()
        assert len(engine.inbox) == 0 and engine.next_event() is None
        if waits:
            engine.reply(reply.OK)                      # the answer to what was asked comes late
        trace = weakref.ref(engine)
        del engine
        assert trace() is None
    finally:
        gc.enable()
