"""Language models as judges: what they are asked about a pair, and the keys and names under which answers are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, NamedTuple

from dissensus.hashing import framed_digest, short_digest
from dissensus.judges.base import JsonObject, Mode
from dissensus.judges.job import Rows
from dissensus.judges.language.messages import Answer, Ask, Sampling
from dissensus.judges.language.prompt import Template, load_template
from dissensus.judges.language.settings import LanguageSettings
from dissensus.judges.store.keys import content_key, content_of
from dissensus.judges.store.store import JudgmentStore, StoredDistribution
from dissensus.records import Judgment, Order, Pair

_ORDERS: tuple[Order, Order] = ("ab", "ba")


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

    def __init__(
        self,
        config: LanguageSettings,
        identity: JsonObject,
        *,
        template: Template | None = None,
        names_personas: bool = True,
    ) -> None:
        self.config = config
        self.identity = identity
        self.template = template or load_template(config.template)
        self.names_personas = names_personas
        shown = re.sub(r"[^a-z0-9.]+", "-", PurePath(config.model).name.lower()).strip("-.") or "model"
        self.name = f"{shown}-{self._digest()}"

    @property
    def sampling(self) -> Sampling | None:
        """How replies are sampled; None in mode ``exact``, which asks for choice distributions."""
        return None if self.config.mode == "exact" else self.config.sampling

    @property
    def drawn_at(self) -> Sampling:
        """How replies are sampled, or votes drawn from choice distributions."""
        return self.config.sampling

    def with_mode(self, mode: Mode, **changes: Any) -> LanguageJudge:
        """Return the same judge asked in another mode, or with other settings."""
        config = LanguageSettings.model_validate({**self.config.model_dump(), "mode": mode, **changes})
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

    def settings(self) -> JsonObject:
        """List everything about the judge, JSON-able, as the store keeps it."""
        return {
            "by_content": True,  # it sees texts alone: pairs of the same texts share their answers
            "mode": self.config.mode,
            "config": self.config.model_dump(mode="json"),
            "identity": self.identity,
            "template": {"name": self.template.name, "text": self.template.text},
            "names_personas": self.names_personas,
        }

    @classmethod
    def from_settings(cls, settings: JsonObject) -> LanguageJudge:
        """Rebuild the judge that `settings` describes."""
        template = Template(settings["template"]["name"], settings["template"]["text"])
        config = LanguageSettings.model_validate({"deal": "pairs", **settings["config"]})  # a store of version 0.1
        named = settings.get("names_personas", False)
        return cls(config, settings["identity"], template=template, names_personas=named)

    def keys(self, pair: Pair) -> list[bytes]:
        """Name what is wanted of a pair: n judgments, or a choice distribution for each order and persona."""
        content = content_of(pair)
        if self.config.mode == "exact":
            return [self.distribution_key(content, order, persona) for order, persona in self.views(content)]
        return [self.sample_key(content, planned) for planned in self.plan(content)]

    def asks(self, pair: Pair, missing: set[bytes]) -> Iterator[Ask]:
        """Make one ask for each order and persona that has something missing; the two orders follow each other."""
        content = content_of(pair)
        if self.config.mode == "exact":
            for order, persona in self.views(content):
                if self.distribution_key(content, order, persona) in missing:
                    yield self.ask(pair, order, persona)
            return
        wanted: dict[tuple[str, Order], list[int]] = {}
        for planned in self.plan(content):
            if self.sample_key(content, planned) in missing:
                wanted.setdefault((planned.persona, planned.order), []).append(planned.sample)
        for (persona, order), samples in sorted(wanted.items()):
            yield self.ask(pair, order, persona, tuple(samples))

    def ask_for(self, ask: Ask, samples: tuple[int, ...]) -> Ask:
        """Make the ask for some of the replies that another one wants."""
        return ask if samples == ask.samples else self.ask(ask.pair, ask.order, ask.persona, samples)

    def ask(self, pair: Pair, order: Order, persona: str, samples: tuple[int, ...] = ()) -> Ask:
        """Ask for replies of one order and persona, or for its choice distribution."""
        content = content_of(pair)
        keys = tuple(self.sample_key(content, Planned(sample, order, persona)) for sample in samples)
        key = framed_digest(self.name, content, order, persona, *map(str, samples))
        if not samples:
            key = self.distribution_key(content, order, persona)
        return Ask(key, pair, order, self.prompt(pair, order, persona), persona, samples, keys or (key,))

    def prompt(self, pair: Pair, order: Order, persona: str) -> str:
        """Write what is asked about a pair: the user's message, whole."""
        return self.template.render(pair, order, persona)

    def rows(self, answer: Answer) -> Rows:
        """Turn an answer into a choice distribution or judgments, in the pair's own terms."""
        ask, content = answer.ask, content_of(answer.ask.pair)
        if answer.distribution is not None:
            key = self.distribution_key(content, ask.order, ask.persona)
            row = StoredDistribution(ask.pair.id, self.name, content, ask.order, ask.persona, answer.distribution)
            return Rows(distributions=[(key, row)])
        rows = Rows()
        cuts = answer.cut or [False] * len(answer.replies)
        # A server may send fewer replies than it was asked for; the rest is asked for again.
        for sample, reply, cut in zip(ask.samples, answer.replies, cuts, strict=False):
            choice, probability = self.template.read(reply, ask.order, cut=cut)
            judgment = Judgment(
                pair_id=ask.pair.id,
                judge=self.name,
                sample=sample,
                order=ask.order,
                choice=choice,
                probability_a=probability,
                reply=reply,
                persona=ask.persona,
            )
            key = self.sample_key(content, Planned(sample, ask.order, ask.persona))
            rows.judgments.append((key, content, judgment))
        return rows

    def plan(self, content: str) -> list[Planned]:
        """Deal a pair's n judgments to orders and personas, evenly, and the same whatever n is.

        Every persona is asked before one is asked again, and in both orders before it is asked a third time. Where n is
        odd, the order that gets one more is a matter of the pair's hash, so that neither is favoured.
        """
        config, personas = self.config, self.config.personas or ("",)
        people, first = len(personas), int(content[0], 16) % 2
        planned: list[Planned] = []
        for i in range(config.n):
            swapped, person = i + first, i
            if config.order != "both":
                swapped = config.order == "ba"
            elif config.deal == "pairs":
                person = i // 2
            elif people % 2 == 0:  # each persona would come in one order alone; every second round swaps them
                swapped += i // people
            planned.append(Planned(i, _ORDERS[swapped % 2], personas[person % people]))
        return planned

    def views(self, content: str) -> list[tuple[Order, str]]:
        """List the distinct (order, persona) that the plan of a pair shows it under."""
        return sorted({(planned.order, planned.persona) for planned in self.plan(content)}, key=lambda v: (v[1], v[0]))

    def distribution_key(self, content: str, order: Order, persona: str) -> bytes:
        """Name a choice distribution."""
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
        decides: JsonObject = {"identity": self.identity, "revision": config.revision}
        decides |= {"template": self.template.text, "mode": config.mode}
        if config.personas and self.names_personas:
            decides["personas"] = config.personas
        if config.mode == "sample":
            decides["sampling"] = [config.temperature, config.top_p, config.max_tokens, config.seed]
            if config.deal == "cells" and config.order == "both" and config.personas:
                decides["deal"] = "cells"  # a sample's number names another order or persona than in version 0.1
        return short_digest(json.dumps(decides, sort_keys=True))
