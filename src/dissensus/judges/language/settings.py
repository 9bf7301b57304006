"""Language models in this process or behind a server, as kinds of judges."""

from __future__ import annotations

import importlib.util
import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    model_validator,
)

from dissensus.errors import ConfigError, InputError, MissingDependencyError
from dissensus.judges.base import Estimate, JsonObject, JudgeSettings, Material, Mode, Orders, VoteKind, in_words
from dissensus.settings import Option, Reads, Settings

if TYPE_CHECKING:
    from dissensus.judges.job import AskingOptions
    from dissensus.judges.language.messages import BatchBackend, Sampling, ServerBackend
    from dissensus.judges.runner import Pairs, ReadyJudge
    from dissensus.judges.server.capabilities import ServerProfile
    from dissensus.judges.server.http import Endpoint

Api = Literal["chat", "completions"]
Dtype = Literal["auto", "float32", "bfloat16"]
_Persona = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

TINY = "tiny"
"""The name of a tiny model that is made on the spot (see tiny.py)."""
_REPLY_TOKENS = 5
_OF_BACKENDS: JsonObject = {
    "device": None,
    "dtype": "auto",
    "base_url": None,
    "api": "chat",
    "key_variable": "OPENAI_API_KEY",
    "context": None,
    "timeout": 300.0,
    "concurrency": 256,
    "price_prompt": 0.0,
    "price_reply": 0.0,
    "max_cost": None,
}
"""Settings that each language model had before each kind had its own, as they stand in the folders of such runs."""
_DECIDING = ("dtype", "base_url", "api", "context")


class LanguageSettings(Settings):
    """How a language model is asked: the paper's way unless said otherwise."""

    model: Annotated[str, Reads("model")]
    """A folder, a Hub id or, for judge local, a GGUF file."""
    revision: str | None = None
    """Of a Hub id."""
    template: Annotated[str, Reads("model")] = "paper"
    """paper, people, share (what share of people prefers A) or a text file with {prompt}, {answer_0}, {answer_1} and,
    if you like, {persona}."""
    personas: Annotated[tuple[_Persona, ...], Option("--persona")] = ()
    """A line such as 'You are a nurse in Manila.', one for each person; several take turns."""
    deal: Annotated[Literal["cells", "pairs"], Option(is_hidden=True)] = "cells"
    """How a pair's judgments are dealt to personas and orders. ``cells``: each persona once, in orders that alternate,
    then each in its other order. ``pairs``: each in both orders before the next, as stores of version 0.1 have it."""
    order: Orders = "both"
    """Which response is shown first; ``both`` splits the judgments of a pair evenly."""
    mode: Mode = "sample"
    """Sampled replies, or probabilities read off the model."""
    n: PositiveInt = 10
    """Judgments per pair."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the replies, or of the draws."""
    top_p: float = Field(default=0.9, gt=0, le=1)
    """Of the replies, or of the draws."""
    max_tokens: PositiveInt = 16
    """Of a reply, such as `Choice: A` or `Share: 70`; more where a template asks for reasons first."""
    seed: int = Field(default=0, ge=0)
    """Of the replies, or of the draws."""

    @model_validator(mode="after")
    def _enough_judgments(self) -> Self:
        if len(set(self.personas)) < len(self.personas):
            raise ValueError("personas repeat")
        if self.n < len(self.personas):
            raise ValueError(f"n = {self.n} gives not every one of the {len(self.personas)} personas a judgment")
        return self

    @property
    def sampling(self) -> Sampling:
        """How replies are sampled."""
        from dissensus.judges.language.messages import Sampling

        return Sampling(self.temperature, self.top_p, self.max_tokens, self.seed)


