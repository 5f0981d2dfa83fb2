"""Addresses: what is one, what isn't, and that no spelling of one becomes another (RFC 5321 4.1.2, RFC 6531)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail.address import (NULL, POSTMASTER, Address, AddressError, detail, local_key, parse_forward_path,
                                    parse_mailbox, parse_path, parse_reverse_path, path_end)

GOOD = [
    ("<alice@example.test>", "alice", "example.test", "alice@example.test"),
    ("<Alice@EXAMPLE.Test>", "Alice", "example.test", "Alice@example.test"),
    ("<a.b-c_d+tag@x.test>", "a.b-c_d+tag", "x.test", "a.b-c_d+tag@x.test"),
    ('<"../x"@d.test>', "../x", "d.test", '"../x"@d.test'),
    ('<"a\\"b"@d.test>', 'a"b', "d.test", '"a\\"b"@d.test'),
    ('<"a\\\\b"@d.test>', "a\\b", "d.test", '"a\\\\b"@d.test'),
    ('<"a b"@d.test>', "a b", "d.test", '"a b"@d.test'),
    ('<""@d.test>', "", "d.test", '""@d.test'),
    ('<"@"@d.test>', "@", "d.test", '"@"@d.test'),
    ('<"alice"@d.test>', "alice", "d.test", "alice@d.test"),
    ('<"\\a\\l"@d.test>', "al", "d.test", "al@d.test"),
    ('<"a>b"@d.test>', "a>b", "d.test", '"a>b"@d.test'),
    ("<=?utf-8?q?a=40evil?=@d.test>", "=?utf-8?q?a=40evil?=", "d.test", "=?utf-8?q?a=40evil?=@d.test"),
    ("<%2e%2e%2f@d.test>", "%2e%2e%2f", "d.test", "%2e%2e%2f@d.test"),
    ("</abs@d.test>", "/abs", "d.test", "/abs@d.test"),
    ("<a@[127.0.0.1]>", "a", "[127.0.0.1]", "a@[127.0.0.1]"),
    ("<a@[IPv6:::1]>", "a", "[IPv6:::1]", "a@[IPv6:::1]"),
    ("<a@[ipv6:0:0:0:0:0:0:0:1]>", "a", "[IPv6:::1]", "a@[IPv6:::1]"),
    ("<v%x.test@[192.0.2.1]>", "v%x.test", "[192.0.2.1]", "v%x.test@[192.0.2.1]"),
    ('<"v@x.test"@us.test>', "v@x.test", "us.test", '"v@x.test"@us.test'),
    ('<"v@x.test"@[192.0.2.1]>', "v@x.test", "[192.0.2.1]", '"v@x.test"@[192.0.2.1]'),
    ("<x.test!v@us.test>", "x.test!v", "us.test", "x.test!v@us.test"),
    ("<v@us.test.x.test>", "v", "us.test.x.test", "v@us.test.x.test"),
    ("<u@localhost>", "u", "localhost", "u@localhost"),
    ("<jürgen@bücher.test>", "jürgen", "xn--bcher-kva.test", "jürgen@xn--bcher-kva.test"),
    ("<a@XN--BCHER-KVA.test>", "a", "xn--bcher-kva.test", "a@xn--bcher-kva.test"),
    ("<a@faß.test>", "a", "xn--fa-hia.test", "a@xn--fa-hia.test"),
    ("<" + "l" * 64 + "@d.test>", "l" * 64, "d.test", "l" * 64 + "@d.test"),
]

# every one of these is refused by the grammar alone
BAD = [
    "", "<", ">", "alice@example.test", "v@x.test", "<<v@x.test>>", "<v@x.test", "v@x.test>", "<@>", "<u>", "<u@>",
    "<@d.test>",
    "<../../etc/passwd@d.test>", "<..@d.test>", "<.@d.test>", "<a\\b@d.test>", "<a..b@d.test>", "<a.@d.test>",
    "<.a@d.test>",
    "<a b@d.test>", "<a\x00b@d.test>", "<a\nb@d.test>", "<a\r\nb@d.test>", "<a\tb@d.test>", "<a\x7fb@d.test>",
    '<"a\nb"@d.test>', '<"a\tb"@d.test>', '<"a\x00"@d.test>', '<"a"b@d.test>', '<"a@d.test>', '<"a\\"@d.test>', '<"v%x.test">',
    "<alice.@d.test>", "<alice @d.test>", "<(x)a@b.test>", "<a(x)@b.test>", "<a@b.test(x)>",
    "<" + "l" * 65 + "@d.test>", "<" + "l" * 255 + "@d.test>", "<a@" + "d" * 64 + ".test>", "<a@" + "d." * 130 + "test>",
    "<@a.test,@b.test:c@d.test>", "<@[192.0.2.1]:v@x.test>", "<v@x.test@us.test>", "<v@x.test@[192.0.2.1]>",
    "<v%x.test>", "<x.test!v>", "<v@x.test.>", "<v@x.test >", "<v@x.test\t>", "<v@us.test\x00.x.test>", "<v@.x.test>",
    "<v@x..test>",
    "<v@127.0.0.1>", "<v@2130706433>", "<v@0x7f.1>", "<v@0x7f000001>", "<v@127.1>",
    "<v@[0x7f.1]>", "<v@[999.1]>", "<v@[]>", "<v@[127.0.0.1>", "<v@127.0.0.1]>", "<v@[127.0.0.01]>", "<v@[127.0.0.1].test>",
    "<v@[IPv6:]>", "<v@[IPv6:::1%eth0]>", "<v@[IPv6:127.0.0.1]>", "<v@[::1]>", "<v@[tag:x]>", "<v@[ 127.0.0.1]>",
    "<v@-x.test>", "<v@x-.test>", "<v@x_y.test>", "<v@x/y.test>", "<v@x%y.test>",
    "<ali\u202ece@d.test>", "<ali\u200bce@d.test>", "<ali\u200dce@d.test>", "<\ufeffalice@d.test>", "<a\u2066b@d.test>",
    "<a\u0085b@d.test>", "<a\u00a0b@d.test>", "<a\u2028b@d.test>", "<a\ue000b@d.test>", "<a\uffffb@d.test>",
    "<\u212aelvin@d.test>", "<a@\u212a.test>", "<a@\uff41.test>", "<a@d\u202e.test>", "<a@d\u3002test>", "<a@\u2460.test>",
    "<a@\u0130x.test>", "<a@\u0301x.test>", "<a@x\u0640.test>", "<a@\u05d0a.test>", "<a@" + "ü" * 70 + ".test>",
    "<a\ud800@d.test>", "<a@\udcff.test>",
]

BAD_OCTETS = [b"<a\xff@d.test>", b"<a\xc0\xaf@d.test>", b"<a\xed\xa0\x80@d.test>", b"<a\xf8\x88\x80\x80\x80@d.test>",
              b"<a@\xfc.test>", b"\xef\xbb\xbf<a@d.test>", b"<\xef\xbb\xbfa@d.test>", b"<a@d.test>\x00", b"<a\xe2\x80\xae@d.test>"]


@pytest.mark.parametrize("text, local, domain, output", GOOD)
def test_a_good_path_is_parsed_exactly_and_written_back(text, local, domain, output):
    address = parse_path(text, smtputf8=True)
    assert (address.local, address.domain) == (local, domain)
    assert str(address) == output
    assert parse_mailbox(output) == address
    assert parse_path(text.encode(), smtputf8=True) == address


@pytest.mark.parametrize("text", BAD)
def test_a_bad_path_is_refused_with_a_reason(text):
    with pytest.raises(AddressError) as caught:
        parse_path(text, smtputf8=True)
    assert caught.value.reason and caught.value.reason.isascii() and caught.value.reason.isprintable()
    assert caught.value.code in (501, 553) and caught.value.status.startswith("5.")


@pytest.mark.parametrize("octets", BAD_OCTETS)
def test_broken_utf8_is_refused(octets):
    with pytest.raises(AddressError):
        parse_path(octets, smtputf8=True)


@pytest.mark.parametrize("text", ["<ü@d.test>", "<a@ü.test>", '<"ü"@d.test>'])
def test_characters_outside_ascii_need_smtputf8(text):
    with pytest.raises(AddressError) as caught:
        parse_path(text)
    assert (caught.value.code, caught.value.status) == (553, "5.6.7")


def test_plus_tag_with_path_is_a_dot_string_error():
    with pytest.raises(AddressError):
        parse_path("<user+../../x@d.test>")
    assert parse_path("<user+%s@d.test>").local == "user+%s"


def test_null_and_postmaster():
    assert parse_path("<>") is NULL and NULL.null and str(NULL) == ""
    assert parse_path(b"<PostMaster>") is POSTMASTER and str(POSTMASTER) == "postmaster"
    assert parse_reverse_path("<>") is NULL
    assert parse_forward_path("<postmaster>") is POSTMASTER
    with pytest.raises(AddressError):
        parse_forward_path("<>")
    with pytest.raises(AddressError):
        parse_reverse_path("<postmaster>")
    assert not parse_path('<""@d.test>').null


def test_bounce_addresses_may_be_long_and_recipients_of_rcpt_not():
    long = "bounce-" + "x" * 100 + "=y@list.test"
    assert parse_reverse_path(f"<{long}>").local == long.split("@")[0]
    assert str(parse_mailbox(long)) == long
    with pytest.raises(AddressError):
        parse_forward_path(f"<{long}>")


@pytest.mark.parametrize("one, other", [
    ("alice@d.test", "аlice@d.test"), ("admin@d.test", "ａdmin@d.test"), ("strasse@d.test", "straße@d.test"),
    ("i@d.test", "ı@d.test"), ("ss@d.test", "ſs@d.test"), ("fi@d.test", "ﬁ@d.test"), ("a@paypal.test", "a@pаypal.test"),
    ("a@fass.test", "a@faß.test"), ("É@d.test", "é@d.test"), ("ß@d.test", "ẞ@d.test"), ("ς@d.test", "σ@d.test"),
])
def test_look_alikes_are_two_identities(one, other):
    assert parse_mailbox(one).key != parse_mailbox(other).key


@pytest.mark.parametrize("one, other", [
    ("Alice@d.test", "aLICE@D.test"), ("caf\u00e9@d.test", "cafe\u0301@d.test"), ('"alice"@d.test', "alice@d.test"),
    ("a@bücher.test", "a@xn--bcher-kva.test"), ("a@BÜCHER.test", "a@bu\u0308cher.test"),
])
def test_spellings_of_one_address_have_one_key(one, other):
    assert parse_mailbox(one).key == parse_mailbox(other).key


@pytest.mark.parametrize("local, separator, result", [
    ("user+tag", "+", ("user", "tag")), ("user+a+b", "+", ("user", "a+b")), ("user", "+", ("user", "")),
    ("+tag", "+", ("+tag", "")), ("user+", "+", ("user", "")), ("user-tag", "-", ("user", "tag")),
    ("user+tag", "", ("user+tag", "")),
])
def test_detail(local, separator, result):
    assert detail(local, separator) == result


@pytest.mark.parametrize("line, end", [
    (b"<a@b> SIZE=1", 5), (b'<"a>b c"@d> X', 11), (b"<> BODY=7BIT", 2), (b'<"a@b> SIZE=1', -1), (b"a@b>", -1), (b"<a<b>", -1),
    (b'<"a\\">"@d>', 10),
])
def test_path_end(line, end):
    assert path_end(line) == end


def test_path_end_is_linear_on_hostile_lines():
    for line in (b"<" + b'"' * 100_000, b"<" + b'"a"' * 50_000, b'<"' + b"\\" * 100_000, b"<" * 100_000):
        assert path_end(line) == -1


def test_display_shows_u_labels():
    assert parse_mailbox("a@xn--bcher-kva.test").display == "a@bücher.test"
    assert parse_mailbox("a@xn--zzzzzzz99999.test").display == "a@xn--zzzzzzz99999.test"


locals_ = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


@given(locals_)
def test_any_local_part_survives_quoting(local):
    address = Address(local, "d.test")
    assert parse_mailbox(str(address)) == address
    assert parse_path(f"<{address}>") == address


@given(st.one_of(st.text(max_size=80), st.text("<>\"\\@.[]a: \u00fc", max_size=30)), st.booleans())
def test_any_text_is_an_address_or_an_address_error(text, smtputf8):
    for parse in (parse_path, parse_mailbox, parse_forward_path, parse_reverse_path):
        try:
            address = parse(text, smtputf8)
        except AddressError as error:
            assert error.reason.isascii() and error.reason.isprintable()
        else:
            assert parse_mailbox(str(address)) == address if address.domain else address in (NULL, POSTMASTER)
            assert all(c.isprintable() for c in str(address))


@given(st.binary(max_size=80))
def test_any_octets_are_an_address_or_an_address_error(octets):
    for data in (octets, b"<" + octets + b"@d.test>", b"<a@" + octets + b">"):
        try:
            address = parse_path(data, True)
        except AddressError as error:
            assert error.reason.isascii() and error.reason.isprintable()
        else:
            assert parse_path(f"<{address}>", True) == address


@given(st.text(st.characters(exclude_characters="\u212a"), max_size=20))     # the Kelvin sign is refused before
def test_local_keys_are_stable(local):
    assert local_key(local_key(local)) == local_key(local)
