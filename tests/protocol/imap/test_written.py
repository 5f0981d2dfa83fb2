"""Commands written out of random values and read again: what a client means is what the session hears.

The writers here follow the grammar of the RFCs by themselves; strings go as atoms, quoted or as literals of all kinds, as it falls.
"""

from __future__ import annotations

from datetime import date

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fancymail.mail import utf7
from fancymail.mail.imap import fetch as f
from fancymail.mail.imap import search as s
from fancymail.mail.imap.sequence import SequenceSet, parse_sequence
from fancymail.protocol.imap import commands as c
from fancymail.protocol.imap.options import Options
from fancymail.protocol.imap.server import SELECTED, ImapServer

QUICK = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
ATOM = st.text("abcXYZ019-_.$+:/!", min_size=1, max_size=8).filter(lambda text: text.upper() != "NIL")
TEXTS = st.one_of(ATOM, st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12))
SETS = st.lists(st.tuples(st.integers(1, 99), st.one_of(st.integers(1, 99), st.just("*"))), min_size=1, max_size=4).map(
    lambda pairs: parse_sequence(",".join(f"{first}:{last}" for first, last in pairs).encode()))
DAYS = st.dates(date(1970, 1, 1), date(2100, 1, 1))
FORMS = st.integers(0, 3)


class Writer:
    """Writes a command; `forms` says how each string goes."""

    def __init__(self, forms: list[int]) -> None:
        self.forms, self.used = forms, 0

    def string(self, text: str | bytes, atom: bool = True) -> bytes:
        octets = text.encode() if isinstance(text, str) else text
        form, self.used = self.forms[self.used % len(self.forms)], self.used + 1
        plain = octets.isascii() and octets.decode().isprintable()
        if form == 0 and atom and octets and plain and not set(octets) & set(b' (){%*"\\'):
            return octets
        if form < 2 and not set(octets) & set(b"\r\n\0"):
            return b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
        return b"{%d%b}\r\n%b" % (len(octets), b"+" if form == 2 else b"", octets)

    def key(self, key: s.Key) -> bytes:
        return getattr(self, type(key).__name__.lower())(key)

    def all(self, key):
        return b"ALL"

    def recent(self, key):
        return b"RECENT" if key.present else b"old"

    def flag(self, key):
        if key.name.startswith("\\"):
            return (b"" if key.present else b"UN") + key.name[1:].upper().encode()
        return (b"KEYWORD " if key.present else b"UNKEYWORD ") + key.name.encode()

    def numbers(self, key):
        return b"UID " * key.uid + str(key.sequence).encode()

    def dated(self, key):
        word = {"internal": "", "sent": "SENT", "saved": "SAVED"}[key.kind] + key.relation.upper()
        quote = '"' * (self.forms[0] % 2)
        month = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()[key.day.month - 1]
        return f"{word} {quote}{key.day.day}-{month}-{key.day.year}{quote}".encode()

    def within(self, key):
        return f"{key.relation.upper()} {key.seconds}".encode()

    def size(self, key):
        return f"{key.relation.upper()} {key.octets}".encode()

    def header(self, key):
        return b"HEADER " + self.string(key.name) + b" " + self.string(key.text)

    def text(self, key):
        return key.where.upper().encode() + b" " + self.string(key.text)

    def modseq(self, key):
        return (b'MODSEQ "%b" shared ' % key.entry.encode() if key.entry else b"MODSEQ ") + b"%d" % key.modseq

    def objectid(self, key):
        return f"{key.kind.upper()}ID {key.id}".encode()

    def savedatesupported(self, key):
        return b"savedatesupported"

    def fuzzy(self, key):
        return b"FUZZY " + self.key(key.key)

    # "not" and "or" are words of Python, too
    def __getattr__(self, name):
        if name == "not":
            return lambda key: b"NOT " + self.key(key.key)
        if name == "or":
            return lambda key: b"OR " + self.key(key.left) + b" " + self.key(key.right)
        if name == "and":
            return lambda key: b"(" + b" ".join(map(self.key, key.keys)) + b")"
        raise AttributeError(name)


LEAVES = st.one_of(
    st.just(s.All()), st.just(s.SaveDateSupported()), st.booleans().map(s.Recent),
    st.builds(s.Flag, st.sampled_from(["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft"]), st.booleans()),
    st.builds(s.Flag, ATOM, st.booleans()), st.builds(s.Numbers, SETS, st.booleans()),
    st.builds(s.Dated, st.sampled_from(["internal", "sent", "saved"]), st.sampled_from(["before", "on", "since"]), DAYS),
    st.builds(s.Within, st.sampled_from(["older", "younger"]), st.integers(1, 2**32 - 1)),
    st.builds(s.Size, st.sampled_from(["larger", "smaller"]), st.integers(0, 2**63 - 1)),
    st.builds(s.Header, st.text("abcdefgh-", min_size=1, max_size=8), TEXTS),
    st.builds(s.Text, st.sampled_from(["from", "to", "cc", "bcc", "subject", "body", "text"]), TEXTS),
    st.builds(s.Modseq, st.integers(0, 2**63 - 1), st.sampled_from(["", "/flags/x"])),
    st.builds(s.ObjectId, st.sampled_from(["email", "thread"]), st.text("abcXYZ019-_", min_size=1, max_size=10)))
