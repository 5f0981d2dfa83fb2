"""FUZZY searches and their scores over the wire (RFC 6203)."""

from __future__ import annotations


async def test_scores_are_told_and_sorted_by(suite):
    client = await suite.login()
    for subject, text in (("other", "blue moon"), ("moon blue", "moon in blue"), ("blue moon", "nothing")):
        await client.append("INBOX", f"Subject: {subject}\r\n\r\n{text}\r\n".encode())
    await client.ok("SELECT INBOX")
    found, = await client.ok('UID SEARCH RETURN (ALL RELEVANCY) FUZZY TEXT "blue moon"')
    assert found.endswith(b"UID ALL 1:3 RELEVANCY (75 50 100)")
    assert await client.ok('UID SORT (RELEVANCY) UTF-8 FUZZY TEXT "blue moon"') == [b"* SORT 3 1 2"]
    found, = await client.ok('UID SORT RETURN (ALL RELEVANCY) (RELEVANCY) UTF-8 FUZZY TEXT "blue moon"')
    assert found.endswith(b"UID ALL 3,1:2 RELEVANCY (100 75 50)")
