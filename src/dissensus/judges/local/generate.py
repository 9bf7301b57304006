"""Answers of a language model: choice distributions from logits, and sampled replies from its own ``generate``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from dissensus.errors import JudgeError
from dissensus.judges.language.choice_distribution import ChoiceDistribution
from dissensus.judges.language.messages import Ask, Sampling
from dissensus.judges.local.kv_cache import Ids, State
from dissensus.judges.local.load import LanguageModel

_MASS = 1 - 1e-4
"""The most probable tokens are kept until they weigh this much,"""
_LEAST, _MOST = 20, 1024
"""within these numbers of them."""
_NO_NUMBERS = "the model's probabilities are not numbers; try --dtype float32, or check its weights"


def distributions_of(logits: Tensor, prefix: Sequence[int], verdicts: NDArray[np.uint8]) -> list[ChoiceDistribution]:
    """Turn logits into choice distributions.

    Args:
        logits: shape (rows, len(prefix) + 1, vocabulary), where each token of the prefix is predicted, and behind it.
        prefix: the tokens of the prefix.
        verdicts: the code of what each token names behind the prefix, shape (vocabulary,).

    Raises:
        JudgeError: the logits are not numbers.
    """
    logprobs = logits.float().log_softmax(-1)
    if torch.isnan(logprobs).any():
        raise JudgeError(_NO_NUMBERS)
    last = logprobs[:, -1]
    # The lowest probability of a token of the prefix, 0 where one is not the most probable.
    wanted = torch.tensor(prefix, device=logprobs.device)
    found = logprobs[:, :-1].gather(-1, wanted.expand(len(logprobs), -1)[..., None])[..., 0]
    greedy = (logprobs[:, :-1].argmax(-1) == wanted).all(-1)
    forced = torch.where(greedy, found.min(-1).values.double().exp(), 0.0)
    values, tokens = last.topk(min(_MOST, last.shape[-1]))
    labels = np.flatnonzero(verdicts != ord("-"))
    named = last[:, torch.from_numpy(labels).to(last.device)]
    parts = (part.cpu().numpy() for part in (values.double(), tokens, named.double(), forced))
    return [
        _distribution(values, tokens, named, forced, labels, verdicts)
        for values, tokens, named, forced in zip(*parts, strict=True)
    ]


def _distribution(
    values: NDArray[np.float64],
    tokens: NDArray[np.int64],
    named: NDArray[np.float64],
    forced: np.float64,
    labels: NDArray[np.int64],
    verdicts: NDArray[np.uint8],
) -> ChoiceDistribution:
    enough = int(np.searchsorted(np.exp(values).cumsum(), _MASS)) + 1
    top = min(max(enough, _LEAST), len(values))
    others = ~np.isin(labels, tokens[:top])
    ids = np.concatenate([tokens[:top], labels[others]])
    return ChoiceDistribution(
        logprobs=np.concatenate([values[:top], named[others]]),
        verdicts=verdicts[ids].tobytes().decode("ascii"),
        top=top,
        vocabulary=len(verdicts),
        labels_complete=True,
        forced=float(forced),
        tokens=ids,
    )


class GivenDraws(LogitsProcessor):  # type: ignore[misc]
    """Draw the next token of each row by uniform ``numbers`` in [0, 1), shape (rows, steps), and leave no other."""

    def __init__(self, numbers: NDArray[np.float64]) -> None:
        self._numbers = numbers
        self._step = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Keep the drawn token alone; ``scores`` of shape (rows, vocabulary)."""
        exact = torch.float32 if scores.device.type == "mps" else torch.float64
        cumulative = scores.to(exact).softmax(-1).cumsum(-1)
        if torch.isnan(cumulative[:, -1]).any():
            # Any token would be drawn, and a vote counted.
            raise JudgeError(_NO_NUMBERS)
        step = min(self._step, self._numbers.shape[1] - 1)
        self._step += 1
        numbers = torch.from_numpy(self._numbers[:, step]).to(cumulative)
        drawn = torch.searchsorted(cumulative, (numbers * cumulative[:, -1])[:, None], right=True)
        drawn = drawn.clamp(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn, 0.0)


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
        asks: their keys and the numbers of their samples seed the draws.
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
        written = _write(loaded, copies, [unread[row] for row in parents], numbers, sampling)
        for row, reply in zip(parents, written, strict=True):
            replies[row].append(reply)
    return replies


def _write(
    loaded: LanguageModel,
    state: State | None,
    unread: Sequence[Ids],
    numbers: NDArray[np.float64],
    sampling: Sampling,
) -> Iterator[Ids]:
    """Write a reply behind each prompt: temperature, top-p over all tokens, by the library's own code; then a draw."""
    ids = torch.tensor(unread, device=loaded.model.device)
    mask = torch.ones_like(ids)
    draws = LogitsProcessorList()
    if sampling.temperature != 1:
        draws.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_p < 1:
        draws.append(TopPLogitsWarper(sampling.top_p))
    draws.append(GivenDraws(numbers))
    # Greedy, since the draws are made before; nothing of the model's own defaults.
    settings = GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=sampling.max_tokens,
        repetition_penalty=1.0,
        eos_token_id=list(loaded.stops),
        pad_token_id=loaded.stops[0],
        use_cache=True,
    )
    written = loaded.model.generate(
        ids,
        attention_mask=torch.cat([state.mask.long(), mask], dim=1) if state else mask,
        generation_config=settings,
        logits_processor=draws,
        **({"past_key_values": state.cache} if state else {}),
    )
    for reply in written[:, ids.shape[1] :].tolist():
        end = next((place for place, token in enumerate(reply) if token in loaded.stops), len(reply) - 1)
        yield reply[: end + 1]


def _numbers(ask: Ask, sample: int, sampling: Sampling) -> NDArray[np.float64]:
    """Uniform numbers for one reply, shape (max_tokens,)."""
    seed = [sampling.seed, sample, *np.frombuffer(ask.key, "<u4").tolist()]
    return np.random.default_rng(seed).random(sampling.max_tokens)