KEYS = st.recursive(LEAVES, lambda keys: st.one_of(
    st.builds(s.Not, keys), st.builds(s.Fuzzy, keys), st.builds(s.Or, keys, keys), st.lists(keys, min_size=2, max_size=4).map(
        lambda several: s.And(tuple(several)))), max_leaves=12)


def read(line: bytes, utf8: bool = False):
    """The value that the engine makes of a command; its literals are asked for as a client would see it."""
    engine = ImapServer(Options(plaintext=True))
    engine.state = SELECTED
    if utf8:
        engine.enabled.add("IMAP4REV2")
    engine.to_send()
    engine.receive(b"a " + line + b"\r\n")
    event = engine.next_event()
    assert event is not None, engine.to_send()
    said = engine.to_send()
    assert said == b"+ go on\r\n" * said.count(b"+")
    return event


@QUICK
@given(KEYS, st.lists(FORMS, min_size=1, max_size=8), st.booleans())
def test_search(key, forms, uid):
    assert read(b"UID " * uid + b"SEARCH " + Writer(forms).key(key)) == c.Search(key, uid)


@QUICK
@given(KEYS, st.lists(FORMS, min_size=1, max_size=8), st.lists(st.builds(
    s.Criterion, st.sampled_from(["ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO", "DISPLAYFROM", "DISPLAYTO"]), st.booleans()),
    min_size=1, max_size=5))
def test_sort(key, forms, criteria):
    said = b" ".join(b"REVERSE " * criterion.reverse + criterion.name.encode() for criterion in criteria)
    assert read(b"SORT (" + said + b") UTF-8 " + Writer(forms).key(key)) == c.Sort(tuple(criteria), key)
    assert read(b"THREAD REFERENCES UTF-8 " + Writer(forms).key(key)) == c.Thread("REFERENCES", key)


FIELDS = st.lists(st.text("abcDEF-:;!()]\"[".replace(":", ""), min_size=1, max_size=6).filter(
    lambda name: not set(name) & set("()")), min_size=1, max_size=3, unique_by=str.lower)
PARTS = st.lists(st.integers(1, 30), max_size=3).map(tuple)
PARTIALS = st.one_of(st.none(), st.tuples(st.integers(0, 2**32), st.integers(1, 2**32)))


@st.composite
def sections(draw):
    """(how it is said with each kind of string, what is expected but for its label)"""
    part, peek, partial = draw(PARTS), draw(st.booleans()), draw(PARTIALS)
    kind = draw(st.sampled_from(["", "HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT", "TEXT"] + ["MIME"] * bool(part) + ["binary"]))
    return part, peek, partial, kind, draw(FIELDS)


@QUICK
@given(st.lists(st.one_of(st.sampled_from(sorted(f.ATTRIBUTES)), sections()), min_size=1, max_size=5), st.lists(FORMS, min_size=1, max_size=8), SETS)
def test_fetch(asked, forms, sequence):
    writer, said = Writer(forms), []
    for item in asked:
        if isinstance(item, str):
            said.append(item.encode())
            continue
        part, peek, partial, kind, fields = item
        numbers = ".".join(map(str, part)).encode()
        text = (b"." if part and kind else b"") + kind.encode() if kind != "binary" else b""
        if kind.startswith("HEADER.FIELDS"):
            text += b" (" + b" ".join(writer.string(field) for field in fields) + b")"
        said.append((b"BINARY" if kind == "binary" else b"BODY") + b".PEEK" * peek + b"[" + numbers + text + b"]"
                    + (b"<%d.%d>" % partial if partial else b""))
    event = read(b"FETCH " + str(sequence).encode() + b" (" + b" ".join(said) + b")")
    assert event.sequence == sequence
    for item in asked:
        if isinstance(item, str):
            assert item in event.items
        else:
            part, peek, partial, kind, fields = item
            names = tuple(field.lower().encode() for field in fields) if kind.startswith("HEADER.FIELDS") else ()
            assert any(found.part == part and found.peek == peek and found.partial == partial and (
                type(found) is f.Binary if kind == "binary" else type(found) is f.Section and (found.what, found.fields) == (kind, names))
                for found in event.items if not isinstance(found, str))


NAMES = st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters="%*/", max_codepoint=0x2FFF), min_size=1,
                         max_size=6), min_size=1, max_size=3).map("/".join)


@QUICK
@given(NAMES, st.lists(FORMS, min_size=1, max_size=3), st.booleans())
def test_mailbox_names(name, forms, utf8):
    from fancymail.mail.mailbox import BadName, normal_name
    try:
        expected = normal_name(name)
    except BadName:
        return
    said = Writer(forms).string(name if utf8 else utf7.encode(name))
    assert read(b"DELETE " + said, utf8) == c.Delete(expected)
    assert read(b"COPY 1 " + said, utf8) == c.Copy(SequenceSet(((1, 1),)), expected)
