"""etc/fancymail.toml is what the code says, and every line of it is an option that may be uncommented."""

import re
import tomllib
from pathlib import Path

import pytest

from fancymail.base.settings import parse_settings
from fancymail.base.settings.reference import options, reference_text, toml
from fancymail.base.secret import Secret

FILE = Path(__file__).parents[3] / "etc" / "fancymail.toml"


def test_the_file_is_up_to_date():
    assert FILE.read_text() == reference_text(), "run bin/fmctl docs"


def test_the_file_itself_changes_nothing():
    assert parse_settings(tomllib.loads(reference_text()), "x") == parse_settings({}, "x")


def test_every_default_may_be_uncommented():
    text = re.sub(r'(?ms)^#\[.*?(?=^\[|\Z)', "", reference_text())     # tables by NAME have no default
    uncommented = re.sub(r"(?m)^#(?=[a-z0-9-]+ = )", "", text)
    tables = tomllib.loads(uncommented)
    assert sum(len(table) for table in tables.values()) > 20
    assert parse_settings(tables, "x") == parse_settings({}, "x")


def test_every_option_has_a_sentence():
    assert [name for name, _, sentence in options() if not sentence.endswith((".", ")"))] == []


@pytest.mark.parametrize("value, text", [
    (True, "true"), (3, "3"), (0.5, "0.5"), ('a"\\', '"a\\"\\\\"'), ((), "[]"), (("a", "b"), '["a", "b"]'),
    ({"a.b": 1}, '{"a.b" = 1}'), (None, '""'), (Secret("x"), '""')])
def test_defaults_as_toml(value, text):
    assert toml(value) == text
