"""A language model as the judge: what is asked of it about a pair, and under which name its answers are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, StringConstraints, model_validator

from dissensus.hashing import framed_digest, short_digest
from dissensus.judge.language.messages import Ask, Mode, Sampling
from dissensus.judge.language.prompt import Template, load_template
from dissensus.judge.store.store import JudgmentStore, content_key, content_of
from dissensus.records import Order, Pair

Orders = Literal["ab", "ba", "both"]


class LanguageConfig(BaseModel):
    """How a language model is asked: the paper's way unless said otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    revision: str | None = None
    template: str = "paper"
    """The name of a shipped template or a text file."""
    personas: tuple[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)], ...] = ()
    """Lines such as ``You are a nurse in Manila.``, one person each: a population in turn, not in one voice."""
    deal: Literal["cells", "pairs"] = "cells"
    """How a pair's judgments are dealt where there are personas and both orders. ``cells``: the first n personas are
    asked once each, in orders that alternate, then each in its other order. ``pairs``: each persona in both orders
    before the next, as stores of version 0.1 have it; fewer than 2n judgments leave personas out."""
    order: Orders = "both"
    """Which response is shown first; ``both`` splits the judgments of a pair evenly."""
    mode: Mode = "sample"
    n: PositiveInt = 10
    """Judgments per pair."""
    temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_tokens: PositiveInt = 16
    """Of a reply, which is `Choice: A` or `Choice: B`; more where a template asks for reasons first."""
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _enough_judgments(self) -> Self:
        if len(set(self.personas)) < len(self.personas):
            raise ValueError("personas repeat")
        if self.n < len(self.personas):
            raise ValueError(f"n = {self.n} gives not every one of the {len(self.personas)} personas a judgment")
        return self

    @property
    def is_dealt_by_cells(self) -> bool:
        """Whether ``deal`` makes a difference, and is not that of version 0.1."""
        return self.deal == "cells" and self.order == "both" and bool(self.personas)

    @property
    def sampling(self) -> Sampling:
        """How replies are sampled."""
        return Sampling(self.temperature, self.top_p, self.max_tokens, self.seed)


class Planned(NamedTuple):
    """One of a pair's n judgments: its number, and what it is asked under."""

    sample: int
    order: Order
    persona: str


