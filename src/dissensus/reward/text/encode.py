"""Prompt and response → token ids, never longer than the window and never dropped.

An encoder's tokenizer puts its separators between prompt and response; a causal model's chat template
writes the turns. Either way the prompt loses its left end first, and only a response that fills the
window alone loses its right end. Both are counted.

Templates rewrite what they are given: they trim it, wrap reasoning anew or leave it out. So where prompt and response
stand in a rendered text is found by rendering it with other contents: what is before them stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from pathlib import Path
from typing import Any, Literal

from dissensus.errors import InputError, OutputError
from dissensus.hashing import framed_digest
from dissensus.records import Text, plain_text
from dissensus.reward.notices import report
from dissensus.reward.text.token_cache import EncodedTexts, Row, from_cache, in_memory
from dissensus.text.pretrained import first_line, fix_date
from dissensus.text.tokenize import cut_overflow, kept_tokens

_RECIPE = "2"
"""Part of every cache key: change it when the way from text to tokens changes."""
_BATCH = 1024
_CONTENTS = ("one", "two")
"""Put in place of a text's own contents: of two that begin unlike, one at least differs from any other at once."""
Style = Literal["pair", "chat", "text", "joined", "tokens"]
"""How prompt and response are put together: as a pair of texts, as turns of the chat template, with a blank line
between them, or, after training with TRL, as one string that ends with the end-of-text token. Of rows that were
tokenised elsewhere nobody knows."""


class UnreadableTextError(InputError):
    """A text that the tokenizer's chat template refuses; ``index`` is its place among those encoded, ``said`` why."""

    def __init__(self, index: int, said: str) -> None:
        super().__init__(
            f"the tokenizer's chat template refuses it ({said}); change its messages (most templates want user and "
            "assistant in turn, the user first; some no system message), or give a model whose template takes them"
        )
        self.index, self.said = index, said


@dataclass(frozen=True)
class _Frame:
    """The special tokens around and between two texts, read off the tokenizer's own encoding of a pair."""

    before: list[int]
    between: list[int]
    after: list[int]
    typed: bool
    closing: int
    """How many of the tokens between are of the second type; usually none."""
    after_types: tuple[int, ...]
    """Types of the tokens after, where they are others than the second."""


