"""Every example configuration is one that the daemons would take."""

from pathlib import Path

import pytest

from fancymail.base.settings import load_settings

EXAMPLES = sorted((Path(__file__).parents[3] / "etc" / "examples").glob("*.toml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_an_example_is_valid(file, tmp_path):
    assert load_settings(file, tmp_path).server.hostname == "mail.example.org"


def test_there_are_examples():
    assert len(EXAMPLES) >= 3
