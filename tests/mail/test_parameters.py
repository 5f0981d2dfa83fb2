"""Content types and parameters, RFC 2231 in all its forms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancymail.mail.parameters import joined, parameter, parse_parameters, parse_token, parse_type, raw_parameter


@pytest.mark.parametrize("value, result", [
    (b"text/plain", ("text", "plain", ())), (b"Text/HTML; Charset=UTF-8", ("text", "html", (("charset", "UTF-8"),))),
    (b" text / plain ; a = b ; c=\"d;\\\"e\" ", ("text", "plain", (("a", "b"), ("c", 'd;"e')))),
    (b"text/plain; name=a b.txt; x", ("text", "plain", (("name", "a b.txt"),))), (b"text/plain;;;", ("text", "plain", ())),
    (b"text/plain (comment); a=b", ("text", "plain", (("a", "b"),))), (b'text/plain; a="open', ("text", "plain", (("a", "open"),))),
    (b"text/plain; a=1; A=2", ("text", "plain", (("a", "1"),))), (b"text/plain charset=x", ("text", "plain", ())),
    (b"text", ("", "", ())), (b"", ("", "", ())), (None, ("", "", ())), (b"text/", ("", "", ())), (b"/plain", ("", "", ())),
    (b"text/plain/x", ("", "", ())), (b"a\xe4/b", ("", "", ())), (b"x/y; =v; a=b", ("x", "y", (("a", "b"),))),
    (b'x/y; a="b"junk; c=d', ("x", "y", (("a", "b"), ("c", "d")))),
])
def test_types(value, result):
    assert parse_type(value) == result


def test_tokens():
    assert parse_token(b"Attachment; filename=x") == ("attachment", (("filename", "x"),))
    assert parse_token(b"base64") == ("base64", ())
    assert parse_token(b"") == parse_token(None) == parse_token(b'"x"') == ("", ())
    assert parse_token(b"7bit (sic)") == ("7bit", ())


@pytest.mark.parametrize("text, value", [
    ("filename=plain.txt", "plain.txt"), ("filename*=utf-8''caf%C3%A9.txt", "café.txt"), ("filename*=iso-8859-1'en'%A3", "£"),
    ("filename*0=a; filename*1=b; filename*2=c", "abc"), ("filename*1=b; filename*0=a", "ab"), ("filename*0=a; filename*2=c", "a"),
    ("filename*0*=utf-8''caf%C3; filename*1*=%A9; filename*2=.txt", "café.txt"), ("filename*1=b", ""), ("filename=p; filename*=x", "x"),
    ("filename*0=a; filename*0=b", "a"), ("filename*0*=a; filename*0=b", "a"), ("filename*999999999=x", ""),
    ("filename*=zlib_codec''x%41", "xA"), ("filename*=utf-8'x", "utf-8'x"), ("filename*=%zz%4", "%zz%4"),
    ("filename=\"=?utf-8?q?caf=C3=A9?=\"", "café"), ("filename*=utf-8''a%0D%0Ab%00", "a b "), ("other=x", ""),
    ("filename*=" + "x" * 100 + "''a", "a"), ("filename=caf\xe9", "café"),
])
def test_values_as_text(text, value):
    assert parameter(parse_parameters(text), "filename") == value


@pytest.mark.parametrize("text, result", [
    ("a=1; b*=utf-8''x", "a=1; b*=utf-8''x"), ("f*0=a; x=1; f*1=b; f*2=c", "f=abc; x=1"), ("f*1=b; f*0=a", "f=ab"),
    ("f*0*=utf-8''caf%C3; f*1*=%A9; f*2=.t t", "f*=utf-8''caf%C3%A9.t%20t"), ("f*0=a'%; f*1*=%20b", "f*=''a%27%25%20b"),
    ("f*0=a; f*2=c", "f=a; f*2=c"), ("f*1=b", "f*1=b"), ("f=short; f*0=lo; f*1=ng", "f=long"),
    ("f=short; f*0*=utf-8''l; f*1=g", "f=short; f*=utf-8''lg"),
    ("f*0=a; f*0*=b", "f=a"), ("f*x=1; *0=2; f*0*0=3", "f*x=1; *0=2; f*0*0=3"), ("f*0=caf\xe9; f*1*=%C3", "f*=''caf%E9%C3"),
])
def test_pieces_are_put_together(text, result):
    assert "; ".join(f"{name}={value}" for name, value in joined(parse_parameters(text))) == result


def test_boundaries_keep_their_octets():
    assert raw_parameter(parse_parameters('boundary="=_a%20b"'), "boundary") == "=_a%20b"
    assert raw_parameter(parse_parameters("boundary*0=a; boundary*1=b"), "boundary") == "ab"
    assert raw_parameter((), "boundary") == ""


def test_parameters_are_capped():
    assert len(parse_parameters("; ".join(f"p{n}=x" for n in range(5_000)))) == 100
    sections = parse_parameters("; ".join(f"f*{n}=x" for n in range(5_000)))
    assert parameter(sections, "f") == "x" * 100


@pytest.mark.parametrize("piece", [";", "a=;", 'a="', "\\", "=", "a ", "a*", ";a", '"', "%", "'", "a=b;", '""', ' ="'])
def test_hostile_parameters_take_linear_work(piece, steps):
    small, large = (steps(parse_parameters, piece * count) for count in (500, 2_000))
    assert large <= small * 4.4 + 100
    parse_type(b"a/b;" + piece.encode() * 500_000)


@given(st.one_of(st.binary(max_size=100), st.text("ab*0=;\"\\' %/", max_size=60).map(str.encode)))
def test_any_value_has_a_type(value):
    type_, subtype, parameters = parse_type(value)
    assert bool(type_) == bool(subtype) and len(parameters) <= 100
    for name in ("a", "b", "ab"):
        parameter(parameters, name).encode("utf-8", "strict")
        assert parameter(joined(parameters), name) == parameter(parameters, name) or (name, "") in parameters
    parse_token(value)
