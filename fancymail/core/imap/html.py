"""The words of an HTML text: for previews and search, never for display.

Called by precompute with octets of strangers, so everything is linear: one pass that drops what is no text, one that drops tags. Never parses
HTML into a tree and never fails.
"""

from __future__ import annotations

import html
import re

_HIDDEN = re.compile(r"<(?:!--|(script|style|title|head|template)\b)", re.IGNORECASE)
_CLOSING = {name: re.compile(rf"</{name}\b[^<>]*+>?", re.IGNORECASE) for name in ("script", "style", "title", "head", "template")}
_INLINE = re.compile(r"</?(?:a|abbr|b|big|code|em|font|i|ins|del|mark|s|small|span|strike|strong|sub|sup|tt|u|wbr)\b[^<>]*+>", re.IGNORECASE)
_TAG = re.compile(r"<(?=[A-Za-z/!?])[^<>]*+>?")


def words(text: str) -> str:
    """Return the text between the tags. Tags inside a word leave nothing behind, others a space."""
    shown = "".join(_shown(text)) if "<" in text else text
    if "<" in shown:
        shown = _TAG.sub(" ", _INLINE.sub("", shown))
    return html.unescape(shown) if "&" in shown else shown


def _shown(text: str) -> list[str]:
    """Cut out comments, scripts and styles. What isn't closed hides the rest, but for a head or title: browsers show what follows."""
    pieces, position = [], 0
    unclosed: set[str] = set()
    while match := _HIDDEN.search(text, position):
        pieces.append(text[position:match.start()])
        name = (match[1] or "").lower()
        position = match.end()
        if not name:
            end = text.find("-->", position)
            position = end + 3 if end >= 0 else len(text)
        elif name not in unclosed:
            if closing := _CLOSING[name].search(text, position):
                position = closing.end()
            elif name in ("head", "title"):
                unclosed.add(name)                  # looked for once: what is not there is not there further on
            else:
                position = len(text)
    pieces.append(text[position:])
    return pieces
