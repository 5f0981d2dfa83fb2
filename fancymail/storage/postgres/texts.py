"""Texts as PostgreSQL can hold them. Used by the engines of this package for what came from outside."""

from __future__ import annotations


def clean(text: str) -> str:
    """It knows no NUL, and no half of a surrogate pair: another character stands in their place."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