class Encoding:
    """Encodes (prompt, response) for one tokenizer and window.

    ``max_length`` counts all tokens, special ones included. The tokenizer says how prompt and response are put
    together, unless a ``style`` does. Raises InputError where the tokenizer does not have that style, ValueError
    when the special tokens alone would fill the window.
    """

    def __init__(self, tokenizer: Any, max_length: int, *, style: Style | None = None) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._frame = _pair_frame(tokenizer) if style in (None, "pair") else None
        self.style: Style = style or ("pair" if self._frame else "chat" if tokenizer.chat_template else "text")
        if self.style == "pair" and self._frame is None:
            raise InputError(
                "the model was trained on pairs of texts, and its tokenizer puts nothing between two; give it the "
                "tokenizer that it was trained with"
            )
        if self.style == "chat" and not tokenizer.chat_template:
            raise InputError(
                "the model was trained on chats, and its tokenizer has no chat template; set tokenizer.chat_template "
                "to the one that it was trained with and save it again"
            )
        # Of a text that stands alone: its begin-of-text token, or none, and the end of text, which where it is also the
        # padding pooling would step over.
        self._opening = [] if self._frame else _opening(tokenizer)
        eos = tokenizer.eos_token_id
        self._ending = [] if eos is None or eos == tokenizer.pad_token_id else [eos]
        self._template = fix_date(tokenizer.get_chat_template()) if self.style == "chat" else None

    def encode(self, texts: Sequence[tuple[Text, Text]], *, cache: Path | None = None) -> EncodedTexts:
        """Encode prompts with their responses, in order; the tokenizer is called on batches of texts.

        With ``cache``, a folder, the tokens are kept there under a hash of tokenizer, window and texts and
        memory-mapped; where that folder cannot be written they stay in memory, and a line on stderr says so.

        Raises UnreadableTextError where the chat template refuses a text.
        """
        typed = self._frame is not None and self._frame.typed
        closing = self._frame.after_types if self._frame else ()
        if cache is not None:
            try:
                key = self._key(texts)
                return from_cache(self._rows(texts), typed=typed, closing=closing, folder=cache, key=key)
            except OutputError as error:
                report(f"tokens are kept in memory: {error}")
        return in_memory(self._rows(texts), typed=typed, closing=closing)

    def loses_newlines(self) -> bool:
        """Whether the tokenizer reads a line break as a space, as DeBERTa-v3's does."""
        one, other = self._ids(["a\nb", "a b"])
        return one == other

    def _key(self, texts: Sequence[tuple[Text, Text]]) -> str:
        content = self.tokenizer.backend_tokenizer.to_str()
        # The same tokenizer may put texts together in several ways.
        way = f"{self.style} {self._frame}"
        settings = (_RECIPE, way, content, str(self.tokenizer.chat_template), repr(self.tokenizer.special_tokens_map))
        plain = (part for text in texts for part in map(_as_key, text))
        return framed_digest(*settings, str(self.max_length), *plain).hex()

    def _rows(self, texts: Sequence[tuple[Text, Text]]) -> Iterator[Row]:
        for start in range(0, len(texts), _BATCH):
            part = texts[start : start + _BATCH]
            yield from self._encode_pairs(part, self._frame) if self._frame else self._encode_whole(part, start)

    def _encode_pairs(self, texts: Sequence[tuple[Text, Text]], frame: _Frame) -> Iterator[Row]:
        room = self.max_length - len(frame.before) - len(frame.between) - len(frame.after)
        if room < 2:
            raise ValueError(f"max_length {self.max_length} leaves no room beside the special tokens")
        # A prompt stands with two responses or more, and is tokenised once.
        distinct = list(dict.fromkeys(plain_text(prompt) for prompt, _ in texts))
        prompts = dict(zip(distinct, self._ids(distinct), strict=True))
        responses = self._ids([plain_text(response) for _, response in texts])
        for (text, _), response in zip(texts, responses, strict=True):
            prompt = prompts[plain_text(text)]
            # A token of the prompt is kept even beside an endless response, so that the frame stays whole.
            of_prompt, of_response = kept_tokens(len(prompt), len(response), room, least=1)
            kept = prompt[len(prompt) - of_prompt :]
            ids = [*frame.before, *kept, *frame.between, *response[:of_response], *frame.after]
            second = len(frame.before) + of_prompt + len(frame.between) - frame.closing
            yield ids, second, of_prompt + of_response < len(prompt) + len(response), of_response < len(response)

    def _encode_whole(self, texts: Sequence[tuple[Text, Text]], first: int) -> Iterator[Row]:
        rendered = [self._render(*text, first + i) for i, text in enumerate(texts)]
        # As TRL does with rows of text.
        special = self.style == "joined"
        batch = self.tokenizer(rendered, add_special_tokens=special, verbose=False)
        before, after = (self._opening, self._ending) if self.style == "text" else ([], [])
        for i, (inner, places) in enumerate(zip(batch["input_ids"], batch.encodings, strict=True)):
            ids = [*before, *inner, *after]
            # Pooling steps over padding, so where that closes a text it carries no reward.
            while len(ids) > 1 and ids[-1] == self.tokenizer.pad_token_id:
                ids.pop()
            if len(ids) <= self.max_length:
                yield ids, len(ids), False, False
                continue
            end = (len(rendered[i]),) * 2
            offsets = [*[(0, 0)] * len(before), *places.offsets, *[end] * len(after)]
            begin, response = self._places(*texts[i], rendered[i], first + i)
            yield cut_overflow(ids, offsets[: len(ids)], begin, response, self.max_length)

    def _render(self, prompt: Text, response: Text, index: int) -> str:
        if self.style == "text":
            return f"{plain_text(prompt)}\n\n{plain_text(response)}"
        if self.style == "joined":
            joined, end = plain_text(prompt) + plain_text(response), self.tokenizer.eos_token or ""
            return joined if joined.endswith(end) else joined + end
        return self._chat(_turns(prompt, "user") + _turns(response, "assistant"), _tools_of(prompt), index)

    def _places(self, prompt: Text, response: Text, text: str, index: int) -> tuple[int, int]:
        """Return where the prompt's content begins in a rendered text, and where the response begins."""
        if self.style != "chat":
            return 0, len(plain_text(prompt)) + (2 if self.style == "text" else 0)
        turns, answer, tools = _turns(prompt, "user"), _turns(response, "assistant"), _tools_of(prompt)
        begins = [[{**turn, "content": content} for turn in turns] + answer for content in _CONTENTS]
        ends = [turns + _turns(content, "assistant") for content in _CONTENTS]
        begin, end = (
            min(len(commonprefix([text, self._chat(other, tools, index)])) for other in others)  # noqa: RUF071
            for others in (begins, ends)
        )
        end = _skip_space(text, end)
        return min(_skip_space(text, begin), end), end

    def _chat(self, turns: list[dict[str, object]], tools: list[Any] | None, index: int) -> str:
        try:
            text: str = self.tokenizer.apply_chat_template(
                turns, tools=tools, chat_template=self._template, tokenize=False
            )
        except Exception as error:
            # A template is a program of the model's author, which may raise anything, and on purpose.
            raise UnreadableTextError(index, first_line(error)) from error
        return text

    def _ids(self, texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        return ids


def encoding_of(tokenizer: Any, max_length: int, style: Style | None = None) -> Encoding:
    """Encode as a model was trained; as the tokenizer has it for None.

    A line on stderr says so where the model was trained on tokens that somebody else made. Raises InputError for a
    style that the tokenizer does not have.
    """
    encoding = Encoding(tokenizer, max_length, style=None if style == "tokens" else style)
    if style == "tokens":
        report(
            f"this model was trained on rows that were tokenised already: read as {encoding.style}, which may be "
            "another way of putting prompt and response together"
        )
    return encoding


def style_to_train(tokenizer: Any) -> Style | None:
    """Return the style in which a new head should read: ``chat`` where pairs are told apart by an end of text alone.

    A tokenizer with a chat template, and no separator, that ends each text (Qwen3-Embedding's) is one of chats. A model
    that was trained already, by whomever, is left to what its tokenizer does; None leaves it to that as well.
    """
    frame = _pair_frame(tokenizer)
    ends = {tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id} - {tokenizer.sep_token_id}
    return "chat" if frame and tokenizer.chat_template and ends.issuperset(frame.between) else None


def _skip_space(text: str, place: int) -> int:
    """Step over white space, which templates trim off contents and tokens take in."""
    return len(text) - len(text[place:].lstrip())


def _turns(text: Text, role: str) -> list[dict[str, object]]:
    if isinstance(text, str):
        return [{"role": role, "content": text}]
    return [turn.as_turn() for turn in text]


def _tools_of(prompt: Text) -> list[Any] | None:
    """The tools that the prompt offers, as chat templates take them."""
    return None if isinstance(prompt, str) or not prompt[0].tools else json.loads(prompt[0].tools)


def _pair_frame(tokenizer: Any) -> _Frame | None:
    """Read the special tokens of a pair; None where the tokenizer puts nothing between two texts."""
    probe = tokenizer("a", "b")
    owner = probe.sequence_ids(0)
    if 0 not in owner or 1 not in owner:
        return None
    first, last = owner.index(0), len(owner) - 1 - owner[::-1].index(0)
    second, end = owner.index(1), len(owner) - 1 - owner[::-1].index(1)
    ids = probe["input_ids"]
    # A causal tokenizer may begin each text with its own begin-of-text token: that separates nothing, it doubles it.
    if all(token == tokenizer.bos_token_id != tokenizer.cls_token_id for token in ids[last + 1 : second]):
        return None
    types = probe.get("token_type_ids") if "token_type_ids" in tokenizer.model_input_names else None
    between = slice(last + 1, second)
    if types is not None and sorted(types) != types:
        # Types that go back to the first one cannot be told by where the second begins: leave them to the model.
        types = None
    return _Frame(
        before=ids[:first],
        between=ids[between],
        after=ids[end + 1 :],
        typed=types is not None,
        closing=sum(types[between]) if types is not None else 0,
        after_types=() if types is None or max(types) < 2 else tuple(types[end + 1 :]),
    )


def _opening(tokenizer: Any) -> list[int]:
    """Read the special tokens before a single text: one begin-of-text token, or none."""
    probe = tokenizer("a")
    owner = probe.sequence_ids(0)
    opening: list[int] = probe["input_ids"][: owner.index(0)] if 0 in owner else []
    return opening


def _as_key(text: Text) -> str:
    if isinstance(text, str):
        return text
    # Nothing of a turn without tools, so that its tokens stay where they are kept.
    tools = [[part for part in (turn.tool_calls, turn.name, turn.tools) if part] for turn in text]
    return repr([(turn.role, turn.content, *own) for turn, own in zip(text, tools, strict=True)])
