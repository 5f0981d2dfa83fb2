"""The header section: its end, its fields, its limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail.headers import HeaderError, find_end, iterate, scan, scan_start, unfold

PLAIN = b"From: a@x.test\r\nSubject: one\r\n two\r\nfrom: b@x.test\r\nX-Space : yes\r\n\r\nbody\r\n\r\nmore"


def test_values_by_name():
    headers = scan(PLAIN)
    assert headers.first("FROM") == b"a@x.test"
    assert headers.all("from") == [b"a@x.test", b"b@x.test"]
    assert headers.count("From") == 2 and "subject" in headers and "to" not in headers
    assert headers.first("subject") == b"one two"
    assert headers.first("x-space") == b"yes"
    assert headers.first("to") is None and headers.text("to") == ""
    assert PLAIN[headers.body:] == b"body\r\n\r\nmore"
    assert PLAIN[:headers.end].endswith(b"yes\r\n")
    assert b"".join(map(headers.raw, headers)) == PLAIN[:headers.end]


@pytest.mark.parametrize("data, end, body", [
    (b"", 0, 0), (b"\r\n", 0, 2), (b"\n", 0, 1), (b"A: b", 4, 4), (b"A: b\r\n", 6, 6), (b"A: b\r\n\r\n", 6, 8),
    (b"A: b\n\nx", 5, 6), (b"A: b\n\r\nx\n\n", 5, 7), (b"A: b\r\n\nx\r\n\r\n", 6, 7), (b"\r\nA: b", 0, 2), (b"A: b\r\n \r\n\r\n", 9, 11),
])
def test_find_end(data, end, body):
    assert find_end(data) == (end, body)
    assert find_end(b"zz" + data + b"\r\n\r\n", 2, 2 + len(data)) == (end + 2, body + 2)


@pytest.mark.parametrize("data, names", [
    (b"no colon\r\nA: 1\r\n", [b"", b"a"]), (b" leading\r\nA: 1\r\n", [b"", b"a"]), (b"A b: 1\r\n", [b""]), (b": x\r\n", [b""]),
    (b"A:\r\n\r\n", [b"a"]), (b"A: 1\r\n\t2\r\nB: 3\n", [b"a", b"b"]), (b"\xff\xfe: 1\r\n", [b"\xff\xfe"]), (b"A\x00: 1\r\n", [b""]),
    (b"A:b:c\r\n", [b"a"]), (b"A", [b""]), (b"From someone Mon\r\nA: 1\r\n", [b"", b"a"]),
])
def test_odd_lines_keep_their_octets(data, names):
    headers = scan(data)
    assert [field.name for field in headers] == names
    assert b"".join(map(headers.raw, headers)) == data[:headers.end]


def test_limits():
    with pytest.raises(HeaderError) as caught:
        scan(b"A: 1\r\n" * 1_001 + b"\r\n")
    assert caught.value.status == "5.6.0" and "1000 fields" in caught.value.reason
    assert len(scan(b"A: 1\r\n" * 1_000 + b"\r\n")) == 1_000
    with pytest.raises(HeaderError) as caught:
        scan(b"A: " + b"x" * 300_000 + b"\r\n\r\n")
    assert caught.value.status == "5.3.4"
    line = b"A: " + b"x" * 100 + b"\r\n"
    assert scan(line + b"\r\n" + b"b" * 1000, size=len(line)).body == len(line) + 2
    with pytest.raises(HeaderError):
        scan(line + b"\r\n" + b"b" * 1000, size=len(line) - 1)


def test_stored_mail_is_read_to_the_limits():
    headers = scan_start(b"A: 1\r\n" * 5_000 + b"\r\nbody")
    assert len(headers) == 1_000 and headers.body == 30_002
    assert len(scan_start(b"A: " + b"x" * 400_000 + b"\r\nB: 1\r\n\r\n")) == 1


def test_hostile_headers_take_linear_work(steps):
    for piece in (b"A\r\n", b"A:\r\n", b"\r", b":", b" ", b" \r\n", b"\n ", b"A: 1\r\n\t\r\n"):
        assert steps(lambda: list(iterate(piece * 1_000, 0, len(piece) * 1_000, 10_000))) <= 20_000
        scan_start(piece * 1_000_000)


def test_the_samples_are_read_back_whole(samples):
    for name, data in samples:
        headers = scan(data)
        assert b"".join(map(headers.raw, headers)) == data[headers.start:headers.end], name
        assert all(b"\n" not in headers.value(field).replace(b"\r\n", b"\n") or field.name == b"" for field in headers), name


@given(st.one_of(st.binary(max_size=200), st.text("A: \r\n\t\x00é", max_size=80).map(str.encode)))
def test_any_octets_have_a_header(data):
    headers = scan(data)
    assert 0 == headers.start <= headers.end <= headers.body <= len(data)
    assert b"".join(map(headers.raw, headers)) == data[:headers.end]
    for field in headers:
        assert headers.value(field) in headers.all(field.name.decode("utf-8", "surrogateescape")) or not field.name.isascii()


def test_unfold():
    assert unfold(b" a\r\n b\n\tc \r\n") == b"a b\tc"
