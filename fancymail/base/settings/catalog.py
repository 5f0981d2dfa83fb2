"""The shape of fancymail.toml as a whole: one attribute per section, in the order in which people read them.

Each section is a file beside this one, named as its table; `load.py` reads a file into `Settings`, `reference.py` writes
etc/fancymail.toml from the same declarations. Nothing here reads a file.
"""

from __future__ import annotations

import importlib
import pkgutil

import msgspec

from .section import Section

ORDER = ("server", "ipc", "log", "tls", "auth", "queue", "smtpin", "smtpout", "mailbox", "pop3")


def section_class(name: str) -> type[Section]:
    """Return the Section of `name`.py: the class that is spelled as the file, whatever its capitals."""
    module = importlib.import_module(f"{__package__}.{name}")
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Section) and value.__name__.lower() == name:
            return value
    raise LookupError(f"{module.__name__} has no Section named like the file")


_PRESENT = {module.name for module in pkgutil.iter_modules(importlib.import_module(__package__).__path__)}

Settings = msgspec.defstruct(
    "Settings",
    [(name, section_class(name), msgspec.field(default_factory=section_class(name))) for name in ORDER if name in _PRESENT],
    bases=(Section,), module=__name__)
