"""A language model in this process, by vLLM."""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import InputError, MissingDependencyError
from dissensus.judges.base import JsonObject
from dissensus.judges.language.choice_distribution import ChoiceDistribution
from dissensus.judges.language.messages import Answer, Ask, Outcome, Sampling, TooLong, Usage
from dissensus.judges.language.settings import Dtype
from dissensus.judges.local.chat_format import Rendering
from dissensus.judges.local.load import context_of, load_parts

_TOP = 20
"""Log-probabilities asked for, the most that vLLM gives unless told otherwise."""
_ASKS_AT_ONCE = 512
"""Answers are handed on after so many: vLLM returns when all that it was given is done."""

Ids = list[int]


class VllmModel:
    """A causal language model (a folder or a Hub id) served by vLLM in this process, as a `BatchBackend`.

    A choice distribution is a greedy run over the prefix and one token more, which certifies the prefix. Where the
    model writes something else, the prefix is given and one token is asked for. Each reply is a request with a seed of
    its own, from the seed, the ask's key and the reply's number; vLLM does not promise the same reply in another batch.

    ``settings`` are more arguments of ``vllm.LLM``, such as ``tensor_parallel_size``; the rest is as in `LocalModel`.

    Raises:
        InputError: there is no such model, or it is no causal language model.
        JudgeError: its chat template does not take a single user message.
        MissingDependencyError: vllm is not installed.
    """

    def __init__(self, model: str, *, revision: str | None = None, dtype: Dtype = "auto", **settings: Any) -> None:
        if importlib.util.find_spec("vllm") is None:
            raise MissingDependencyError("vllm", extra="vllm", need="the judge vllm")
        from vllm import LLM

        config, tokenizer, origin = load_parts(model, revision=revision)
        self._rendering = Rendering(tokenizer)
        self._vocabulary = int(config.get_text_config(decoder=True).vocab_size)
        limits = (context_of(config, tokenizer), settings.get("max_model_len"))
        self.context: int | None = min((limit for limit in limits if limit), default=None)
        """Tokens that fit into a prompt with its reply."""
        try:
            self._engine = LLM(
                model=model,
                revision=origin.get("revision"),
                dtype=dtype,
                generation_config="vllm",
                logprobs_mode="raw_logprobs",
                enable_prefix_caching=True,
                **settings,
            )
        except (OSError, ValueError) as error:
            raise InputError(f"--model {model}: vLLM cannot load it ({str(error).strip().splitlines()[0]})") from error
        precision = str(self._engine.model_config.dtype).removeprefix("torch.")
        self.identity: JsonObject = {
            **origin,
            "dtype": precision,
            "rendering": self._rendering.identity,
            "engine": "vllm",
        }
        """What decides the answers: the model's content or commit, its precision, and how prompts are rendered."""

    def answer(self, asks: Sequence[Ask], sampling: Sampling | None) -> Iterator[Outcome]:
        """Read (``sampling=None``) or sample replies; prompts over the context are not asked.

        Raises:
            JudgeError: choice distributions are impossible with this tokenizer.
        """
        reserved = sampling.max_tokens if sampling else len(self._rendering.prefix) + 1
        for start in range(0, len(asks), _ASKS_AT_ONCE):
            part = asks[start : start + _ASKS_AT_ONCE]
            fitting: list[tuple[Ask, Ids]] = []
            for ask, ids in zip(part, self._rendering.encode([ask.prompt for ask in part]), strict=True):
                if self.context is not None and len(ids) + reserved > self.context:
                    yield TooLong(ask, len(ids) + reserved, self.context)
                else:
                    fitting.append((ask, ids))
            yield from self._sample(fitting, sampling) if sampling else self._read(fitting)

    def _read(self, asked: list[tuple[Ask, Ids]]) -> Iterator[Answer]:
        prefix = self._rendering.prefix
        runs = self._run([ids for _, ids in asked], [_greedy(len(prefix) + 1)] * len(asked))
        strays = [row for row, run in enumerate(runs) if list(run.token_ids[:-1]) != prefix]
        led = self._run([asked[row][1] + prefix for row in strays], [_greedy(1)] * len(strays))
        instead = dict(zip(strays, led, strict=True))
        for row, ((ask, ids), run) in enumerate(zip(asked, runs, strict=True)):
            steps = zip(prefix, run.logprobs, strict=False)
            forced = 0.0 if row in instead else math.exp(min(seen[token].logprob for token, seen in steps))
            behind = {token: entry.logprob for token, entry in instead.get(row, run).logprobs[-1].items()}
            yield Answer(
                ask,
                distribution=_distribution(behind, forced, self._verdicts),
                usage=Usage(len(ids), len(run.token_ids)),
            )

    def _sample(self, asked: list[tuple[Ask, Ids]], sampling: Sampling) -> Iterator[Answer]:
        settings = {"temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": sampling.max_tokens}
        wanted = [(ask, ids, sample) for ask, ids in asked for sample in ask.samples]
        seeds = [settings | {"seed": _seed(ask, sample, sampling)} for ask, _, sample in wanted]
        runs = iter(self._run([ids for _, ids, _ in wanted], seeds))
        for ask, ids in asked:
            own = [next(runs) for _ in ask.samples]
            written = sum(len(run.token_ids) for run in own)
            replies = tuple(self._rendering.reply(list(run.token_ids)) for run in own)
            cut = tuple(run.finish_reason == "length" for run in own)
            yield Answer(ask, replies, usage=Usage(len(ids), written), cut=cut)

    def _run(self, prompts: list[Ids], settings: list[JsonObject]) -> list[Any]:
        """Write one completion for each prompt, with every sampling parameter explicit."""
        from vllm import SamplingParams

        neutral = {"n": 1, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
        neutral |= {"presence_penalty": 0.0, "frequency_penalty": 0.0, "detokenize": False}
        outputs = self._engine.generate(
            [{"prompt_token_ids": ids} for ids in prompts],
            [SamplingParams(**(neutral | own)) for own in settings],
            use_tqdm=False,
        )
        return [output.outputs[0] for output in outputs]

    @functools.cached_property
    def _verdicts(self) -> NDArray[np.uint8]:
        return self._rendering.verdicts(self._vocabulary)


def _greedy(max_tokens: int) -> JsonObject:
    return {"temperature": 0.0, "logprobs": _TOP, "max_tokens": max_tokens}


def _distribution(logprobs: dict[int, float], forced: float, verdicts: NDArray[np.uint8]) -> ChoiceDistribution:
    tokens = np.array(sorted(logprobs, key=lambda token: -logprobs[token]), dtype=np.int64)
    return ChoiceDistribution(
        logprobs=np.array([logprobs[token] for token in tokens.tolist()]),
        verdicts=verdicts[tokens].tobytes().decode("ascii"),
        top=len(tokens),
        vocabulary=len(verdicts),
        labels_complete=bool(np.isin(np.flatnonzero(verdicts != ord("-")), tokens).all()),
        forced=forced,
        tokens=tokens,
    )


def _seed(ask: Ask, sample: int, sampling: Sampling) -> int:
    words = [sampling.seed, sample, *np.frombuffer(ask.key, "<u4").tolist()]
    return int(np.random.SeedSequence(words).generate_state(1)[0])
