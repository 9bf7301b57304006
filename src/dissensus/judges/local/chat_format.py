"""A rendered prompt as the token ids that a language model reads, and what its tokens say behind the prefix."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import JudgeError
from dissensus.judges.language.choice_distribution import verdict_of_token
from dissensus.judges.language.prompt import PREFIX
from dissensus.text.pretrained import TODAY, fix_date

_CONTENT = "Wherever this stands the message goes."
_GAP = "\n\n"
_LETTER = re.compile(r"[ABab](?!\w)")

Ids = list[int]


class Rendering:
    """Turns users' messages into token ids for one tokenizer, and knows the prefix ``Choice:`` in its tokens.

    With a chat template: one user message and the opening of the assistant's turn, as the template writes them, with
    thinking switched off and the date fixed. Without one: the text and an empty line behind the tokenizer's own
    opening tokens. Control tokens that stand in a message as text are encoded as text.

    Raises:
        JudgeError: the chat template does not take a single user message.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.chat = bool(tokenizer.chat_template)
        self._before, self._after = self._frame() if self.chat else ("", _GAP)
        self._opening = [] if self.chat else _opening(tokenizer)
        self._controls = _controls(tokenizer)

    @property
    def identity(self) -> dict[str, str]:
        """JSON-able: how prompts are rendered."""
        if not self.chat:
            return {"style": "plain"}
        return {"style": "chat", "frame": hashlib.sha256(f"{self._before}\0{self._after}".encode()).hexdigest()[:16]}

    def encode(self, prompts: Sequence[str]) -> list[Ids]:
        """Encode messages, each up to where the reply begins."""
        encoded = self._ids([self._before + prompt + self._end for prompt in prompts])
        for row, prompt in enumerate(prompts):
            if self._controls is not None and self._controls.search(prompt):
                # The template around a message that spells control tokens, and the message apart from it.
                before, after = self._ids([self._before, self._end])
                (content,) = self._ids([prompt], split_special_tokens=True)
                encoded[row] = [*before, *content, *after]
        if self.chat:
            return encoded
        behind = len(self._prefix or ())
        return [self._opening + ids[: len(ids) - behind] for ids in encoded]

    @functools.cached_property
    def prefix(self) -> Ids:
        """The tokens of ``Choice:`` at the beginning of a reply.

        Raises:
            JudgeError: with this tokenizer the prefix, or a verdict behind it, is not made of tokens of its own.
        """
        prefix, reason = self._prefix, ""
        if prefix is None:
            reason = f"'{PREFIX}' shares a token with what stands before it"
        for label in ("A", "B"):
            longer = self._tail(f"{PREFIX} {label}")
            if longer is None or longer[:-1] != prefix:
                reason = reason or f"' {label}' is not a single token behind '{PREFIX}'"
        if prefix is None or reason:
            raise JudgeError(f"choice distributions are impossible with this tokenizer ({reason}); use --mode sample")
        return prefix

    def verdicts(self, vocabulary: int) -> NDArray[np.uint8]:
        """Find what each token names behind the prefix: the codes of ``A``, ``B`` or ``-``, shape (vocabulary,)."""
        codes = np.full(vocabulary, ord("-"), np.uint8)
        stem = len(self.reply(self.prefix))
        count = min(vocabulary, len(self.tokenizer))
        texts = self.tokenizer.batch_decode(
            [[*self.prefix, token] for token in range(count)],
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )
        for token, text in enumerate(texts):
            behind = text[stem:]
            if _LETTER.search(behind):
                codes[token] = ord(verdict_of_token(behind))
        return codes

    def _frame(self) -> tuple[str, str]:
        """What the chat template writes before and behind a user's message."""
        from jinja2 import TemplateError

        try:
            rendered: str = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": _CONTENT}],
                chat_template=fix_date(self.tokenizer.get_chat_template()),
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,
                date_string=TODAY.strftime("%d %b %Y"),
            )
        except (TemplateError, ValueError) as error:
            raise JudgeError(f"the chat template fails on a single user message ({error}); fix it") from error
        before, found, after = rendered.partition(_CONTENT)
        if not found or _CONTENT in after:
            raise JudgeError(
                "the chat template does not write a user's message just once; give a model whose template does"
            )
        return before, after

    @functools.cached_property
    def _end(self) -> str:
        """What follows a message. Without a template a reply too, to be cut off: a final line break has its own token
        in many vocabularies, which no text goes on from."""
        return self._after if self.chat or self._prefix is None else self._after + PREFIX

    @functools.cached_property
    def _prefix(self) -> Ids | None:
        return self._tail(PREFIX)

    def _tail(self, reply: str) -> Ids | None:
        """The tokens of ``reply`` where it follows a prompt; None where they are not apart from the prompt's."""
        (whole,) = self._ids([self._before + _CONTENT + self._after + reply])
        if self.chat:
            (prompt,) = self._ids([self._before + _CONTENT + self._after])
            return whole[len(prompt) :] if whole[: len(prompt)] == prompt else None
        for start in range(len(whole) - 1, -1, -1):
            text = self.reply(whole[start:])
            if len(text) >= len(reply):
                return whole[start:] if text == reply else None
        return None

    def _ids(self, texts: list[str], **settings: Any) -> list[Ids]:
        ids: list[Ids] = self.tokenizer(texts, add_special_tokens=False, verbose=False, **settings)["input_ids"]
        return ids

    def reply(self, ids: Sequence[int]) -> str:
        """Decode a reply as a user would read it."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


def _opening(tokenizer: Any) -> Ids:
    """The special tokens that the tokenizer puts in front of a text; those behind it would end the reply."""
    with_specials, without = (tokenizer("x", add_special_tokens=flag)["input_ids"] for flag in (True, False))
    for start in range(len(with_specials)):
        if with_specials[start : start + len(without)] == without:
            opening: Ids = with_specials[:start]
            return opening
    return []


def _controls(tokenizer: Any) -> re.Pattern[str] | None:
    """Match any text that the tokenizer would encode as a control token."""
    tokens = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    tokens |= set(tokenizer.all_special_tokens)
    return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True)))) if tokens else None
