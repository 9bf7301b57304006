"""The kinds of judges by name: a new one is a module that subclasses `JudgeSettings`, known once it is imported."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, cast, get_args

from pydantic import BeforeValidator, SerializeAsAny, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from dissensus.files.database_url import StorePlace
from dissensus.parts import whole_of
from dissensus.settings import Option, Settings, nearest

if TYPE_CHECKING:
    from dissensus.judges.runner import Judge, Pairs, ReadyJudge
    from dissensus.judges.store.query import Recall
    from dissensus.judges.store.store import JudgmentStore
    from dissensus.judges.summary import Summary
    from dissensus.records import Pair

JsonObject = dict[str, Any]
"""What JSON calls an object: what a server says or is sent, and settings as a store keeps them."""
Mode = Literal["sample", "exact"]
Orders = Literal["ab", "ba", "both"]
VoteKind = Literal["drawn", "expected", "limit"]
"""What a margin is made of: n votes, the mean over draws of n votes, or what ever more votes tend to."""
_SHIPPED = ("kinds", "language.settings")
_ORDER = ("committee", "votes", "published", "graph", "combined", "store", "local", "server", "vllm")


@dataclass(frozen=True)
class Material:
    """What a judge is given beside the pairs that it judges."""

    sources: Sequence[str] = ()
    """The files and data sets that the pairs are from."""
    learn_from: Sequence[Pair] = ()
    """Labelled pairs that a judge may learn from beside those that it judges."""
    label_was_drawn: bool = False
    """Whether labels were drawn from the votes."""
    progress: bool = True


@dataclass(frozen=True)
class Estimate:
    """What it would take to judge so many pairs."""

    what: str
    details: Sequence[str] = ()
    asked: int = 0
    """Replies or choice distributions of a language model: what takes time."""
    tokens_read: float = 0.0
    tokens_written: float = 0.0
    dollars: float = 0.0


class JudgeSettings(Settings):
    """The settings of a judge, and what follows from them."""

    costs: ClassVar[bool] = False
    """Whether judging takes money or hours: such a judge is asked only where it is named."""
    learns: ClassVar[bool] = False
    """Whether it learns from labelled pairs."""
    streams: ClassVar[bool] = False
    """Whether it goes through the pairs one by one, so that a million need not be held."""
    reads_votes: ClassVar[bool] = False
    """Whether people's votes on the pairs are what it says."""
    takes_templates: ClassVar[bool] = False
    """Whether it is asked in words, which a template may change."""
    takes_gpu: ClassVar[bool] = False
    """Whether it runs in this process and on an accelerator, where there is one."""
    has_own_store: ClassVar[bool] = False
    """Whether its judgments are in a store of its own, and are never made here."""

    name: Annotated[str, Option(is_hidden=True)]

    @classmethod
    def __pydantic_init_subclass__(cls, **rest: Any) -> None:
        super().__pydantic_init_subclass__(**rest)
        for name in get_args(cls.model_fields["name"].annotation):
            _KINDS[name] = cls

    def open(self, pairs: Sequence[Pair], material: Material) -> Judge:
        """Make the judge, ready to be asked about ``pairs``. Raises JudgeError or InputError where it cannot judge."""
        raise NotImplementedError

    def prepare(self, pairs: Pairs, material: Material) -> ReadyJudge:
        """Make the judge ready to be asked about ``pairs``, and about some of them after others.

        Where they are a part (`PartOf`), it learns from all of them. Raises JudgeError or InputError where it cannot
        judge.
        """
        from dissensus.judges.runner import OpenedJudge

        whole = whole_of(pairs) if self.streams else list(whole_of(pairs))
        return OpenedJudge(self.open(cast("Sequence[Pair]", whole), material), material.progress)

    def run(self, pairs: Pairs, store: StorePlace, material: Material) -> Summary:
        """Have the judge judge ``pairs`` into a store; where they are a part (`PartOf`), it learns from all of them.

        Raises:
            InputError: what it reads is not there, or has nothing on these pairs.
            JudgeError: it cannot judge them.
        """
        from dissensus.judges.store.store import JudgmentStore

        ready = self.prepare(pairs, material)  # before there is a store
        with JudgmentStore(store) as opened:
            return ready.ask(pairs, opened)

    def recall(self, store: JudgmentStore, judge: str, pairs: Sequence[Pair]) -> Recall:
        """Recall what a store has of the judge of this full name about ``pairs``, as these settings would have it.

        A store knows the settings that a judge was last asked with. Judges that differ only in what can be changed
        afterwards share a name, so each has to name its own.
        """
        from dissensus.judges.store.query import Recall

        return Recall(store, judge, pairs, **self.recalled_with(store.settings(judge)))

    def recalled_with(self, stored: Mapping[str, Any]) -> JsonObject:
        """List the settings of this judge that decide what is recalled; ``stored`` are those that the store has."""
        return {}

    def deciding(self) -> JsonObject:
        """Return the settings that decide what the judge says, JSON-able."""
        return self.model_dump(mode="json")

    def content(self, sources: Sequence[str]) -> list[str]:
        """Hash what the judge reads beside the pairs, which are from ``sources``: models, templates, verdicts."""
        return []

    def stored_content(self) -> list[str]:
        """Hash what a store of its own has of the judge."""
        return []

    def engine(self) -> JsonObject:
        """Say what answers, as shards keep it: the engine and what its readings may depend on in their last digits."""
        return {"engine": self.name}

    def for_workers(self, count: int) -> Self:
        """Return the settings for each of so many workers on a cluster.

        Raises:
            ConfigError: it is no judge that several can be of.
        """
        return self

    def store_path(self, default: StorePlace) -> StorePlace:
        """Name the store that its judgments are in."""
        return default

    def estimate(self, pairs: int, prompt_tokens: float) -> Estimate:
        """Estimate what it takes to judge ``pairs``, whose prompts have ``prompt_tokens`` on average."""
        return Estimate(f"{self.name}, no cost")

    def vote_kind(self) -> VoteKind:
        """Say what margins are made of."""
        return "drawn"

    def asks_for_money(self) -> bool:
        """Whether it, or a judge that it asks, takes money or hours."""
        return self.costs

    def sees_votes(self) -> bool:
        """Whether it, or a judge that it asks, reads people's votes on the pairs that it judges."""
        return self.reads_votes

    def sees_own_label(self) -> bool:
        """Whether a pair's own label has a part in what it says of the pair."""
        return False

    def calibrates(self) -> bool:
        """Whether it keeps a calibration of the judges that it asks with its settings in the store."""
        return False

    def leaves_label_out(self) -> bool:
        """Whether the vote that became a pair's label is told apart and left out, so that it may stay with the rest."""
        return False

    def lacks_file(self) -> bool:
        """Whether the judge reads what it says from the files of the pairs, and names none of its own."""
        return False

    def called(self) -> str:
        """Say what people call the judge: the name of a model, or of whoever published verdicts."""
        return self.name

    def short_name(self) -> str:
        """Name the judge in tables and files: ``committee``, ``gpt4``, ``Llama-3-70B-Instruct``."""
        name = self.called().rstrip("/").rpartition("/")[2]
        return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".") or "judge"


