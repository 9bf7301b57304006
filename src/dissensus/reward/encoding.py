"""Prompt and response → token ids, never longer than the window and never dropped.

An encoder's tokenizer puts its separators between prompt and response; a causal model's chat template
writes the turns. Either way the prompt loses its left end first, and only a response that fills the
window alone loses its right end. Both are counted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dissensus.errors import OutputError
from dissensus.records import Message, Text, plain_text
from dissensus.reward.tokens import EncodedText, EncodedTexts, cache_key, from_cache, in_memory

__all__ = ["EncodedText", "EncodedTexts", "Encoding"]

_RECIPE = "1"
"""Part of every cache key: change it when the way from text to tokens changes."""
_BATCH = 1024
_Row = tuple[list[int], int, bool]


@dataclass(frozen=True)
class _Frame:
    """The special tokens around and between two texts, read off the tokenizer's own encoding of a pair."""

    before: list[int]
    between: list[int]
    after: list[int]
    typed: bool
    closing: int
    """How many of the tokens between are of the second type; usually none."""


class Encoding:
    """Encodes (prompt, response) for one tokenizer and window.

    ``max_length`` counts all tokens, special ones included. Raises ValueError when the special tokens
    alone would fill it.
    """

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._frame = _pair_frame(tokenizer)
        self.style = "pair" if self._frame else "chat" if tokenizer.chat_template else "text"
        self._opening = [] if self._frame else _opening(tokenizer)

    def encode(self, texts: Sequence[tuple[Text, Text]], *, cache: Path | None = None) -> EncodedTexts:
        """Encode prompts with their responses, in order; the tokenizer is called on batches of texts.

        With ``cache``, a folder, the tokens are kept there under a hash of tokenizer, window and texts and
        memory-mapped; where that folder cannot be written they stay in memory, and a line on stderr says so.
        """
        typed = self._frame is not None and self._frame.typed
        if cache is not None:
            try:
                return from_cache(self._rows(texts), typed=typed, folder=cache, key=self._key(texts))
            except OutputError as error:
                print(f"tokens are kept in memory: {error}", file=sys.stderr)  # noqa: T201
        return in_memory(self._rows(texts), typed=typed)

    def loses_newlines(self) -> bool:
        """Whether the tokenizer reads a line break as a space, as DeBERTa-v3's does."""
        one, other = self._ids(["a\nb", "a b"])
        return one == other

    def _key(self, texts: Sequence[tuple[Text, Text]]) -> str:
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        content = backend.to_str() if backend is not None else repr(sorted(self.tokenizer.get_vocab().items()))
        settings = (_RECIPE, content, str(self.tokenizer.chat_template), repr(self.tokenizer.special_tokens_map))
        plain = (part for text in texts for part in map(_as_key, text))
        return cache_key(*settings, str(self.max_length), *plain)

    def _rows(self, texts: Sequence[tuple[Text, Text]]) -> Iterator[_Row]:
        for start in range(0, len(texts), _BATCH):
            part = texts[start : start + _BATCH]
            yield from self._encode_pairs(part, self._frame) if self._frame else self._encode_whole(part)

    def _encode_pairs(self, texts: Sequence[tuple[Text, Text]], frame: _Frame) -> list[_Row]:
        room = self.max_length - len(frame.before) - len(frame.between) - len(frame.after)
        if room < 2:
            raise ValueError(f"max_length {self.max_length} leaves no room beside the special tokens")
        # A prompt stands with two responses or more, and is tokenised once.
        distinct = list(dict.fromkeys(plain_text(prompt) for prompt, _ in texts))
        prompts = dict(zip(distinct, self._ids(distinct), strict=True))
        responses = self._ids([plain_text(response) for _, response in texts])
        return [
            _fit(prompts[plain_text(prompt)], response, room, frame)
            for (prompt, _), response in zip(texts, responses, strict=True)
        ]

    def _encode_whole(self, texts: Sequence[tuple[Text, Text]]) -> list[_Row]:
        rendered = [self._render(prompt, response) for prompt, response in texts]
        batch = self.tokenizer([text for text, _, _ in rendered], add_special_tokens=False, return_offsets_mapping=True)
        encoded = []
        for (text, start, end), ids, offsets in zip(rendered, batch["input_ids"], batch["offset_mapping"], strict=True):
            ids = list(ids)
            if self.style == "text":
                closing = [] if self._closing is None else [self._closing]
                ids = [*self._opening, *ids, *closing]
                offsets = [*[(0, 0)] * len(self._opening), *offsets, *[(len(text), len(text))] * len(closing)]
            # Pooling steps over padding, so where the closing token is the padding it carries no reward.
            while len(ids) > 1 and ids[-1] == self.tokenizer.pad_token_id:
                ids.pop()
            encoded.append(_cut(ids, offsets[: len(ids)], start, end, self.max_length))
        return encoded

    def _render(self, prompt: Text, response: Text) -> tuple[str, int, int]:
        """Return the whole text, where the prompt's content begins, and where the response begins."""
        if self.style == "text":
            head = plain_text(prompt) + "\n\n"
            return head + plain_text(response), 0, len(head)
        turns = _turns(prompt, "user")
        # Templates trim the content, so look for what is left of it.
        tools = json.loads(prompt[0].tools) if not isinstance(prompt, str) and prompt[0].tools else None
        text: str = self.tokenizer.apply_chat_template(
            turns + _turns(response, "assistant"), tools=tools, tokenize=False
        )
        start = max(text.find(turns[0]["content"].strip()), 0)
        end = text.rfind(plain_text(response).strip()) if isinstance(response, str) else -1
        if end < 0:
            last = _turns(response, "assistant")[-1]["content"].strip()
            end = max(text.rfind(last), start)
        return text, start, end

    @property
    def _closing(self) -> int | None:
        """The end-of-text token; none where it is also the padding, which pooling would step over."""
        eos = self.tokenizer.eos_token_id
        return None if eos == self.tokenizer.pad_token_id else eos

    def _ids(self, texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        return ids


def _fit(prompt: list[int], response: list[int], room: int, frame: _Frame) -> _Row:
    truncated = len(prompt) + len(response) > room
    # A token of the prompt is kept even beside an endless response, so that the frame stays whole.
    response = response[: room - min(len(prompt), 1)]
    prompt = prompt[max(len(prompt) + len(response) - room, 0) :]
    ids = [*frame.before, *prompt, *frame.between, *response, *frame.after]
    second = len(frame.before) + len(prompt) + len(frame.between) - frame.closing
    return ids, second, truncated


def _cut(ids: list[int], offsets: list[tuple[int, int]], start: int, end: int, limit: int) -> _Row:
    """Remove the overflow after the header and before the response, then from the response's right end."""
    over = len(ids) - limit
    if over <= 0:
        return ids, len(ids), False
    header = next((i for i, (_, stop) in enumerate(offsets) if stop > start), 0)
    response = next((i for i, (_, stop) in enumerate(offsets) if stop > end), len(ids))
    removed = min(over, max(response - header - 1, 0))
    ids = ids[:header] + ids[header + removed :]
    if len(ids) > limit:
        # The last token closes the turn and is what a causal model's reward is read from.
        ids = ids[: limit - 1] + ids[-1:]
    return ids, len(ids), True


def _turns(text: Text, role: str) -> list[dict[str, Any]]:
    if isinstance(text, str):
        return [{"role": role, "content": text}]
    return [turn.as_turn() for turn in text]


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
    )


def _opening(tokenizer: Any) -> list[int]:
    """Read the special tokens before a single text: one begin-of-text token, or none."""
    probe = tokenizer("a")
    owner = probe.sequence_ids(0)
    opening: list[int] = probe["input_ids"][: owner.index(0)] if 0 in owner else []
    return opening


def _as_key(text: Text) -> str:
    return text if isinstance(text, str) else repr([(turn.role, turn.content, *_tools(turn)) for turn in text])


def _tools(turn: Message) -> list[str]:
    # Nothing of a turn without tools, so that its tokens stay where they are kept.
    return [part for part in (turn.tool_calls, turn.name, turn.tools) if part]
