"""The suite fixture for this folder."""

from tests.servers.pop3.kit import suite

__all__ = ["suite"]