class ModelSettings(LanguageSettings, JudgeSettings):
    """A language model that is asked here and now, wherever it runs."""

    costs = takes_templates = True

    persona_file: Annotated[Path | None, Reads("file")] = None
    """Personas, one a line, after those that are named."""
    votes: Annotated[VoteKind, Option(is_hidden=True)] = "drawn"
    """What margins are made of in mode exact: n drawn votes, the mean over such draws, or the limit of many."""
    force_prefix: bool = False
    """Stay in mode exact where the model would not surely begin with 'Choice:'."""
    take_over: bool = False
    """Count unfinished runs of other hosts as dead."""

    @model_validator(mode="before")
    @classmethod
    def _without_others(cls, data: Any) -> Any:
        """Pass over the settings of other kinds as they are by default: older runs have them all."""
        if not isinstance(data, Mapping):
            return data
        strange = {name for name in _OF_BACKENDS if name in data and name not in cls.model_fields}
        return {name: value for name, value in data.items() if name not in strange or value != _OF_BACKENDS[name]}

    @abstractmethod
    def backend(self) -> tuple[BatchBackend | ServerBackend, str]:
        """Load the model, or probe the server that has it; returns it with the model's name.

        Raises ConfigError without an address, InputError where there is no such model, JudgeError where a server is not
        there, refuses the key or cannot do what is wanted, MissingDependencyError without the extra.
        """

    def asking(self, *, progress: bool) -> AskingOptions:
        """Say how it is asked."""
        from dissensus.judges.job import AskingOptions

        return AskingOptions(force_prefix=self.force_prefix, take_over=self.take_over, progress=progress)

    def engine(self) -> JsonObject:
        """Say where it runs, in which precision, and how many pairs are planned, or requests sent, at once."""
        from dissensus.judges.job import WINDOW

        return {
            "engine": self.name,
            "model": self.model,
            "dtype": getattr(self, "dtype", None),
            "batch": getattr(self, "concurrency", WINDOW),
        }

    def prepare(self, pairs: Pairs, material: Material) -> ReadyJudge:
        """Load the model, or find its server; the pairs are looked at as they are asked about."""
        from dissensus.judges.language.plan import LanguageJudge
        from dissensus.judges.language.prompt import load_template
        from dissensus.judges.runner import LoadedModel

        asked = self.language()  # what is wrong with it shows before anything is loaded or paid for
        template = load_template(asked.template, mode=asked.mode)
        options = self.asking(progress=material.progress)
        backend, model = self.backend()
        judge = LanguageJudge(asked.model_copy(update={"model": model}), backend.identity, template=template)
        return LoadedModel(judge, backend, options)

    def language(self) -> LanguageSettings:
        """Return how it is asked, apart from where it runs; with the personas of a file."""
        values = self.model_dump(include=set(LanguageSettings.model_fields))
        return LanguageSettings(**values | {"personas": self.everybody()})

    def everybody(self) -> tuple[str, ...]:
        """List the personas, those of a file included."""
        if self.persona_file is None:
            return self.personas
        file = self.persona_file
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except OSError as error:
            raise InputError(f"--persona-file {file}: cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise InputError(f"--persona-file {file}: is not UTF-8 text ({error}); save it as UTF-8") from error
        return (*self.personas, *filter(None, map(str.strip, lines)))

    def recalled_with(self, stored: Mapping[str, Any]) -> JsonObject:
        """Recall what was planned with these settings; choice distributions are drawn from at these, too."""
        changeable = ("temperature", "top_p", "seed") if stored["mode"] == "exact" else ()
        return {name: getattr(self, name) for name in ("n", "order", *changeable)} | {"personas": self.everybody()}

    def deciding(self) -> JsonObject:
        """Return what decides the answers and what margins are made of; how it is asked, and what it costs, do not."""
        own = self.model_dump(mode="json", include={"name", "votes", *_DECIDING, *LanguageSettings.model_fields})
        forced = {"force_prefix": True} if self.force_prefix else {}
        return _OF_BACKENDS | own | {"personas": list(self.everybody())} | forced

    def content(self, sources: Sequence[str]) -> list[str]:
        """Hash the model, where it is a folder, and the template, where it is a file."""
        from dissensus.files import content_of
        from dissensus.judges.language.prompt import templates

        template = "" if self.template in templates() else content_of(self.template) or ""
        return [content_of(self.model) or "", template]

    def estimate(self, pairs: int, prompt_tokens: float) -> Estimate:
        """Count prompts, replies and tokens."""
        shown = (2 if self.order == "both" else 1) * max(1, len(self.everybody()))
        prompts = asked = pairs * min(self.n, shown)
        read, written, what = prompts * prompt_tokens, float(asked), "choice distributions of one forward pass"
        if self.mode == "sample":
            asked, what = pairs * self.n, f"replies to {prompts:,} prompts (as many requests where n is supported)"
            written = float(asked * _REPLY_TOKENS)
        price = self.asking(progress=False).price
        dollars = (read * price.prompt + written * price.completion) / 1e6
        details = [f"tokens read {in_words(read)}, written {in_words(written)}; votes per pair {self.n}"]
        if dollars:
            details.append(f"cost ${dollars:,.2f} at ${price.prompt}/${price.completion} per million tokens")
        return Estimate(
            f"{self.called()} ({self.name}), {pairs:,} pairs, {asked:,} {what}", details, asked, read, written, dollars
        )

    def vote_kind(self) -> VoteKind:
        """Say what margins are made of: of shares their mean, whatever ``votes`` says."""
        from dissensus.judges.language.prompt import load_template

        return "limit" if load_template(self.template).asks_for_shares else self.votes

    def called(self) -> str:
        """Return the model's name."""
        return self.model or self.name


class LocalSettings(ModelSettings):
    """A language model in this process (transformers)."""

    takes_gpu = True

    name: Literal["local"] = "local"
    device: str | None = None
    """cuda, cpu, …; this machine's accelerator unless given."""
    dtype: Dtype = "auto"
    """The precision; auto is the weights' own, or float32 where the processor only emulates it."""

    def backend(self) -> tuple[BatchBackend, str]:
        """Load the model."""
        for package in ("torch", "transformers"):
            if importlib.util.find_spec(package) is None:
                raise MissingDependencyError(package, extra="train", need="the judge local")
        from dissensus.judges.local.tiny import tiny_model
        from dissensus.judges.local.transformers import LocalModel

        is_tiny = self.model == TINY and not Path(self.model).exists()
        folder = str(tiny_model()) if is_tiny else self.model
        return LocalModel(folder, revision=self.revision, device=self.device, dtype=self.dtype), self.model


class VllmSettings(ModelSettings):
    """A language model in this process (vLLM)."""

    takes_gpu = True

    name: Literal["vllm"] = "vllm"
    dtype: Dtype = "auto"
    """The precision; auto is the weights' own."""

    def backend(self) -> tuple[BatchBackend, str]:
        """Load the model."""
        from dissensus.judges.local.vllm import VllmModel

        return VllmModel(self.model, revision=self.revision, dtype=self.dtype), self.model


def _parse_price(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    prompt, _, reply = value.partition("/")
    try:
        return float(prompt), float(reply)
    except ValueError as error:
        raise ValueError(f"{value} is no two prices; give dollars per million tokens, such as 0.5/1.5") from error


_Price = Annotated[tuple[NonNegativeFloat, NonNegativeFloat], BeforeValidator(_parse_price)]


class ServerSettings(ModelSettings):
    """A language model behind an OpenAI-compatible server."""

    groups: ClassVar = {
        "Server": ("base_url", "api", "key_variable", "context", "timeout", "refresh_probe"),
        "Limits and cost": (
            *("concurrency", "rpm", "tpm", "price", "max_cost", "patience", "retries", "ask_refused", "take_over"),
        ),
    }

    name: Literal["server"] = "server"
    model: Annotated[str, Reads("model")] = ""
    """The server's name for it; its only one unless given."""
    base_url: str | None = None
    """Such as http://127.0.0.1:8000/v1."""
    api: Api = "chat"
    """The path that is asked."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key."""
    context: PositiveInt | None = None
    """Tokens that its model holds, where it does not say."""
    timeout: PositiveFloat = 300.0
    """Seconds until an answer must be whole."""
    concurrency: PositiveInt = 256
    """Requests in flight at most."""
    rpm: PositiveFloat | None = None
    """Requests per minute at most."""
    tpm: PositiveFloat | None = None
    """Tokens per minute at most."""
    price: Annotated[_Price, Option(default="free", metavar="PROMPT/REPLY")] = (0.0, 0.0)
    """Dollars per million tokens of prompt and reply, such as 0.5/1.5."""
    max_cost: NonNegativeFloat | None = None
    """Stop before this judge has cost so many dollars in this store."""
    patience: NonNegativeFloat = 600.0
    """Seconds that the server may be gone, or too busy to answer."""
    retries: NonNegativeInt = 5
    """How often a failed request is repeated."""
    ask_refused: bool = False
    """Ask again what it refused in an earlier run."""
    refresh_probe: bool = False
    """Probe it even if it is known."""

    @model_validator(mode="before")
    @classmethod
    def _prices_in_one(cls, data: Any) -> Any:
        """Take the two prices as studies of version 0.1 write them."""
        if not isinstance(data, Mapping) or not data.keys() & {"price_prompt", "price_reply"}:
            return data
        rest = dict(data)
        return {"price": (rest.pop("price_prompt", 0.0), rest.pop("price_reply", 0.0)), **rest}

    @model_validator(mode="after")
    def _costs_something(self) -> Self:
        if self.max_cost is not None and not any(self.price):
            raise ValueError("max_cost: nothing costs anything without a price; give one such as price: 0.5/1.5")
        return self

    def asking(self, *, progress: bool) -> AskingOptions:
        """Say how it is asked."""
        from dissensus.judges.job import AskingOptions
        from dissensus.judges.store.attempts import Price

        same = {"concurrency", "max_cost", "patience", "retries", "force_prefix", "ask_refused", "take_over"}
        return AskingOptions(
            requests_per_minute=self.rpm,
            tokens_per_minute=self.tpm,
            price=Price(*self.price),
            progress=progress,
            **self.model_dump(include=same),
        )

    def for_workers(self, count: int) -> Self:
        """Give each worker its share of the rates; what all of them cost is counted nowhere at once."""
        if self.max_cost is not None:
            raise ConfigError(
                "--max-cost: is counted in one store, and workers on a cluster have one each; judge with --part, whose "
                "parts count their own, or in a store that all share (--store postgresql://…), without --engine ray"
            )
        shares = {name: getattr(self, name) / count for name in ("rpm", "tpm") if getattr(self, name) is not None}
        return self.model_copy(update={**shares, "concurrency": max(1, self.concurrency // count)})

    def backend(self) -> tuple[ServerBackend, str]:
        """Probe the server, unless it is known."""
        from dissensus.judges.server.backend import Server

        profile = self.probe(refresh=self.refresh_probe)
        if self.context is not None:
            profile = profile.model_copy(update={"context": self.context})
        profile.check(exact=self.mode == "exact", sampling=self.sampling)
        return Server(self._endpoint(), profile, revision=self.revision), profile.model

    def probe(self, *, refresh: bool = False) -> ServerProfile:
        """Find out what the server supports, or read what an earlier probe found. Raises ConfigError and JudgeError."""
        from dissensus.event_loops import run_async
        from dissensus.judges.server.probe import cached_probe
        from dissensus.judges.server.rate_limits import Breaker

        breaker = Breaker(self.patience, say=lambda line: print(line, file=sys.stderr))  # noqa: T201

        async def ask() -> ServerProfile:
            async with self._endpoint() as endpoint:
                return await cached_probe(endpoint, self.model or None, api=self.api, refresh=refresh, breaker=breaker)

        return run_async(ask())

    def _endpoint(self) -> Endpoint:
        from dissensus.judges.server.http import Endpoint

        if self.base_url is None:
            raise ConfigError("judge server: no address; give one such as --base-url http://127.0.0.1:8000/v1")
        return Endpoint(self.base_url, key_variable=self.key_variable, timeout=self.timeout)
