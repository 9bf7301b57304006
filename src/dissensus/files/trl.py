"""TRL's preference rows, ``chosen`` and ``rejected``, to pairs and back.

Standard (text) and conversational (lists of role and content), with the prompt in its own column or inside both
texts, and an optional ``margin``. Formats: https://huggingface.co/docs/trl/dataset_formats.

Which of the two becomes ``response_a`` comes from a hash of prompt and response: the same two responses always
stand the same way round, whichever was chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dissensus.files.pairs import descriptive, name_of, text_of, text_value
from dissensus.files.reading import kind_of
from dissensus.records import Choice, Margin, Message, Pair, Text, content_id

_REPLY = "\n\nAssistant:"
"""Where a reply starts in a plain transcript, as in HH-RLHF."""

TRL_COLUMNS: dict[str, Any] = {"id": str, "prompt": Text, "chosen": Text, "rejected": Text}


def pair_from_trl(row: Mapping[str, Any], unused: set[str] | None = None) -> tuple[Pair, Margin | None]:
    """Build a labelled pair, and its margin where the row has one; raises ValueError with one line."""
    prompt, chosen, rejected = split_prompt(row, unused)
    a, b, label = orient(prompt, chosen, rejected)
    pair = Pair(
        id=name_of(row.get("id"), "id") or content_id(prompt, a, b),
        prompt=prompt,
        response_a=a,
        response_b=b,
        label=label,
        **descriptive(row),
    )
    return pair, _margin(row.get("margin"), pair.id)


def orient(prompt: Text, chosen: Text, rejected: Text) -> tuple[Text, Text, Choice]:
    """Put two responses in an order that carries no information; returns response a, response b and the label.

    The order is that of their hashes, salted with the prompt, so that a response found under several prompts does not
    always come first.
    """
    a, b = sorted((chosen, rejected), key=lambda text: content_id(prompt, text, text))
    return a, b, "a" if a == chosen else "b"


def _margin(value: Any, pair_id: str) -> Margin | None:
    if value is None:
        return None
    if isinstance(value, bool):
        raise ValueError(f"margin is {kind_of(value)}; expected a number")
    return Margin.model_validate({"pair_id": pair_id, "margin": value})


def split_prompt(row: Mapping[str, Any], unused: set[str] | None = None) -> tuple[Text, Text, Text]:
    """Return (prompt, chosen, rejected), taking the prompt from the common start where it has no column.

    A string prompt beside whole conversations gives way to the messages that both share, as in TRL.

    >>> split_prompt({"chosen": "The sky is blue.", "rejected": "The sky is grey."})
    ('The sky is', ' blue.', ' grey.')
    """
    chosen, rejected = (text_of(row.get(name), name, unused) for name in ("chosen", "rejected"))
    if chosen == rejected:
        raise ValueError("chosen and rejected are the same")
    prompt = None if row.get("prompt") in (None, "", []) else text_of(row["prompt"], "prompt")
    if isinstance(chosen, str) and isinstance(rejected, str):
        return (prompt, chosen, rejected) if prompt else _split_text(chosen, rejected)
    if isinstance(chosen, str) or isinstance(rejected, str):
        raise ValueError("one of chosen and rejected is text and the other chat messages")
    if isinstance(prompt, tuple):
        return prompt, chosen, rejected
    return _split_messages(prompt, chosen, rejected)


def _split_text(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Cut both before the last reply of a transcript, else between the last two words that they share.

    The space in front of a response stays with it, so that prompt + response is the original text.
    """
    common = _common_start(chosen, rejected)
    cut = common.rfind(_REPLY)
    cut = cut + len(_REPLY) if cut >= 0 else _last_gap(common)
    prompt, chosen, rejected = common[:cut], chosen[cut:], rejected[cut:]
    if not prompt.strip():
        raise ValueError("chosen and rejected have no common start to take as the prompt; name a prompt column")
    for name, reply in (("chosen", chosen), ("rejected", rejected)):
        if not reply.strip():
            raise ValueError(f"the last reply of {name} is empty")
    return prompt, chosen, rejected


def _common_start(one: str, two: str) -> str:
    length = min(len(one), len(two))
    return one[: next((i for i in range(length) if one[i] != two[i]), length)]


def _last_gap(text: str) -> int:
    """Find where the last run of white space begins that has a word before it; 0 where there is none."""
    words = text.rsplit(maxsplit=1)
    if words and not text[-1].isspace():
        text = text[: -len(words[-1])]
    return len(text.rstrip())


def _split_messages(
    prompt: str | None, chosen: tuple[Message, ...], rejected: tuple[Message, ...]
) -> tuple[Text, Text, Text]:
    shared = 0
    for ours, theirs in zip(chosen[:-1], rejected[:-1], strict=False):
        if ours != theirs:
            break
        shared += 1
    if shared:
        return chosen[:shared], chosen[shared:], rejected[shared:]
    if prompt is None:
        raise ValueError("chosen and rejected share no first message to take as the prompt; name a prompt column")
    return prompt, chosen, rejected


def trl_from_pair(pair: Pair, *, conversational: bool) -> dict[str, Any]:
    """Return the TRL row of a pair labelled a or b; text becomes messages where asked or where any part is chat."""
    chosen, rejected = (pair.response_a, pair.response_b) if pair.label == "a" else (pair.response_b, pair.response_a)
    texts: dict[str, Text] = {"prompt": pair.prompt, "chosen": chosen, "rejected": rejected}
    if conversational or not all(isinstance(text, str) for text in texts.values()):
        texts = {name: _messages(text, "user" if name == "prompt" else "assistant") for name, text in texts.items()}
    return {"id": pair.id} | {name: text_value(text) for name, text in texts.items()}


def _messages(text: Text, role: str) -> tuple[Message, ...]:
    return (Message(role=role, content=text),) if isinstance(text, str) else text
