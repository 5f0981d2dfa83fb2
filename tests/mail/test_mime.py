"""The structure scanner: one tree for any octets, in linear work, at any depth."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fancymail.mail.mime import scan


def crlf(text):
    return text.replace("\n", "\r\n").encode()


def tree(data, **limits):
    """The tree as (path, type, body) in order."""
    return [(".".join(map(str, part.path)), part.content_type, data[part.body:part.end]) for part in scan(data, **limits)]


MIXED = crlf('''Subject: x
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="outer"

preamble
--outer

first
--outer
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/plain; charset=utf-8

plain

--inner
Content-Type: text/html
Content-Transfer-Encoding: Base64
Content-ID: <x@y>

PGI+
--inner--
epilogue of inner
--outer
Content-Type: message/rfc822

Subject: in it
Content-Type: multipart/mixed; boundary=deep

--deep

deepest
--deep--
--outer
Content-Type: message/rfc822

Subject: plain one

text
--outer
Content-Disposition: attachment; filename*=utf-8''caf%C3%A9.txt

last
--outer--
epilogue
''')


def test_a_message_with_everything():
    assert [row[:2] for row in tree(MIXED)] == [
        ("", "multipart/mixed"), ("1", "text/plain"), ("2", "multipart/alternative"), ("2.1", "text/plain"), ("2.2", "text/html"),
        ("3", "message/rfc822"), ("3", "multipart/mixed"), ("3.1", "text/plain"), ("4", "message/rfc822"), ("4.1", "text/plain"),
        ("5", "text/plain")]
    bodies = {row[:2]: row[2] for row in tree(MIXED)}
    assert bodies["1", "text/plain"] == b"first"
    assert bodies["2.1", "text/plain"] == b"plain\r\n"
    assert bodies["3.1", "text/plain"] == b"deepest"
    assert bodies["4.1", "text/plain"] == b"text"
    assert bodies["4", "message/rfc822"] == b"Subject: plain one\r\n\r\ntext"
    structure = scan(MIXED)
    assert MIXED[structure.root.start:structure.root.header_end].endswith(b'"outer"\r\n')
    html, last = structure.find((2, 2)), structure.find((5,))
    assert (html.encoding, html.id, html.lines, b"".join(html.read(MIXED))) == ("base64", b"<x@y>", 0, b"<b>")
    assert (last.filename, last.disposition, last.text(MIXED)) == ("café.txt", "attachment", "last")
    assert structure.find((2, 1)).charset == "utf-8" and structure.find((2, 1)).lines == 1
    assert structure.find((3, 1)).text(MIXED) == "deepest" and structure.find((4, 1)).text(MIXED) == "text"
    assert structure.first_text() is structure.find((1,))
    assert [part.index for part in structure.children(structure.root)] == structure.root.children
    assert structure.root.lines == MIXED[structure.root.body:].count(b"\n")
    for path in ((6,), (0,), (1, 1), (3, 2), (4, 2), (2, 3), (2, 1, 1)):
        assert structure.find(path) is None


def test_lf_gives_the_same_tree():
    data = MIXED.replace(b"\r\n", b"\n")
    assert [row[:2] for row in tree(data)] == [row[:2] for row in tree(MIXED)]
    assert [row[2] for row in tree(data)] == [row[2].replace(b"\r\n", b"\n") for row in tree(MIXED)]


def test_a_message_inside_a_file_is_found_by_offsets():
    structure = scan(b"--outer\r\n" + MIXED + b"\r\n--outer\r\n", 9, 9 + len(MIXED))
    assert [(p.path, p.start - 9, p.body - 9, p.end - 9) for p in structure] == [(p.path, p.start, p.body, p.end) for p in scan(MIXED)]


ODD = [
    ("", [("1", "text/plain", b"")]),
    ("\n", [("1", "text/plain", b"")]),
    ("no header at all", [("1", "text/plain", b"")]),
    ("\nbody", [("1", "text/plain", b"body")]),
    ("Content-Type: nonsense\n\nx", [("1", "text/plain", b"x")]),
    ("Content-Type: TEXT/HTML; charset=x\n\nx", [("1", "text/html", b"x")]),
    ("Content-Type: multipart/mixed\n\n--x\n\ny\n--x--", [("1", "text/plain", b"--x\r\n\r\ny\r\n--x--")]),
    ('Content-Type: multipart/mixed; boundary=""\n\nx', [("1", "text/plain", b"x")]),
    ("Content-Type: multipart/mixed; boundary=" + "b" * 300 + "\n\nx", [("1", "text/plain", b"x")]),
    ("Content-Type: multipart/mixed; boundary=x\n\nnone", [("", "multipart/mixed", b"none")]),
    ("Content-Type: multipart/mixed; boundary=x\n\n--x--\n--x\n\ny", [("", "multipart/mixed", b"--x--\r\n--x\r\n\r\ny")]),
    ("Content-Type: multipart/mixed; boundary=x\n\n--x", [("", "multipart/mixed", b"--x"), ("1", "text/plain", b"")]),
    ("Content-Type: multipart/mixed; boundary=x\n\n--x\nA: b\n--x\n\ny\n--x--",
     [("", "multipart/mixed", None), ("1", "text/plain", b""), ("2", "text/plain", b"y")]),
    ("Content-Type: multipart/mixed; boundary=x\n\n--y\n--xy\n\na\n--x \t\n\nb\n--x-\n\nc\n --x\n--x--y\n--x\n\nd",
     [("", "multipart/mixed", None), ("1", "text/plain", b"a"), ("2", "text/plain", b"b"), ("3", "text/plain", b"c\r\n --x")]),
    ("Content-Type: multipart/mixed; boundary=x" + "y" * 250 + "\n\n--x" + "y" * 900 + "\n\na\n--x" + "y" * 249 + "\nb",
     [("", "multipart/mixed", None), ("1", "text/plain", b"a\r\n--x" + b"y" * 249 + b"\r\nb")]),
    ('Content-Type: multipart/mixed; boundary="x y"\n\n--x y\n\na', [("", "multipart/mixed", None), ("1", "text/plain", b"a")]),
    ('Content-Type: multipart/mixed; boundary="x\n y"\n\n--x y\n\na', [("", "multipart/mixed", None), ("1", "text/plain", b"a")]),
    ("Content-Type: multipart/mixed; boundary*0=x; boundary*1=y\n\n--xy\n\na",
     [("", "multipart/mixed", None), ("1", "text/plain", b"a")]),
    ("Content-Type: multipart/digest; boundary=x\n\n--x\n\nSubject: s\n\na\n--x--",
     [("", "multipart/digest", None), ("1", "message/rfc822", b"Subject: s\r\n\r\na"), ("1.1", "text/plain", b"a")]),
    ("Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDog", [("1", "message/rfc822", b"U3ViamVjdDog")]),
    ("Content-Type: message/rfc822\n\nContent-Type: message/rfc822\n\nA: b\n\nc",
     [("1", "message/rfc822", None), ("1.1", "message/rfc822", b"A: b\r\n\r\nc"), ("1.1.1", "text/plain", b"c")]),
    ("Content-Type: multipart/mixed; boundary=a--\n\n--a--\n\nx\n--a----", [("", "multipart/mixed", None), ("1", "text/plain", b"x")]),
]


@pytest.mark.parametrize("text, expected", ODD)
def test_broken_messages_have_one_tree(text, expected):
    found = tree(crlf(text))
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    assert all(body is None or body == row[2] for row, (_, _, body) in zip(found, expected))


def test_one_boundary_at_two_depths():
    head = "Content-Type: multipart/mixed; boundary=x\n\n--x\n"
    assert [row[:2] for row in tree(crlf(head + head + "\na\n--x--\n--x\n\nb\n--x--"))] == [
        ("", "multipart/mixed"), ("1", "multipart/mixed"), ("1.1", "text/plain"), ("2", "text/plain")]


@pytest.mark.parametrize("outer, inner", [("x", "xy"), ("xy", "x")])
def test_of_two_boundaries_that_begin_alike_the_longest_counts(outer, inner):
    data = crlf(f"Content-Type: multipart/mixed; boundary={outer}\n\n--{outer}\nContent-Type: multipart/mixed; boundary={inner}\n\n"
                f"--{inner}\n\na\n--{inner}z\n\nb\n--{outer}\n\nc\n--{outer}--")
    assert [row[0] for row in tree(data)] == ["", "1", "1.1", "1.2", "2"]


def test_an_outer_delimiter_ends_inner_parts():
    data = crlf("Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/mixed; boundary=i\n\n"
                "--i\n\na\n--o\n\nb\n--i\n\nc\n--o--")
    assert tree(data)[2:] == [("1.1", "text/plain", b"a"), ("2", "text/plain", b"b\r\n--i\r\n\r\nc")]


def nested(depth):
    lines = []
    for level in range(depth):
        lines.append(f"Content-Type: multipart/mixed; boundary=b{level}.\r\n\r\n--b{level}.\r\n")
    return "".join(lines).encode() + b"\r\nx"


def forwarded(depth):
    return b"Content-Type: message/rfc822\r\n\r\n" * depth + b"A: b\r\n\r\nx"


@pytest.mark.parametrize("build", [nested, forwarded])
@pytest.mark.parametrize("depth", [49, 50, 51, 100, 1_000, 100_000])
def test_depth_is_capped(build, depth):
    data = build(depth)
    structure = scan(data)
    assert len(structure) == min(depth, 50) + 1
    last = structure.parts[-1]
    assert last.opaque == (depth > 50) and last.depth == min(depth, 50)
    if depth > 50:
        assert last.content_type == "application/octet-stream" and not last.children and last.end == len(data)


def test_the_number_of_parts_is_capped():
    data = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 200_000
    structure = scan(data)
    assert len(structure) == 10_000 and structure.cut
    assert not scan(data, parts=300_000).cut
    assert scan(forwarded(30), parts=5).cut and len(scan(forwarded(30), parts=5)) == 5


HOSTILE = {
    "empty parts": lambda n: b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n" * n,
    "parts without empty line": lambda n: b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\nA: b\r\n" * n,
    "lines of dashes": lambda n: nested(50) + b"\r\n--" * n,
    "nearly delimiters": lambda n: nested(50) + b"\r\n--b4x" * n,
    "closing again and again": lambda n: nested(50) + b"\r\n--b0.--" * n,
    "forwarded": forwarded,
    "nested": nested,
    "one long line": lambda n: nested(2) + b"\r\n--" + b"b" * n * 10,
    "digest": lambda n: b"Content-Type: multipart/digest; boundary=b\r\n\r\n" + b"--b\r\n\r\n\r\n" * n,
    "inner delimiters only": lambda n: nested(50) + b"\r\n--b49.\r\n" * n,
    "same boundary": lambda n: b"Content-Type: multipart/x; boundary=b\r\n\r\n--b\r\n" * n,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_structures_take_linear_work(name, steps):
    small, large = (steps(lambda: scan(HOSTILE[name](count), parts=1_000_000)) for count in (500, 2_000))
    assert large <= small * 4.4 + 20_000
    scan(HOSTILE[name](200_000))


def test_every_octet_is_looked_at_a_few_times_only():
    class Counting(bytes):
        """Octets that count how far searches went."""

        looked = 0

        def find(self, mark, start=0, stop=None):
            found = super().find(mark, start, stop)
            Counting.looked += (found if found >= 0 else stop) - start + 1
            return found

        def count(self, mark, start=0, stop=None):
            Counting.looked += stop - start
            return super().count(mark, start, stop)

    for name, build in HOSTILE.items():
        Counting.looked, data = 0, build(3_000)
        scan(Counting(data), parts=1_000_000)
        assert Counting.looked <= 12 * len(data) + 10_000, name


def check(data, structure):
    """What is true of any tree."""
    for part in structure:
        assert 0 <= part.start <= part.header_end <= part.body <= part.end <= len(data)
        assert part.lines == data.count(b"\n", part.body, part.end)
        if part.parent >= 0:
            parent = structure.parts[part.parent]
            assert part.index in parent.children and parent.index < part.index and part.depth == parent.depth + 1
            assert parent.body <= part.start and part.end <= max(parent.end, part.body)
        part.text(data), part.filename, part.charset, part.describes()
        if part.type != "multipart" or part.parent < 0 or structure.parts[part.parent].type == "multipart":
            assert structure.find(part.path) is part


def test_the_samples_have_trees(samples):
    for name, data in samples:
        structure = scan(data)
        check(data, structure)
        assert len(structure) > 0 and not structure.cut, name


LINES = ["--a", "--b", "--a--", "--b--", "", "", "x", "--a ", "\t", "--", "Content-Type: multipart/mixed; boundary=a",
         "Content-Type: multipart/mixed; boundary=b", "Content-Type: message/rfc822", "Content-Type: multipart/digest;", " boundary=a",
         "Content-Transfer-Encoding: base64"]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(LINES), max_size=40), st.sampled_from(["\r\n", "\n"]))
def test_any_lines_have_a_tree(lines, end):
    data = end.join(lines).encode()
    check(data, scan(data))


@given(st.binary(max_size=300))
def test_any_octets_have_a_tree(data):
    check(data, scan(data))
    check(data, scan(data, depth=1, parts=1))
    within = b"Content-Type: multipart/mixed; boundary=a\n\n--a\n" + data
    check(within, scan(within))
