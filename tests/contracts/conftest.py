"""Fixtures of the contracts of mailboxes, for all of their files."""

from tests.contracts.mailbox_kit import alice, store  # noqa: F401
