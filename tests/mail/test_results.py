"""Results of recipients travel as JSON and refuse nonsense."""

import pytest

from fancymail.mail.results import RecipientResult, dump, dump_parts, load


def test_results_survive_the_journey():
    results = [RecipientResult(0, "delivered", "2.0.0", "250 ok", "mx.x.test"),
               RecipientResult(3, "deferred", "4.4.1", "no answer")]
    assert load(dump(results)) == results


def test_what_needs_quotes_has_them():
    results = [RecipientResult(1, "failed", "5.7.1", 'he said "no\\way"', "mx[\"].test")]
    assert load(dump(results)) == load(dump(results).encode()) == results


def test_text_is_made_safe():
    assert RecipientResult(0, "failed", "5.1.1", "no\r\n250 ok\x00").text == "no 250 ok?"
    assert len(RecipientResult(0, "failed", "5.1.1", "x" * 5000).text) == 1000


@pytest.mark.parametrize("text", [
    "", "{", "{}", "null", "1", '["x"]', "[{}]", '[{"recipient": 0}]',
    '[{"recipient": "0", "state": "failed", "status": "5.0.0"}]',
    '[{"recipient": -1, "state": "delivered"}]', '[{"recipient": true, "state": "delivered"}]',
    '[{"recipient": 0, "state": "lost"}]',
    '[{"recipient": 0, "state": "failed", "status": "2.0.0"}]',
    '[{"recipient": 0, "state": "delivered", "status": "5.1.1"}]',
    '[{"recipient": 0, "state": "delivered", "x": 1}]', '[{"recipient": 0, "state": 1}]', "[" * 100_000,
    '[{"recipient": 0, "state": "delivered", "text": 1}]', '[{"recipient": 1.5, "state": "delivered"}]',
    '[{"recipient": 99999999, "state": "delivered"}]', b"\xff\xfe",
])
def test_nonsense_is_refused(text):
    with pytest.raises(ValueError) as caught:
        load(text)
    assert str(caught.value).isprintable()


def test_parts_fit_and_lose_nothing():
    results = [RecipientResult(number, "failed", "5.1.1", "no " * (number % 300)) for number in range(500)]
    parts = dump_parts(results, 2000)
    assert [result for part in parts for result in load(part)] == results and max(map(len, parts)) <= 2000 and len(parts) > 10
    assert dump_parts([]) == [] and dump_parts(results[:3]) == [dump(results[:3])]
    assert len(dump_parts(results[298:300], 100)) == 2          # one result is never cut