_KINDS: dict[str, type[JudgeSettings]] = {}


def kinds() -> dict[str, type[JudgeSettings]]:
    """List the settings of all kinds of judges by name: those that come with the package, then others."""
    for module in _SHIPPED:
        importlib.import_module(f"dissensus.judges.{module}")
    return {name: _KINDS[name] for name in dict.fromkeys((*_ORDER, *_KINDS))}


def parse_settings(value: Any) -> Any:
    """Read the settings of a judge, whose ``name`` says of which kind; raises ValueError and ValidationError."""
    if isinstance(value, JudgeSettings) or not isinstance(value, Mapping):
        return value
    known = kinds()
    name = value.get("name")
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"no judge is called {name!r}; {nearest(str(name), list(known))}")
    try:
        return known[name].model_validate(value)
    except ValidationError as error:
        # Of unknown settings, which come first, only here it is known what there is.
        found: list[InitErrorDetails] = []
        for one in sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden"):
            kind: str | PydanticCustomError = one["type"]
            if kind == "extra_forbidden":
                hint = nearest(str(one["loc"][-1]), list(known[name].model_fields))
                kind = PydanticCustomError("value_error", "unknown setting; {hint}", {"hint": hint})
            found.append(InitErrorDetails(type=kind, loc=one["loc"], input=one["input"], ctx=one.get("ctx", {})))
        raise ValidationError.from_exception_data(name, found) from error


def in_words(number: float) -> str:
    """Shorten a count.

    >>> in_words(1234), in_words(5_600_000)
    ('1.2 thousand', '5.6 million')
    """
    for size, word in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if number >= size:
            return f"{number / size:.1f} {word}"
    return f"{number:.0f}"


AnyJudge = Annotated[SerializeAsAny[JudgeSettings], BeforeValidator(parse_settings)]
"""A field with the settings of any kind of judge."""
