"""What a log says of messages that nobody saw arrive."""

from tests.faults.evidence import evidence

LOCAL = ("alice@example.test", "bob@example.test")
LOG = """\
2026-11-26T14:49:53.739Z smtpin info accepted id=aaaa sender=x@sender.test to=bob@example.test,far@example.test,alice@example.test size=719
2026-11-26T14:49:53.748Z smtpin info accepted id=bbbb sender=x@sender.test to=far@example.test size=3219
2026-11-26T14:49:53.749Z smtpin info accepted id=cccc sender=x@sender.test to=alice@example.test size=20
2026-11-26T14:49:53.750Z queue info adopted slot=aaaa queue=incoming
2026-11-26T14:49:53.842Z mailbox info delivered id=aaaa sender=x@sender.test to=bob@example.test mailbox=INBOX uid=1 size=719
2026-11-26T14:49:53.843Z mailbox info already delivered id=cccc to=alice@example.test mailbox=INBOX uid=2
"""


def test_all_that_is_said_of_a_message_that_is_missed_by_somebody(tmp_path):
    log = tmp_path / "fancymail.log"
    log.write_text(LOG)
    assert [line.split()[1:4] for line in evidence(log, LOCAL)] == [
        ["smtpin", "info", "accepted"], ["queue", "info", "adopted"], ["mailbox", "info", "delivered"]]
    log.write_text(LOG + "2026-11-26T14:49:54.000Z mailbox info already delivered id=aaaa to=alice@example.test mailbox=INBOX uid=3\n")
    assert evidence(log, LOCAL) == []


def test_where_there_is_no_log(tmp_path):
    assert evidence(tmp_path / "nothing", LOCAL) == []
