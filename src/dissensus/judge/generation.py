"""Sampled replies: the library's own ``generate``, from prompts that were read once, with every setting explicit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import GenerationConfig, LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

from dissensus.judge.ask import Ask, Sampling
from dissensus.judge.batches import Ids
from dissensus.judge.loading import LanguageModel
from dissensus.judge.logits import GivenDraws
from dissensus.judge.passes import State


def generate(
    loaded: LanguageModel, state: State, last: Sequence[int], asks: Sequence[Ask], sampling: Sampling
) -> list[list[Ids]]:
    """Sample the replies that each ask wants; token ids up to and with the one that ends the reply.

    Args:
        loaded: the model.
        state: the prompts without their last tokens, one for each ask.
        last: the last tokens.
        asks: what is asked; their keys and the numbers of their samples seed the draws.
        sampling: the settings.
    """
    parents = [row for row, ask in enumerate(asks) for _ in ask.samples]
    copies = state.select(parents)
    device = state.mask.device
    opening = torch.tensor([[last[row]] for row in parents], device=device)
    written = loaded.model.generate(
        opening,
        attention_mask=torch.cat([copies.mask, torch.ones_like(copies.mask[:, :1])], dim=1).long(),
        past_key_values=copies.cache,
        generation_config=_settings(loaded, sampling.max_tokens),
        logits_processor=_draws(asks, sampling),
    )
    replies = iter([_until(reply, loaded.stops) for reply in written[:, 1:].tolist()])
    return [[next(replies) for _ in ask.samples] for ask in asks]


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


def _draws(asks: Sequence[Ask], sampling: Sampling) -> LogitsProcessorList:
    """Temperature, then top-p over all tokens, by the library's own code; then a draw."""
    draws = LogitsProcessorList()
    if sampling.temperature != 1:
        draws.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_p < 1:
        draws.append(TopPLogitsWarper(sampling.top_p))
    numbers = [_numbers(ask, sample, sampling) for ask in asks for sample in ask.samples]
    draws.append(GivenDraws(np.stack(numbers)))
    return draws


def _numbers(ask: Ask, sample: int, sampling: Sampling) -> NDArray[np.float64]:
    """Uniform numbers for one reply, shape (max_tokens,)."""
    seed = [sampling.seed, sample, *np.frombuffer(ask.key, "<u4").tolist()]
    return np.random.default_rng(seed).random(sampling.max_tokens)


def _until(reply: Ids, stops: Sequence[int]) -> Ids:
    end = next((place for place, token in enumerate(reply) if token in stops), len(reply) - 1)
    return reply[: end + 1]
