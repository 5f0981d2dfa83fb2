"""Write etc/fancymail.toml: every section, every option, its sentence and its default, from the declarations alone.

Called by `fmctl docs`; a test compares the file with what this makes, so that it can never be out of date. Every option is
commented out: the file as it is means all defaults.
"""

from __future__ import annotations

import re
import textwrap
import typing

import msgspec

from ..secret import Secret
from .catalog import Settings
from .load import is_section, strip
from .section import Section

HEAD = """\
# fancymail.toml: every option of FancyMail with its default. Remove the "#" before what you change.
# Durations are seconds, sizes are octets. `bin/fmctl check` names all mistakes of a file at once.
# Written from the code by `bin/fmctl docs`; copy it to STATE/fancymail.toml before you change it.
"""


def reference_text() -> str:
    """Return the whole of etc/fancymail.toml."""
    parts = [HEAD]
    for field in msgspec.structs.fields(Settings):
        parts.append(_table(field.type, f"[{field.encode_name}]"))
    return "\n".join(parts)


def options() -> list[tuple[str, str, str]]:
    """Return (section.key, default as TOML, sentence) of every plain option, for tables in the manual."""
    rows = []
    for section in msgspec.structs.fields(Settings):
        sentences = _sentences(section.type)
        for field in msgspec.structs.fields(section.type):
            rows.append((f"{section.encode_name}.{field.encode_name}", toml(_default(field)), sentences[field.name]))
    return rows


def toml(value: object) -> str:
    """Spell a default as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return f"[{', '.join(toml(item) for item in value)}]"
    if isinstance(value, Section):
        value = msgspec.structs.asdict(value)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_key(key)} = {toml(item)}' for key, item in value.items())}}}"
    if value is None or isinstance(value, Secret):
        return '""'
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _table(shape: type[Section], header: str, mark: str = "") -> str:
    """One table with its sentence, its options, and the tables inside it after them."""
    lines = [*_comment(_sentence(shape)), f"{mark}{header}", ""]
    inner: list[str] = []
    sentences = _sentences(shape)
    for field in msgspec.structs.fields(shape):
        below = _inside(field.type)
        if below is not None:
            inner.append(_inner_table(below, header, field, sentences[field.name]))
            continue
        sentence = sentences[field.name] + (" Required." if field.required else "")
        lines += _comment(sentence) + [f"#{field.encode_name} = {toml(_default(field))}", ""]
    return "\n".join(lines + inner)


def _inner_table(below: tuple[type[Section], str], header: str, field, sentence: str) -> str:
    shape, form = below
    name = f"{header.strip('[]')}.{field.encode_name}"
    shown = {"dict": f'[{name}."NAME"]', "list": f"[[{name}]]", "one": f"[{name}]"}[form]
    return "\n".join([*_comment(sentence), _table(shape, shown, mark="#")])


def _inside(kind: object) -> tuple[type[Section], str] | None:
    """Tell whether an option is itself a table, a list of tables, or tables by name."""
    plain = strip(kind)
    if is_section(plain):
        return plain, "one"
    arguments = typing.get_args(plain)
    if typing.get_origin(plain) is dict and is_section(arguments[1]):
        return strip(arguments[1]), "dict"
    if typing.get_origin(plain) in (list, tuple) and arguments and is_section(arguments[0]):
        return strip(arguments[0]), "list"
    return None


def _sentences(shape: type[Section]) -> dict[str, str]:
    hints = typing.get_type_hints(shape, include_extras=True)
    return {name: _described(hints[name]) for name in shape.__struct_fields__}


def _described(kind: object) -> str:
    for extra in getattr(kind, "__metadata__", ()):
        if isinstance(extra, msgspec.Meta) and extra.description:
            return extra.description
    return ""


def _sentence(shape: type[Section]) -> str:
    """The docstring of a section as one paragraph."""
    return re.sub(r"\s+", " ", (shape.__doc__ or shape.__name__).strip().split("\n\n")[0])


def _default(field) -> object:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return None


def _comment(sentence: str) -> list[str]:
    return textwrap.wrap(sentence, 118, initial_indent="# ", subsequent_indent="# ")


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml(key)
