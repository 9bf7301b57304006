"""Sampled replies: the library's own ``generate``, from prompts that were read once, with every setting explicit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import GenerationConfig, LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

from dissensus.judges.language.messages import Ask, Sampling
from dissensus.judges.local.choice_logits import GivenDraws
from dissensus.judges.local.kv_cache import State
from dissensus.judges.local.load import LanguageModel
from dissensus.judges.local.prompt_batches import Ids


def generate(
    loaded: LanguageModel,
    state: State | None,
    unread: Sequence[Ids],
    asks: Sequence[Ask],
    sampling: Sampling,
    *,
    at_once: int,
) -> list[list[Ids]]:
    """Sample the replies that each ask wants; token ids up to and with the one that ends the reply.

    Args:
        loaded: the model.
        state: what was read of the prompts, one text for each ask; None where nothing was.
        unread: the rest of each prompt, all of one length.
        asks: what is asked; their keys and the numbers of their samples seed the draws.
        sampling: the settings.
        at_once: how many replies are written side by side.
    """
    wanted = [(row, sample) for row, ask in enumerate(asks) for sample in ask.samples]
    replies: list[list[Ids]] = [[] for _ in asks]
    for start in range(0, len(wanted), at_once):
        part = wanted[start : start + at_once]
        numbers = np.stack([_numbers(asks[row], sample, sampling) for row, sample in part])
        parents = [row for row, _ in part]
        copies = state.select(parents) if state else None
        for row, reply in zip(
            parents, _write(loaded, copies, [unread[row] for row in parents], numbers, sampling), strict=True
        ):
            replies[row].append(reply)
    return replies


def _write(
    loaded: LanguageModel,
    state: State | None,
    unread: Sequence[Ids],
    numbers: NDArray[np.float64],
    sampling: Sampling,
) -> list[Ids]:
    ids = torch.tensor(unread, device=loaded.model.device)
    mask = torch.ones_like(ids)
    begun = {"past_key_values": state.cache} if state else {}
    written = loaded.model.generate(
        ids,
        attention_mask=torch.cat([state.mask.long(), mask], dim=1) if state else mask,
        generation_config=_settings(loaded, sampling.max_tokens),
        logits_processor=_draws(numbers, sampling),
        **begun,
    )
    return [_until(reply, loaded.stops) for reply in written[:, ids.shape[1] :].tolist()]


def _settings(loaded: LanguageModel, max_tokens: int) -> GenerationConfig:
    """Greedy, since the draws are made before; nothing of the model's own defaults."""
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_tokens,
        repetition_penalty=1.0,
        eos_token_id=list(loaded.stops),
        pad_token_id=loaded.stops[0],
        use_cache=True,
    )


def _draws(numbers: NDArray[np.float64], sampling: Sampling) -> LogitsProcessorList:
    """Temperature, then top-p over all tokens, by the library's own code; then a draw."""
    draws = LogitsProcessorList()
    if sampling.temperature != 1:
        draws.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_p < 1:
        draws.append(TopPLogitsWarper(sampling.top_p))
    draws.append(GivenDraws(numbers))
    return draws


def _numbers(ask: Ask, sample: int, sampling: Sampling) -> NDArray[np.float64]:
    """Uniform numbers for one reply, shape (max_tokens,)."""
    seed = [sampling.seed, sample, *np.frombuffer(ask.key, "<u4").tolist()]
    return np.random.default_rng(seed).random(sampling.max_tokens)


def _until(reply: Ids, stops: Sequence[int]) -> Ids:
    end = next((place for place, token in enumerate(reply) if token in stops), len(reply) - 1)
    return reply[: end + 1]
