"""Sample messages for the tests of IMAP's core."""

import pytest

from tests.samples_kit import sample_messages


@pytest.fixture(scope="session")
def samples():
    """All sample messages as (name, octets)."""
    return sample_messages()
