"""What from data may enter the page: texts made harmless, JSON that cannot end its element, hashes for the policy."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import unicodedata
from typing import Any

from markupsafe import Markup

# Control characters other than tab and newline, and halves of surrogate pairs, which UTF-8 cannot hold.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_ESCAPES = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}
_RIGHT_TO_LEFT = {"R", "AL", "AN", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "FSI", "PDF", "PDI"}


def clean(text: str) -> str:
    r"""Replace what no page can hold; line ends become newlines.

    >>> clean("a\x00b\r\nc\ud800")
    'a�b\nc�'
    """
    return _UNPRINTABLE.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def cut(text: str, most: int) -> tuple[str, int]:
    """Cut a text after ``most`` characters; returns it and how many were left out.

    >>> cut("abcdef", 4)
    ('abcd', 2)
    """
    return (text, 0) if len(text) <= most else (text[:most], len(text) - most)


def isolate(name: str) -> str:
    """Keep a name that is written right to left, or pretends to be, from turning the words around it.

    >>> isolate("blend"), isolate("\\u202eblend") == "\\u2068\\u202eblend\\u2069"
    ('blend', True)
    """
    if not any(unicodedata.bidirectional(mark) in _RIGHT_TO_LEFT for mark in name):
        return name
    return f"\u2068{name}\u2069"


def script_json(value: Any) -> Markup:
    """Write JSON for a ``<script type="application/json">``: nothing in it can end the element or start another.

    >>> script_json({"t": "</script>"})
    Markup('{"t":"\\\\u003c/script\\\\u003e"}')
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.translate(_ESCAPES))


def source_hash(text: str) -> str:
    """Name an inline script or style in a Content-Security-Policy."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode() + "'"
