"""Prompt and response → token ids, never longer than the window and never dropped.

An encoder's tokenizer puts its separators between prompt and response; a causal model's chat template
writes the turns. Either way the prompt loses its left end first, and only a response that fills the
window alone loses its right end. Both are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dissensus.records import Text, plain_text


@dataclass(frozen=True)
class EncodedText:
    """Token ids of one prompt and response."""

    input_ids: list[int]
    token_type_ids: list[int] | None
    truncated: bool
    """The prompt lost its left end, or the response its right end."""


@dataclass(frozen=True)
class _Frame:
    """The special tokens around and between two texts, read off the tokenizer's own encoding of a pair."""

    before: list[int]
    between: list[int]
    after: list[int]
    types: tuple[list[int], int, list[int], int, list[int]] | None


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

    def encode(self, texts: Sequence[tuple[Text, Text]], *, batch: int = 1024) -> list[EncodedText]:
        """Encode prompts with their responses, in order; the tokenizer is called on batches of texts."""
        encoded: list[EncodedText] = []
        for start in range(0, len(texts), batch):
            part = texts[start : start + batch]
            encoded.extend(self._encode_pairs(part, self._frame) if self._frame else self._encode_whole(part))
        return encoded

    def _encode_pairs(self, texts: Sequence[tuple[Text, Text]], frame: _Frame) -> list[EncodedText]:
        prompts = self._ids([plain_text(prompt) for prompt, _ in texts])
        responses = self._ids([plain_text(response) for _, response in texts])
        room = self.max_length - len(frame.before) - len(frame.between) - len(frame.after)
        if room < 2:
            raise ValueError(f"max_length {self.max_length} leaves no room beside the special tokens")
        return [_fit(prompt, response, room, frame) for prompt, response in zip(prompts, responses, strict=True)]

    def _encode_whole(self, texts: Sequence[tuple[Text, Text]]) -> list[EncodedText]:
        rendered = [self._render(prompt, response) for prompt, response in texts]
        batch = self.tokenizer([text for text, _, _ in rendered], add_special_tokens=False, return_offsets_mapping=True)
        encoded = []
        for (text, start, end), ids, offsets in zip(rendered, batch["input_ids"], batch["offset_mapping"], strict=True):
            ids = list(ids)
            if self.style == "text" and self._closing is not None:
                ids.append(self._closing)
                offsets = [*offsets, (len(text), len(text))]
            encoded.append(_cut(ids, offsets, start, end, self.max_length))
        return encoded

    def _render(self, prompt: Text, response: Text) -> tuple[str, int, int]:
        """Return the whole text, where the prompt's content begins, and where the response begins."""
        if self.style == "text":
            head = plain_text(prompt) + "\n\n"
            return head + plain_text(response), 0, len(head)
        turns = _turns(prompt, "user")
        # Templates trim the content, so look for what is left of it.
        text: str = self.tokenizer.apply_chat_template(turns + _turns(response, "assistant"), tokenize=False)
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


def _fit(prompt: list[int], response: list[int], room: int, frame: _Frame) -> EncodedText:
    truncated = len(prompt) + len(response) > room
    # A token of the prompt is kept even beside an endless response, so that the frame stays whole.
    response = response[: room - min(len(prompt), 1)]
    prompt = prompt[max(len(prompt) + len(response) - room, 0) :]
    ids = [*frame.before, *prompt, *frame.between, *response, *frame.after]
    if frame.types is None:
        return EncodedText(ids, None, truncated)
    before, first, between, second, after = frame.types
    types = [*before, *[first] * len(prompt), *between, *[second] * len(response), *after]
    return EncodedText(ids, types, truncated)


def _cut(ids: list[int], offsets: list[tuple[int, int]], start: int, end: int, limit: int) -> EncodedText:
    """Remove the overflow after the header and before the response, then from the response's right end."""
    over = len(ids) - limit
    if over <= 0:
        return EncodedText(ids, None, False)
    header = next((i for i, (_, stop) in enumerate(offsets) if stop > start), 0)
    response = next((i for i, (_, stop) in enumerate(offsets) if stop > end), len(ids))
    removed = min(over, max(response - header - 1, 0))
    ids = ids[:header] + ids[header + removed :]
    if len(ids) > limit:
        # The last token closes the turn and is what a causal model's reward is read from.
        ids = ids[: limit - 1] + ids[-1:]
    return EncodedText(ids, None, True)


def _turns(text: Text, role: str) -> list[dict[str, str]]:
    if isinstance(text, str):
        return [{"role": role, "content": text}]
    return [{"role": turn.role, "content": turn.content} for turn in text]


def _pair_frame(tokenizer: Any) -> _Frame | None:
    """Read the special tokens of a pair; None where the tokenizer puts nothing between two texts."""
    probe = tokenizer("a", "b")
    owner = probe.sequence_ids(0)
    if 0 not in owner or 1 not in owner:
        return None
    first, last = owner.index(0), len(owner) - 1 - owner[::-1].index(0)
    second, end = owner.index(1), len(owner) - 1 - owner[::-1].index(1)
    ids = probe["input_ids"]
    if second == last + 1:
        return None
    types = probe.get("token_type_ids") if "token_type_ids" in tokenizer.model_input_names else None
    return _Frame(
        before=ids[:first],
        between=ids[last + 1 : second],
        after=ids[end + 1 :],
        types=(types[:first], types[first], types[last + 1 : second], types[second], types[end + 1 :])
        if types
        else None,
    )
