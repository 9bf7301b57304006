"""Arguments in messages, written as Python takes them, as the options of the command line."""

from __future__ import annotations

import ast
import re
import shlex
from typing import Any

_TEXT = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_TEXTS = rf"\{{{_TEXT}: {_TEXT}(?:, {_TEXT}: {_TEXT})*\}}"
_VALUE = rf"{_TEXT}|\[{_TEXT}(?:, {_TEXT})*\]|{_TEXTS}|\{{{_TEXT}: {_TEXTS}\}}"
_ARGUMENT = re.compile(
    rf"\b(?:(columns|values|votes|annotator|split|root)=({_VALUE})|(allow_missing|skip_invalid)=True)"
)
_OPTIONS = {"columns": "--column", "values": "--value", "votes": "--vote", "root": "--from"}
_FLAGS = {"allow_missing": "--allow-missing", "skip_invalid": "'dissensus pairs --skip-invalid'"}


def as_options(text: str) -> str:
    """Write the arguments that a message names as options.

    >>> as_options("name it: columns={'prompt': 'a question', 'label': ''}, or values={'winner': {'1': 'a', '2': 'b'}}")
    "name it: --column 'prompt=a question' --column label=, or --value winner:1=a --value winner:2=b"
    >>> as_options("one vote each: votes=['ann', 'bob']; leave it out with allow_missing=True")
    'one vote each: --vote ann --vote bob; leave it out with --allow-missing'
    """
    return _ARGUMENT.sub(_option, text)


def _option(found: re.Match[str]) -> str:
    name, literal, flag = found.groups()
    if flag:
        return _FLAGS[flag]
    try:
        words = _words(name, ast.literal_eval(literal))
    except (AttributeError, SyntaxError, ValueError):  # no message of ours: a name of a file, a line of a traceback
        return found[0]
    return " ".join(f"{_OPTIONS.get(name, f'--{name}')} {shlex.quote(word)}" for word in words)


def _words(name: str, given: Any) -> list[str]:
    if name == "columns":
        return [f"{ours}={theirs}" for ours, theirs in given.items()]
    if name == "values":
        return [f"{column}:{theirs}={ours}" for column, values in given.items() for theirs, ours in values.items()]
    return [given] if isinstance(given, str) else list(given)
