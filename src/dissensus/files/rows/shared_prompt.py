"""Where a prompt ends and the responses begin: both responses may hold it, as text or as messages.

Texts count as the same where they differ in white space alone.
"""

from __future__ import annotations

from dissensus.files.rows.bad_rows import Notes
from dissensus.records import Message, Text

_REPLY = "\n\nAssistant:"
"""Where a reply starts in a plain transcript, as in HH-RLHF."""
_FEWEST_WORDS = 3
_AGAIN = "pairs had the prompt again at the start of both responses; it is read once"
_PERHAPS = "pairs have a prompt of one or two words at the start of both responses; they are read as they are"
_NAME_IT = "name the prompt's column, as in columns={'prompt': 'question'}"

Messages = tuple[Message, ...]


def split_texts(
    prompt: Text | None, one: Text, two: Text, names: tuple[str, str], notes: Notes
) -> tuple[Text, Text, Text]:
    """Return (prompt, one, two), the prompt once: taken out of the responses, or from what both begin with.

    Raises ValueError where there is no prompt, by the ``names`` of the two responses.
    """
    if isinstance(one, str) and isinstance(two, str):
        if prompt is None:
            return _split_text(one, two, names)
        return (prompt, *_without_text(prompt, one, two, notes)) if isinstance(prompt, str) else (prompt, one, two)
    if isinstance(one, str) or isinstance(two, str):
        if prompt is None:
            raise ValueError(f"one of {names[0]} and {names[1]} is text and the other chat messages")
        return prompt, one, two
    return _split_messages(prompt, one, two, names, notes)


def _split_text(one: str, two: str, names: tuple[str, str]) -> tuple[str, str, str]:
    """Cut both before the last reply of a transcript, else between the last two words that they share.

    The space in front of a response stays with it, so that prompt + response is the original text.
    """
    length = min(len(one), len(two))
    common = one[: next((i for i in range(length) if one[i] != two[i]), length)]
    cut = common.rfind(_REPLY)
    cut = cut + len(_REPLY) if cut >= 0 else _last_gap(common)
    prompt, one, two = common[:cut], one[cut:], two[cut:]
    if not prompt.strip():
        raise ValueError(f"{names[0]} and {names[1]} have no common start to take as the prompt; {_NAME_IT}")
    for name, reply in zip(names, (one, two), strict=True):
        if not reply.strip():
            raise ValueError(f"the last reply of {name} is empty")
    return prompt, one, two


def _last_gap(text: str) -> int:
    """Find where the last run of white space begins that has a word before it; 0 where there is none."""
    words = text.rsplit(maxsplit=1)
    if words and not text[-1].isspace():
        text = text[: -len(words[-1])]
    return len(text.rstrip())


def _without_text(prompt: str, one: str, two: str, notes: Notes) -> tuple[str, str]:
    first = prompt.split(maxsplit=1)[0]
    if not (one.lstrip().startswith(first) and two.lstrip().startswith(first)):  # so for nearly all, and quickly
        return one, two
    ends = [_end_of(prompt, text) for text in (one, two)]
    if not all(ends):
        return one, two
    few = len(prompt.split(maxsplit=_FEWEST_WORDS)) < _FEWEST_WORDS
    notes.count(_PERHAPS if few else _AGAIN)
    return (one, two) if few else (one[ends[0] :], two[ends[1] :])


def _end_of(prompt: str, text: str) -> int:
    """Find where a text goes on after it has begun with the prompt; 0 where it does not, or says nothing more."""
    at = len(text) - len(text.lstrip())
    words = prompt.split()
    for i, word in enumerate(words):
        gap = len(text[at : at + 64]) - len(text[at : at + 64].lstrip())
        if (i and not gap) or not text.startswith(word, at + gap):
            return 0
        at += gap + len(word)
    rest = text[at:]
    # A word that goes on is another word: the prompt "Say hi to me" is not in "Say hi to melt".
    return at if rest.strip() and not (rest[0].isalnum() and words[-1][-1].isalnum()) else 0


def _split_messages(
    prompt: Text | None, one: Messages, two: Messages, names: tuple[str, str], notes: Notes
) -> tuple[Text, Text, Text]:
    shared = 0
    for ours, theirs in zip(one[:-1], two[:-1], strict=False):
        if not _is_same(ours, theirs):
            break
        shared += 1
    if prompt is None:
        if not shared:
            raise ValueError(f"{names[0]} and {names[1]} share no first message to take as the prompt; {_NAME_IT}")
        return one[:shared], one[shared:], two[shared:]
    first = (Message(role="user", content=prompt),) if isinstance(prompt, str) else prompt
    for start in range(shared - len(first) + 1):  # the whole prompt, perhaps behind a system message
        if all(map(_is_same, first, one[start : start + len(first)])):
            # Beside a text, all that both conversations begin with is the prompt, as in TRL.
            end = shared if isinstance(prompt, str) else start + len(first)
            notes.count(_AGAIN)
            opening = one[:end] if isinstance(prompt, str) or start else first
            return opening, one[end:], two[end:]
    for length in range(min(shared, len(first)), 0, -1):  # its end, without the system message
        if all(map(_is_same, first[-length:], one[:length])):
            notes.count(_AGAIN)
            return prompt, one[length:], two[length:]
    if isinstance(prompt, str) and shared and one[0].role != "assistant":
        return one[:shared], one[shared:], two[shared:]  # a text beside conversations gives way to them, as in TRL
    return prompt, one, two


def _is_same(one: Message, two: Message) -> bool:
    return one == two or (
        one.role == two.role and one.tool_calls == two.tool_calls and one.content.split() == two.content.split()
    )
