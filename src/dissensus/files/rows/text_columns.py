"""Columns of texts among a source's first rows: conversations in cells, the prompt of a trainer's rows, and columns of
ours that hold something of the file's own and are left alone, with a notice that names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from dissensus.errors import InputError
from dissensus.files.readers import Values, kind_of
from dissensus.files.rows.cells import is_blank, is_whole
from dissensus.files.rows.chat import begins_with_a_prompt, conversation_of, is_conversation
from dissensus.files.rows.choice_words import OURS
from dissensus.files.rows.columns import CONVERSATIONS, DESCRIPTIVE, ColumnMap, plain_name

_TEXTS = ("prompt", "chosen", "rejected", "response_a", "response_b")
_FEW_WORDS = 2
_MEANING = {
    "id": "a pair's own name",
    "dataset": "the name of a data set",
    "domain": "in or out",
    "category": "a name",
    "distinct": "yes or no: whether the responses can be told apart",
    "group": "a name that prompts share",
}


class TextColumns:
    """Finds out what the columns of texts and of descriptions are, and reads them."""

    def __init__(self, mapping: ColumnMap) -> None:
        self._mapping = mapping
        self._left: set[str] = set()
        self._cells: set[str] = set()
        self.prompt = "prompt"
        """The column of the prompt."""

    @property
    def are_plain(self) -> bool:
        """Whether rows are in our terms as they stand."""
        return not (self._left or self._cells) and self.prompt == "prompt"

    def read(self, row: Values) -> Values:
        """Return a copy of the row with its texts in our terms."""
        row = {name: value for name, value in row.items() if name not in self._left}
        for name in self._cells:
            row[name] = conversation_of(row.get(name))
        if self.prompt != "prompt" and row.get(self.prompt) is not None:
            row["prompt"] = row[self.prompt]
        for name in ("domain", "distinct"):
            if given := self._mapping.meanings(name, self._mapping.ours.get(name, name)):
                row[name] = given.get(str(row.get(name)).lower(), row.get(name))
        return row

    def look(self, rows: Sequence[Values]) -> None:
        """Take in the first rows. Raises InputError where a column is the prompt that both texts lack."""
        for name in ("id", *DESCRIPTIVE):
            given = self._mapping.meanings(name, self._mapping.ours.get(name, name))
            found = [row[name] for row in rows if not is_blank(row.get(name))]
            odd = [value for value in found if not _is_ours(name, value, given)]
            if odd and len(odd) == len(found):
                self._left.add(name)
                way = f"columns={ {name: 'NAME'} } names another"
                if name in OURS:
                    way = f"values={ {name: {'NAME': ' or '.join(OURS[name])}} } says what a value means"
                self._mapping.say(
                    f"column {name} is left alone, as it holds {kind_of(odd[0])} and not what {name} means here "
                    f"({_MEANING[name]}); {way}, and columns={ {name: ''} } leaves it alone without this notice"
                )
        for name in (*_TEXTS, *self._mapping.candidates):
            texts = (row[name] for row in rows if isinstance(row.get(name), str) and row[name].strip())
            first = next(texts, None)
            if first is not None and all(conversation_of(text) is not text for text in chain([first], texts)):
                self._cells.add(name)
        if self._mapping.layout == "trl" and all(is_blank(row.get("prompt")) for row in rows):
            self._find_prompt(rows)

    def _find_prompt(self, rows: Sequence[Values]) -> None:
        for name in self._mapping.candidates:
            if plain_name(name) not in CONVERSATIONS:
                continue
            found = [(conversation_of(row.get(name)), conversation_of(row.get("chosen"))) for row in rows]
            if found and all(is_conversation(prompt) and _is_reply(chosen) for prompt, chosen in found):
                self.prompt = name
                self._mapping.say(f"column {name} is read as prompt")
                return
        # A column named like a prompt that neither text begins with: their common start is no prompt.
        texts = [row for row in rows if isinstance(row.get("chosen"), str) and "prompt" not in row]
        for name in self._mapping.likely_prompts if len(texts) == len(rows) else ():
            words = [(row[name].split(), row["chosen"]) for row in texts if isinstance(row.get(name), str)]
            is_prose = any(len(prompt) > _FEW_WORDS for prompt, _ in words)
            if is_prose and not any(_is_transcript(chosen) or _holds(chosen, prompt) for prompt, chosen in words):
                raise InputError(
                    f"column {name} may be the prompt, as neither chosen nor rejected has it: name it, "
                    f"columns={ {'prompt': name} }, or take what both texts begin with as the prompt: "
                    "columns={'prompt': ''}"
                )


def _is_ours(name: str, value: Any, given: Mapping[str, str]) -> bool:
    if name in OURS:
        return value in OURS[name] or str(value).lower() in given
    return isinstance(value, str) or is_whole(value)


def _holds(text: str, words: Sequence[str]) -> bool:
    """Whether a text has the first words of a prompt, white space apart."""
    return " ".join(words[:8]) in " ".join(text.split())


def _is_transcript(text: str) -> bool:
    """Whether a text says itself where the prompt ends, as HH-RLHF's, or is a conversation in a cell."""
    return "Assistant:" in text or "<|" in text or conversation_of(text) is not text


def _is_reply(value: Any) -> bool:
    if isinstance(value, list) and value and is_conversation(value):
        return len(value) == 1 or not begins_with_a_prompt(value)
    return isinstance(value, str | Mapping)
