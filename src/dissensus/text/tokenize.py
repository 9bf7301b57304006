"""Prompt and response within a window of tokens: the prompt loses its left end first, then the response its right."""

from __future__ import annotations


def kept_tokens(prompt: int, response: int, room: int, *, least: int = 0) -> tuple[int, int]:
    """Return how many tokens of prompt and response fit into a room, of which the prompt has ``least`` if it has any.

    >>> kept_tokens(9, 4, 10), kept_tokens(9, 12, 10), kept_tokens(9, 12, 10, least=1)
    ((6, 4), (0, 10), (1, 9))
    """
    response = min(response, room - min(prompt, least))
    return min(prompt, room - response), response


def cut_overflow(
    ids: list[int], offsets: list[tuple[int, int]], start: int, end: int, limit: int
) -> tuple[list[int], int, bool, bool]:
    """Remove what is beyond ``limit`` tokens after the header and before the response, then the response's end.

    ``offsets`` are the tokens' places in the text, in which the prompt begins at ``start`` and the response at ``end``.
    Returns the tokens left, their number, and whether any was removed, and any of the response.
    """
    over = len(ids) - limit
    if over <= 0:
        return ids, len(ids), False, False
    header = next((i for i, (_, stop) in enumerate(offsets) if stop > start), 0)
    response = next((i for i, (_, stop) in enumerate(offsets) if stop > end), len(ids))
    removed = min(over, max(response - header - 1, 0))
    ids = ids[:header] + ids[header + removed :]
    response_cut = len(ids) > limit
    if response_cut:
        # The last token closes the turn and is what a causal model's reward is read from.
        ids = ids[: limit - 1] + ids[-1:]
    return ids, len(ids), True, response_cut
