"""Prompts of language models: the paper's, or a text template of one's own with the same named fields."""

from __future__ import annotations

import difflib
import string
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

from dissensus.errors import ConfigError, InputError
from dissensus.judges.base import Mode
from dissensus.judges.language.share import parse_share, share_of_a
from dissensus.judges.language.verdict import parse_choice
from dissensus.records import Label, Order, Pair, Text

PREFIX = "Choice:"
"""How a reply begins; in `exact` mode the answer is read off right behind it. No space after it: templates trim it."""
SHARE_PREFIX = "Share:"
"""How a reply begins where a share of people is asked for instead of a choice."""

_REQUIRED = ("prompt", "answer_0", "answer_1")
_PERSONA = "persona"
_SHIPPED = resources.files("dissensus.judges") / "templates"


@dataclass(frozen=True)
class Template:
    """A prompt with the fields ``{prompt}``, ``{answer_0}`` (shown first, as A) and ``{answer_1}`` (shown as B).

    ``{persona}`` is optional: without it a persona is put in front, on a line of its own. Literal braces are doubled.
    """

    name: str
    text: str

    def render(self, pair: Pair, order: Order, persona: str = "") -> str:
        """Fill the fields with the texts of ``pair``, response b first in order ``ba``; their edges are stripped."""
        first, second = (pair.response_a, pair.response_b) if order == "ab" else (pair.response_b, pair.response_a)
        values = {"prompt": transcript(pair.prompt), "answer_0": transcript(first), "answer_1": transcript(second)}
        values[_PERSONA] = persona
        filled = "".join(literal + (values[field] if field else "") for literal, field in self._parts)
        if persona and not any(field == _PERSONA for _, field in self._parts):
            filled = f"{persona}\n\n{filled}"
        return filled.strip()

    @cached_property
    def asks_for_shares(self) -> bool:
        """Whether replies are to name a share of people, and not a winner."""
        text = self.text.casefold()
        return SHARE_PREFIX.casefold() in text and PREFIX.casefold() not in text

    def read(self, reply: str, order: Order, *, cut: bool = False) -> tuple[Label | None, float | None]:
        """Read a reply and undo the presentation order.

        Args:
            reply: as a user would read it.
            order: which response was shown first.
            cut: whether the reply may have ended before its end.

        Returns:
            The winner, None where the reply names none, and the share of people for response a where that was asked
            for: its side is then the winner, and 50 % a tie.
        """
        if not self.asks_for_shares:
            return parse_choice(reply, order=order, cut=cut), None
        percent = parse_share(reply, cut=cut)
        return (None, None) if percent is None else share_of_a(percent, order)

    @cached_property
    def _parts(self) -> list[tuple[str, str | None]]:
        """The literal texts, each with the field that follows it."""
        return [(literal, field) for literal, field, _, _ in string.Formatter().parse(self.text)]


def transcript(text: Text) -> str:
    """Render a text for a judge to read: a chat of several turns as ``User: …`` and ``Assistant: …`` paragraphs.

    >>> from dissensus.records import Message
    >>> transcript((Message(role="user", content="Hi "), Message(role="assistant", content="Hello.")))
    'User: Hi\\n\\nAssistant: Hello.'
    """
    if isinstance(text, str):
        return text.strip()
    if len(text) == 1:
        return text[0].said.strip()
    return "\n\n".join(f"{turn.role.capitalize()}: {turn.said.strip()}" for turn in text)


def load_template(template: str | Path = "paper", *, mode: Mode = "sample") -> Template:
    """Read a template by the name of a shipped one (``paper``, ``people``, ``share``) or from a text file.

    Raises:
        ConfigError: it asks for shares, which mode ``exact`` cannot read.
        InputError: there is no such template, or a field is missing, unknown, repeated or formatted, or the text does
            not ask for replies that begin with ``Choice:`` or ``Share:``.
    """
    found = _load(str(template))
    if mode == "exact" and found.asks_for_shares:
        raise ConfigError(
            f"--template {template}: asks for a share, a number of several tokens, and --mode exact reads one token; "
            "use --mode sample"
        )
    return found


def _load(name: str) -> Template:
    if name in templates():
        return Template(name, (_SHIPPED / f"{name}.txt").read_text(encoding="utf-8").strip())
    path = Path(name)
    if not path.is_file():
        raise InputError(f"--template {name}: no such template; give a text file or one of: {', '.join(templates())}")
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--template {name}: cannot be read ({error}); give a text file in UTF-8") from error
    _check(text, name)
    return Template(path.stem, text)


def templates() -> list[str]:
    """List the templates that come with the package."""
    return sorted(f.name.removesuffix(".txt") for f in _SHIPPED.iterdir() if f.name.endswith(".txt"))


def _check(text: str, name: str) -> None:
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise InputError(f"{name}: {error}; write a literal brace twice: {{{{ or }}}}") from error
    fields = [field for _, field, _, _ in parts if field is not None]
    for _, field, form, conversion in parts:
        if field is not None and (field not in (*_REQUIRED, _PERSONA) or form or conversion):
            close = difflib.get_close_matches(field, [*_REQUIRED, _PERSONA], n=1)
            known = "known: {prompt}, {answer_0}, {answer_1} and, optionally, {persona}; write a literal brace twice"
            hint = f"did you mean {{{close[0]}}}?" if close else known
            raise InputError(f"{name}: unknown field {{{field}}}; {hint}")
    for field in _REQUIRED:
        if fields.count(field) != 1:
            found = "no field" if field not in fields else f"{fields.count(field)} times the field"
            raise InputError(
                f"{name}: {found} {{{field}}}; a template has {{prompt}}, {{answer_0}} and {{answer_1}} once each"
            )
    if not any(prefix.casefold() in text.casefold() for prefix in (PREFIX, SHARE_PREFIX)):
        raise InputError(
            f"{name}: does not ask for a reply of the form '{PREFIX} A' or '{PREFIX} B' (or '{SHARE_PREFIX}' and a "
            "number), which is what is read; say so"
        )
