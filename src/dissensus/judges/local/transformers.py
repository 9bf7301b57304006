"""A language model in this process, by transformers: on the CPU or an accelerator."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from dissensus.errors import JudgeError
from dissensus.judges.base import JsonObject
from dissensus.judges.language.messages import Answer, Ask, Outcome, Sampling, TooLong, Usage
from dissensus.judges.language.prompt import transcript
from dissensus.judges.language.settings import Dtype
from dissensus.judges.local.chat_format import Rendering
from dissensus.judges.local.generate import distributions_of, generate
from dissensus.judges.local.kv_cache import Batch, Ids, Reader, State, common_beginning, plan_batches
from dissensus.judges.local.load import load_language_model

Asked = list[tuple[Ask, Ids]]
_TOKENS_ON_CPU, _TOKENS_ON_ACCELERATOR = 8192, 65536
_TRUNK = 16
"""A common beginning of all prompts is computed apart if it has at least this many tokens."""


class LocalModel:
    """A causal language model as a `BatchBackend`.

    Choice distributions take one forward pass per ask. Prompts of like length share a batch, and prompts that begin
    alike (the template's instructions; the pair's prompt, in both orders) share the computation of that beginning.
    Replies come from the library's own ``generate``; each draws its own numbers, from the seed, the ask's key and the
    reply's number, so what else is in a batch does not matter, up to rounding in a probability's last bits.

    Args:
        model: a folder or a Hub id.
        revision: of a Hub id; the commit it names becomes part of the identity.
        device: ``cuda``, ``cpu``, …; ``auto`` spreads the layers over all; by default the accelerator of this machine.
        dtype: ``auto`` is that of the weights, or float32 where the processor would emulate it.
        tokens_per_batch: padding counted; halved, for good, when an accelerator runs out of memory.
        share: compute common beginnings once.

    Raises:
        InputError: there is no such model, or it is no causal language model.
        JudgeError: its chat template does not take a single user message.
    """

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        device: str | None = None,
        dtype: Dtype = "auto",
        tokens_per_batch: int | None = None,
        share: bool = True,
    ) -> None:
        self._loaded = load_language_model(model, revision=revision, device=device, dtype=dtype)
        self._reader = Reader(self._loaded.model)
        self._rendering = Rendering(self._loaded.tokenizer)
        self.identity: JsonObject = {**self._loaded.identity, "rendering": self._rendering.identity}
        """What decides the answers: the model's content or commit, its precision, and how prompts are rendered."""
        self.context = self._loaded.context
        """Tokens that fit into a prompt with its reply; None where neither configuration nor tokenizer says."""
        self._share = share
        on_cpu = self._loaded.model.device.type == "cpu"
        self.tokens_per_batch = tokens_per_batch or (_TOKENS_ON_CPU if on_cpu else _TOKENS_ON_ACCELERATOR)

    def answer(self, asks: Sequence[Ask], sampling: Sampling | None) -> Iterator[Outcome]:
        """Read (``sampling=None``) or sample replies, batch by batch; prompts over the context are not asked.

        Raises:
            JudgeError: choice distributions are impossible with this tokenizer, or it is another model's, the model's
                probabilities are not numbers, or a single prompt does not fit into memory.
        """
        prefix = [] if sampling else self._rendering.prefix
        reserved = sampling.max_tokens if sampling else len(prefix)
        fitting: Asked = []
        rows = int(self._loaded.model.get_input_embeddings().weight.shape[0])
        for ask, ids in zip(asks, self._rendering.encode([ask.prompt for ask in asks]), strict=True):
            if max(ids) >= rows:
                raise JudgeError(
                    f"the tokenizer gives token {max(ids)} and the model's table of embeddings has {rows} rows; give "
                    "the model's own tokenizer"
                )
            if self.context is not None and len(ids) + reserved > self.context:
                yield TooLong(ask, len(ids) + reserved, self.context)
            else:
                fitting.append((ask, [*ids, *prefix]))
        if sampling:
            yield from self._in_batches(fitting, functools.partial(self._sample, sampling), tail=2)
        else:
            yield from self._in_batches(fitting, self._read, tail=len(prefix) + 1)

    def _in_batches(
        self,
        asked: Asked,
        compute: Callable[[Asked, Batch, State | None], list[Answer]],
        *,
        tail: int,
    ) -> Iterator[Answer]:
        """Compute batch after batch, in smaller ones from where memory runs out."""
        rows = [ids for _, ids in asked]
        shares = self._share and bool(rows) and self._reader.shares(max(map(len, rows)))
        trunk: State | None = None
        if shares and len(rows) > 1 and (length := common_beginning(rows, tail=tail)) >= _TRUNK:
            with torch.inference_mode():
                _, trunk = self._reader.read([rows[0][:length]])
        while asked:
            alike = [(ask.persona, transcript(ask.pair.prompt)) for ask, _ in asked]
            batches = plan_batches(
                [ids for _, ids in asked],
                alike if shares else range(len(asked)),
                budget=0 if self._reader.recurrent else self.tokens_per_batch,
                tail=tail,
                trunk=trunk.mask.shape[1] if trunk else 0,
            )
            done: set[int] = set()
            for batch in batches:
                try:
                    with torch.inference_mode():
                        answers = compute(asked, batch, trunk)
                except torch.OutOfMemoryError as error:
                    self._shrink(batch, asked, error)
                    break
                done.update(batch.rows)
                yield from answers
            asked = [row for index, row in enumerate(asked) if index not in done]

    def _shrink(self, batch: Batch, asked: Asked, error: RuntimeError) -> None:
        rows = [asked[row][1] for row in batch.rows]
        longest = max(map(len, rows))
        if len(rows) == 1 and self.tokens_per_batch <= longest:
            raise JudgeError(
                f"a prompt of {longest} tokens does not fit into the accelerator's memory; use a smaller model or "
                "--dtype bfloat16"
            ) from error
        self.tokens_per_batch = (self.tokens_per_batch if len(rows) == 1 else longest * len(rows)) // 2
        torch.cuda.empty_cache()

    def _read(self, asked: Asked, batch: Batch, trunk: State | None) -> list[Answer]:
        prefix = self._rendering.prefix
        logits, _ = self._reader.read_batch([ids for _, ids in asked], batch, trunk=trunk, keep=len(prefix) + 1)
        distributions = distributions_of(logits, prefix, self._verdicts)
        rows = [asked[row] for row in batch.rows]
        return [
            Answer(ask, distribution=distribution, usage=Usage(len(ids)))
            for (ask, ids), distribution in zip(rows, distributions, strict=True)
        ]

    @functools.cached_property
    def _verdicts(self) -> NDArray[np.uint8]:
        return self._rendering.verdicts(self._loaded.vocabulary)

    def _sample(self, sampling: Sampling, asked: Asked, batch: Batch, trunk: State | None) -> list[Answer]:
        rows = [asked[row] for row in batch.rows]
        if self._reader.recurrent:
            # A carried state cannot be handed on to several replies; such rows stand alone in their batch.
            state, unread = None, [ids for _, ids in rows]
        else:
            _, state = self._reader.read_batch([ids[:-1] for _, ids in asked], batch, trunk=trunk)
            unread = [ids[-1:] for _, ids in rows]
        longest = max(len(ids) for _, ids in rows) + sampling.max_tokens
        at_once = max(self.tokens_per_batch // longest, 1)
        replies = generate(self._loaded, state, unread, [ask for ask, _ in rows], sampling, at_once=at_once)
        return [
            Answer(
                ask,
                tuple(self._rendering.reply(reply) for reply in own),
                usage=Usage(len(ids), sum(map(len, own))),
                cut=tuple(reply[-1] not in self._loaded.stops for reply in own),
            )
            for (ask, ids), own in zip(rows, replies, strict=True)
        ]
