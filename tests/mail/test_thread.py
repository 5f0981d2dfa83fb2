"""Message-IDs and base subjects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail.thread import base_subject, message_id, message_ids


@pytest.mark.parametrize("value, ids", [
    (b"<a@b>", ["a@b"]), (b"<a@b> <c@d>\t<e@f>", ["a@b", "c@d", "e@f"]), (b"<a@b><a@b>", ["a@b"]), (b"", []), (b"<>", []),
    (b"a@b", ["a@b"]), (b"Your message of Monday", []), (b"re: <a@b>, ok", ["a@b"]), (b'<"x y"@z>', ['"x y"@z']),
    (b"<a@b\r\n c>", ["a@bc"]), (b"<< <a@b>", ["a@b"]), (b"<caf\xe9@x>", ["café@x"]), (b"<" + b"x" * 2_000 + b">", []),
    (b"<no-at>", ["no-at"]), (b"< >", []),
])
def test_ids(value, ids):
    assert message_ids(value) == ids
    assert message_id(value) == (ids[0] if ids else "")


def test_many_ids_keep_the_root_and_the_nearest():
    ids = message_ids(b" ".join(b"<%d@x>" % n for n in range(1_000)))
    assert len(ids) == 100 and ids[0] == "0@x" and ids[1] == "901@x" and ids[-1] == "999@x"


@pytest.mark.parametrize("subject, base, reply", [
    ("hello", "hello", False), ("Re: hello", "hello", True), ("RE: re: Fwd: FW: hello", "hello", True), ("[list] hello", "hello", False),
    ("Re: [list] hello (fwd) (FWD)", "hello", True), ("[fwd: hello]", "hello", True), ("[Fwd: Re: [x] hello]", "hello", True),
    ("[a][b] hello", "hello", False), ("[a]", "[a]", False), ("[a][b]", "[b]", False), ("re[2]: hello", "hello", True),
    ("re [list] : hello", "hello", True), ("  a \t  b ", "a b", False), ("", "", False), ("Re:", "", True), ("reply", "reply", False),
    ("[fwd: a] b", "b", False), ("(fwd)", "", True), ("[unclosed hello", "[unclosed hello", False), ("[a] re: [b] c", "c", True),
    ("Fwd:Fwd:", "", True), ("re", "re", False), ("fwdd: x", "fwdd: x", False),
])
def test_base_subjects(subject, base, reply):
    assert base_subject(subject) == (base, reply)


@given(st.one_of(st.text(max_size=80), st.text("refwd:[] ()FWDRE", max_size=60)))
def test_the_base_of_a_base_is_itself(subject):
    base = base_subject(subject).base
    assert base_subject(base).base == base


@given(st.one_of(st.binary(max_size=100), st.text("<>@a\" \t", max_size=60).map(str.encode)))
def test_ids_have_no_brackets(value):
    for text in message_ids(value):
        assert text and "<" not in text and ">" not in text


@pytest.mark.parametrize("piece", [b"<", b">", b"<a", b'<"', b'"<\\""', b"@", b"a@", b"<a@b>", b"< "])
def test_hostile_references_take_linear_work(piece, steps):
    small, large = (steps(message_ids, piece * count) for count in (500, 2_000))
    assert large <= small * 4.4 + 100
    message_ids(piece * 500_000)


@pytest.mark.parametrize("piece", ["[", "]", "[a]", "re:", "re[", "(fwd)", "[fwd:", "[a]re:", "fwd[a]:"])
def test_hostile_subjects_take_linear_work(piece, steps):
    small, large = (steps(base_subject, piece * count) for count in (100, 400))
    assert large <= small * 4.4 + 100
    base_subject(piece * 1_000_000)
