"""Character sets that mail may name, and decoding that never fails (RFC 2046 4.1.2, RFC 2978).

Called wherever octets of a message become text: encoded words, parameters, text parts. A name outside this list never reaches
Python's codec registry: "zlib_codec", "unicode_escape", "utf-7" and their like are no charsets of mail.
Never raises for bad octets: they become U+FFFD.
"""

from __future__ import annotations

import re

_SAME = ("utf-8 utf-16 utf-16le utf-16be utf-32 gb18030 gbk big5 big5hkscs euc-jp shift_jis iso-2022-jp iso-2022-jp-1 "
         "iso-2022-jp-2 iso-2022-jp-3 iso-2022-jp-ext euc-kr iso-2022-kr johab koi8-r koi8-u koi8-t hz cp437 cp720 cp737 cp775 "
         "cp850 cp852 cp855 cp857 cp858 cp860 cp861 cp862 cp863 cp864 cp865 cp866 cp869 cp874 cp932 cp949 cp950 tis-620 ptcp154 "
         "mac-roman mac-cyrillic mac-greek mac-turkish mac-latin2 mac-iceland kz1048 cp1125 cp1006 hp-roman8").split()

_ALIASES = {
    "utf8": "utf-8", "unicode-1-1-utf-8": "utf-8", "utf-8-mac": "utf-8",
    "us-ascii": "us-ascii", "ascii": "us-ascii", "ansi_x3.4-1968": "us-ascii", "646": "us-ascii", "us": "us-ascii",
    "latin1": "cp1252", "iso-8859-1": "cp1252", "l1": "cp1252", "iso8859-1": "cp1252",      # as everybody reads it
    "gb2312": "gb18030", "gb_2312-80": "gb18030", "x-gbk": "gbk", "cp936": "gbk", "hz-gb-2312": "hz",
    "cn-gb": "gb18030", "big5-hkscs": "big5hkscs", "cn-big5": "big5", "x-big5": "big5",
    "sjis": "cp932", "shift-jis": "cp932", "shift_jis": "cp932", "x-sjis": "cp932", "ms_kanji": "cp932", "windows-31j": "cp932",
    "x-euc-jp": "euc-jp", "eucjp": "euc-jp", "ks_c_5601-1987": "cp949", "ks_c_5601": "cp949", "ksc5601": "cp949",
    "x-windows-949": "cp949",
    "euc-kr": "cp949", "ks_c_5601-1989": "cp949", "windows-874": "cp874", "iso-8859-11": "cp874", "dos-874": "cp874",
    "macintosh": "mac-roman", "x-mac-roman": "mac-roman", "x-mac-cyrillic": "mac-cyrillic",
    "koi8-ru": "koi8-u", "koi8r": "koi8-r",
    "iso-8859-8-i": "iso8859-8", "iso-8859-8-e": "iso8859-8", "iso-8859-6-i": "iso8859-6", "iso-8859-9": "cp1254",
    "x-cp1250": "cp1250", "x-cp1251": "cp1251", "x-cp1252": "cp1252", "ansi": "cp1252", "x-user-defined": "cp1252",
}

CHARSETS: dict[str, str] = {name: name for name in _SAME}
CHARSETS.update({f"windows-{number}": f"cp{number}" for number in range(1250, 1259)})
CHARSETS.update({f"cp{number}": f"cp{number}" for number in range(1250, 1259)})
CHARSETS.update({f"cp-{number}": f"cp{number}" for number in range(1250, 1259)})
CHARSETS.update({f"iso-8859-{part}": f"iso8859-{part}" for part in range(2, 17) if part != 12})
CHARSETS.update({f"iso8859-{part}": f"iso8859-{part}" for part in range(2, 17) if part != 12})
CHARSETS.update({f"ibm{name[2:]}": name for name in _SAME if name[:2] == "cp"})
CHARSETS.update(_ALIASES)

_CONTROL = re.compile("[\x00-\x1f\x7f]+")


def known(charset: str) -> bool:
    """Is it a charset that we decode?"""
    return charset.lower() in CHARSETS


def codec(charset: str) -> str:
    """Return the codec of a charset name from the list, "" for one that isn't on it."""
    return CHARSETS.get(charset.strip().lower(), "")


def decode(data: bytes, charset: str = "") -> str:
    """Return octets as text. Unknown, missing and lying charsets are read as UTF-8 if the octets are, else as windows-1252."""
    name = codec(charset)
    if name in ("", "us-ascii", "utf-8"):
        return guess(data)
    return data.decode(name, "replace").encode("utf-8", "replace").decode()      # no lone surrogates leave this house


def guess(data: bytes) -> str:
    """Decode octets that name no charset, or the wrong one."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def clean(text: str) -> str:
    """Return decoded text as one line: runs of control characters become one space."""
    return _CONTROL.sub(" ", text)
