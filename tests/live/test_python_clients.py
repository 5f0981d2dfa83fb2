"""smtplib and poplib against the whole suite: the skeleton walks, then gets flesh."""

from __future__ import annotations

import poplib
import smtplib

import pytest

from tests.live.suite import message
from tests.suite_kit import wait_for


def test_from_smtp_to_pop3(suite):
    with suite.smtp() as client:
        assert client.send_message(message("first")) == {}
    suite.until_delivered(1)
    found = suite.collect()
    assert any(b"Subject: first" in content for content in found)
    content = next(content for content in found if b"Subject: first" in content)
    assert content.startswith(b"Return-Path: <x@sender.test>\r\n")
    assert b"Received: from" in content


def test_submission_delivers_to_a_neighbour_and_is_stamped(suite):
    with suite.submission() as client:
        client.sendmail("alice@example.test", ["bob@example.test"], b"Subject: bare\r\n\r\nno id, no date\r\n")
    suite.until_delivered(1, "bob@example.test")
    content = suite.collect("bob@example.test")[-1]
    assert b"\r\nMessage-ID: <" in content and b"\r\nDate: " in content


def test_several_recipients_each_get_one_copy(suite):
    before = {user: suite.listed(user) for user in suite.accounts}
    with suite.smtp() as client:
        client.sendmail("x@sender.test", [*suite.accounts, "alice@example.test"], b"Subject: to all\r\n\r\nhello\r\n")
    for user, count in before.items():
        suite.until_delivered(count + 1, user)
    assert [suite.listed(user) for user in before] == [count + 1 for count in before.values()]


@pytest.mark.parametrize("body", [b".\r\n..\r\n.x\r\n", b"x" * 900 + b"\r\n", "grüße\r\n".encode(), b"", b"a\r\n\r\n\r\n", b"line\r\n" * 200_000],
                         ids=["dots", "long line", "8 bit", "empty", "blank lines", "1.2 MB"])
def test_the_body_arrives_whole(suite, body):
    suite.collect("postmaster@example.test", remove=True)
    with suite.smtp() as client:
        client.sendmail("x@sender.test", ["postmaster@example.test"], b"Subject: whole\r\n\r\n" + body, mail_options=["BODY=8BITMIME"])
    suite.until_delivered(1, "postmaster@example.test")
    content = suite.collect("postmaster@example.test", remove=True)[0]
    assert content.partition(b"\r\n\r\n")[2] == body


def test_an_unknown_recipient_is_refused_in_the_session(suite):
    with suite.smtp() as client, pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        client.sendmail("x@sender.test", ["nobody@example.test"], b"Subject: x\r\n\r\n")
    assert caught.value.recipients["nobody@example.test"][0] == 550


def test_no_relay(suite):
    with suite.smtp() as client, pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        client.sendmail("alice@example.test", ["someone@elsewhere.test"], b"Subject: x\r\n\r\n")
    assert 550 <= caught.value.recipients["someone@elsewhere.test"][0] < 560


def test_a_sender_may_use_only_addresses_of_his_own(suite):
    with suite.submission() as client, pytest.raises(smtplib.SMTPResponseException):
        client.sendmail("bob@example.test", ["alice@example.test"], b"Subject: x\r\n\r\n")


def test_a_wrong_password_is_refused(suite):
    client = smtplib.SMTP("localhost", suite.ports["submission"])
    client.starttls(context=suite.client_tls())
    with pytest.raises(smtplib.SMTPAuthenticationError):
        client.login("alice@example.test", "wrong")
    client.close()
    pop = poplib.POP3_SSL("localhost", suite.ports["pop3s"], context=suite.client_tls())
    pop.user("alice@example.test")
    with pytest.raises(poplib.error_proto, match=r"\[AUTH\]"):
        pop.pass_("wrong")
    pop.close()


def test_submissions_is_tls_from_the_first_octet(suite):
    with smtplib.SMTP_SSL("localhost", suite.ports["submissions"], context=suite.client_tls()) as client:
        client.login("alice@example.test", suite.accounts["alice@example.test"])
        assert client.noop()[0] == 250


def test_lmtp_answers_for_each_recipient(suite):
    before = suite.listed("alice@example.test")
    client = smtplib.LMTP("localhost", suite.ports["lmtp"])
    refused = client.sendmail("x@sender.test", ["alice@example.test", "nobody@example.test"], b"Subject: lmtp\r\n\r\nx\r\n")
    assert list(refused) == ["nobody@example.test"]
    client.quit()
    suite.until_delivered(before + 1)


def test_pop3_deletes_at_quit_only(suite):
    user = "bob@example.test"
    count = suite.listed(user) + 1
    with suite.smtp() as client:
        client.sendmail("x@sender.test", [user], b"Subject: keep\r\n\r\n")
    suite.until_delivered(count, user)
    pop = suite.pop3(user)
    pop.dele(1)
    pop.close()                       # the connection breaks: nothing is deleted
    wait_for(lambda: _can_login(suite, user), "the maildrop is free")
    assert suite.listed(user) == count
    pop = suite.pop3(user)
    pop.dele(1)
    pop.quit()
    assert suite.listed(user) == count - 1


def _can_login(suite, user) -> bool:
    try:
        suite.pop3(user).quit()
    except poplib.error_proto:        # [IN-USE] until the server noticed that the first session is gone
        return False
    return True


def test_uidl_is_stable_and_unique(suite):
    first, second = suite.pop3("alice@example.test"), None
    listed = first.uidl()[1]
    first.quit()
    second = suite.pop3("alice@example.test")
    assert second.uidl()[1] == listed
    assert len({line.split()[1] for line in listed}) == len(listed)
    second.quit()