class LanguageJudge:
    """A model with a template, personas and a way of asking; names keys and asks.

    Args:
        config: the settings.
        identity: what decides the model's answers to a prompt (see `Backend.identity`).
        template: the prompt; that of the settings by default.
        names_personas: whether the personas are part of the name. They are, but in stores that were begun before.
    """

    by_content = True
    """It sees texts alone: pairs of the same texts share their answers."""

    def __init__(
        self,
        config: LanguageConfig,
        identity: dict[str, Any],
        *,
        template: Template | None = None,
        names_personas: bool = True,
    ) -> None:
        self.config = config
        self.identity = identity
        self.template = template or load_template(config.template)
        self.names_personas = names_personas
        self.name = f"{_slug(config.model)}-{self._digest()}"

    def with_mode(self, mode: Mode, **changes: Any) -> LanguageJudge:
        """Return the same judge asked in another mode, or with other settings."""
        config = LanguageConfig.model_validate({**self.config.model_dump(), "mode": mode, **changes})
        return LanguageJudge(config, self.identity, template=self.template, names_personas=self.names_personas)

    def as_begun(self, store: JudgmentStore) -> LanguageJudge:
        """Return the judge as a store has it: where an older version has asked it, with the plan and the name of then.

        Names had no personas then, so one that other personas were asked under is another judge's.
        """
        if not self.config.personas or store.settings(self.name):
            return self
        unnamed = LanguageJudge(self.config, self.identity, template=self.template, names_personas=False)
        for deal in dict.fromkeys((self.config.deal, "pairs")):  # the only one that version 0.1 knew
            older = unnamed.with_mode(self.config.mode, deal=deal)
            begun = store.settings(older.name).get("config", {})
            if begun.get("deal", "pairs") == deal and begun.get("personas") == list(self.config.personas):
                return older
        return self

    def settings(self) -> dict[str, Any]:
        """List everything about the judge, JSON-able, as the store keeps it."""
        return {
            "by_content": True,
            "mode": self.config.mode,
            "config": self.config.model_dump(mode="json"),
            "identity": self.identity,
            "template": {"name": self.template.name, "text": self.template.text},
            "names_personas": self.names_personas,
        }

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> LanguageJudge:
        """Rebuild the judge that `settings` describes."""
        template = Template(settings["template"]["name"], settings["template"]["text"])
        config = LanguageConfig.model_validate({"deal": "pairs", **settings["config"]})  # a store of version 0.1
        named = settings.get("names_personas", False)
        return cls(config, settings["identity"], template=template, names_personas=named)

    def keys(self, pair: Pair) -> list[bytes]:
        """Name what is wanted of a pair: n judgments, or a reading for each order and persona."""
        content = content_of(pair)
        if self.config.mode == "exact":
            return [self.reading_key(content, order, persona) for order, persona in self.views(content)]
        return [self.sample_key(content, planned) for planned in self.plan(content)]

    def asks(self, pair: Pair, missing: set[bytes]) -> Iterator[Ask]:
        """Make one ask for each order and persona that has something missing; the two orders follow each other."""
        content = content_of(pair)
        wanted: dict[tuple[Order, str], list[int]] = {}
        if self.config.mode == "exact":
            for order, persona in self.views(content):
                if (key := self.reading_key(content, order, persona)) in missing:
                    yield Ask(key, pair, order, self.template.render(pair, order, persona), persona, keys=(key,))
            return
        for planned in self.plan(content):
            if self.sample_key(content, planned) in missing:
                wanted.setdefault((planned.order, planned.persona), []).append(planned.sample)
        for (order, persona), samples in sorted(wanted.items(), key=lambda item: (item[0][1], item[0][0])):
            yield self.ask_for(pair, order, persona, tuple(samples))

    def ask_for(self, pair: Pair, order: Order, persona: str, samples: tuple[int, ...]) -> Ask:
        """Make the ask for some replies of one order and persona."""
        content = content_of(pair)
        key = framed_digest(self.name, content, order, persona, *map(str, samples))
        keys = tuple(self.sample_key(content, Planned(sample, order, persona)) for sample in samples)
        return Ask(key, pair, order, self.template.render(pair, order, persona), persona, samples, keys)

    def plan(self, content: str) -> list[Planned]:
        """Deal a pair's n judgments to orders and personas, evenly, and the same whatever n is.

        Every persona is asked before one is asked again, and in both orders before it is asked a third time. Where n is
        odd, the order that gets one more is a matter of the pair's hash, so that neither is favoured.
        """
        personas: Sequence[str] = self.config.personas or ("",)
        if self.config.order != "both":
            order = _ORDERS[self.config.order == "ba"]
            return [Planned(i, order, personas[i % len(personas)]) for i in range(self.config.n)]
        first = int(content[0], 16) % 2
        if self.config.deal == "pairs":
            return [
                Planned(i, _ORDERS[(i + first) % 2], personas[i // 2 % len(personas)]) for i in range(self.config.n)
            ]
        # Of an even number of personas each would come in one order alone; every second round swaps them.
        rounds = 1 - len(personas) % 2
        return [
            Planned(i, _ORDERS[(i + i // len(personas) * rounds + first) % 2], personas[i % len(personas)])
            for i in range(self.config.n)
        ]

    def views(self, content: str) -> list[tuple[Order, str]]:
        """List the distinct (order, persona) that the plan of a pair shows it under."""
        return sorted({(planned.order, planned.persona) for planned in self.plan(content)}, key=lambda v: (v[1], v[0]))

    def reading_key(self, content: str, order: Order, persona: str) -> bytes:
        """Name a reading."""
        return content_key(self.name, content, order, persona)

    def sample_key(self, content: str, planned: Planned) -> bytes:
        """Name a judgment."""
        return content_key(self.name, content, planned.order, planned.persona, planned.sample)

    def _digest(self) -> str:
        """Hash what decides an answer, apart from pair, order, persona and number: those are in the keys.

        Which personas there are decides no answer, but what all answers together say: another population is another
        judge.
        """
        config = self.config
        decides: dict[str, Any] = {
            "identity": self.identity,
            "revision": config.revision,
            "template": self.template.text,
            "mode": config.mode,
        }
        if config.personas and self.names_personas:
            decides["personas"] = config.personas
        if config.mode == "sample":
            decides["sampling"] = [config.temperature, config.top_p, config.max_tokens, config.seed]
            if config.is_dealt_by_cells:
                decides["deal"] = "cells"  # a sample's number names another order or persona than it did before
        return short_digest(json.dumps(decides, sort_keys=True))


_ORDERS: tuple[Order, Order] = ("ab", "ba")


def _slug(model: str) -> str:
    """Shorten a model's name or folder to what a store's listing shows.

    >>> _slug("meta-llama/Meta-Llama-3-70B-Instruct")
    'meta-llama-3-70b-instruct'
    """
    return re.sub(r"[^a-z0-9.]+", "-", PurePath(model).name.lower()).strip("-.") or "model"
