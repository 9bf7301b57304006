"""How a model reads a prompt with its response, as its folder says: a reward holds for the way that was trained."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dissensus.errors import InputError
from dissensus.records import Text, plain_text
from dissensus.reward.config import OBJECTIVE_SETTINGS, TrainConfig
from dissensus.reward.text.encode import Encoding, cut_overflow

JOINED = "joined"
"""Prompt, response and the end-of-text token as one string between the tokenizer's own special tokens: TRL's text."""
TOKENS = "tokens"
"""Rows were tokenised elsewhere, so nobody knows."""
STYLE_KEY = "text_style"
"""In a model's ``dissensus.json``, and in what trainers other than ours leave in its ``config.json``."""
_STYLES = ("pair", "chat", "text", JOINED, TOKENS)
_BATCH = 1024
_KEY = "dissensus"
"""In a model's ``config.json``: what a trainer other than ours leaves there for `RewardModel.load`."""


class JoinedEncoding(Encoding):
    """Encodes prompt and response as one string, as TRL does with rows of text."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        super().__init__(tokenizer, max_length, style=JOINED)

    def _rows(self, texts: Sequence[tuple[Text, Text]]) -> Iterator[tuple[list[int], int, bool, bool]]:
        end, padding = self.tokenizer.eos_token or "", self.tokenizer.pad_token_id
        for start in range(0, len(texts), _BATCH):
            prompts, responses = zip(*texts[start : start + _BATCH], strict=True)
            heads = [plain_text(prompt) for prompt in prompts]
            joined = [head + plain_text(response) for head, response in zip(heads, responses, strict=True)]
            whole = [text if text.endswith(end) else text + end for text in joined]
            batch = self.tokenizer(whole, return_offsets_mapping=True, verbose=False)
            for head, ids, offsets in zip(heads, batch["input_ids"], batch["offset_mapping"], strict=True):
                # Where the end is the padding, pooling steps over it: the reward is read before it.
                while len(ids) > 1 and ids[-1] == padding:
                    ids.pop()
                yield cut_overflow(ids, offsets[: len(ids)], 0, len(head), self.max_length)


def encoding_of(tokenizer: Any, max_length: int, style: str | None = None) -> Encoding:
    """Encode as a model was trained: ``pair``, ``chat``, ``text`` or ``joined``; as the tokenizer has it for None.

    A line on stderr says so where the model was trained on tokens that somebody else made. Raises InputError for
    another style, as a stranger's folder may have it, and for one that the tokenizer does not have.
    """
    if style is not None and style not in _STYLES:
        raise InputError(f"the model's {STYLE_KEY} is {style!r}: expected one of {', '.join(_STYLES)}; train it again")
    if style == JOINED:
        return JoinedEncoding(tokenizer, max_length)
    encoding = Encoding(tokenizer, max_length, style=None if style == TOKENS else style)
    if style == TOKENS:
        print(  # noqa: T201
            f"this model was trained on rows that were tokenised already: read as {encoding.style}, which may be "
            "another way of putting prompt and response together",
            file=sys.stderr,
        )
    return encoding


def record_style(settings: Any, style: str | None, config: TrainConfig, *, max_length: int | None) -> None:
    """Write style, objective and window into a transformers config, which is saved wherever the model is."""
    known = {name: value for name, value in config.deciding().items() if name in OBJECTIVE_SETTINGS}
    if max_length is not None:
        known["max_length"] = max_length
    setattr(settings, _KEY, {STYLE_KEY: style, "config": known})


def recorded_settings(settings: Any) -> Mapping[str, Any] | None:
    """Return what ``record_style`` left: ``text_style`` and ``config``; None where there is nothing."""
    found = getattr(settings, _KEY, None)
    return found if isinstance(found, Mapping) else None
