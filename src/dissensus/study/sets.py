"""The pairs of a study: the sets that are trained on, and sets that are only tested on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dissensus.annotate.exchange.annotated_pairs import is_database, read_annotations, read_database, with_annotations
from dissensus.errors import ConfigError, InputError
from dissensus.files import content_of
from dissensus.hashing import number_of
from dissensus.records import Message, Pair, Text, Votes
from dissensus.sources import find_source, read_pairs
from dissensus.sources.label_votes import with_drawn_label
from dissensus.steps.split import apart_from, prompt_keys, prompts_of, split_pairs
from dissensus.study.config import DrawnTest, StudyConfig, TestSet
from dissensus.study.folds import fold_of_pairs

_HELD = "held_out_with_a_test_prompt"


@dataclass(frozen=True)
class Sets:
    """What a study trains on and is tested on."""

    train: list[Pair]
    test: list[Pair]
    rows: list[int]
    """Pairs of each source: the study's own first, then the sets out of domain."""
    counts: dict[str, int] = field(default_factory=dict)
    """What was left out, in words."""
    annotated: int = 0
    """Test pairs with votes out of the study's annotations; the others keep the votes that their set has, if any."""
    folds: Mapping[str, int] = field(default_factory=dict)
    """Where there are folds, that of each test pair, from 1; ``train`` then has all pairs that any fold trains on."""

    def of_fold(self, number: int) -> Sets:
        """Return what a fold trains on and is tested on. A pair whose prompt has the group or the text of one that is
        tested is not trained on.

        Raises ConfigError where nothing is left to train on.
        """
        test = [pair for pair in self.test if self.folds[pair.id] == number]
        train = apart_from((pair for pair in self.train if self.folds[pair.id] != number), prompts_of(test))
        if not train:
            raise ConfigError(f"cross_validate: fold {number} leaves no pair to train on; set fewer folds")
        return Sets(train, test, [])

    def fold_sizes(self) -> list[int]:
        """Count the test pairs of each fold."""
        counts = Counter(self.folds[pair.id] for pair in self.test if self.folds)
        return [counts[number] for number in sorted(counts)]


@dataclass(frozen=True)
class Sizes:
    """How many pairs a study has."""

    train: int
    test: int
    tokens: float
    """Of a judge's prompt, on average."""
    exact: bool
    """Whether the pairs were counted, or are as published."""
    sets: Sequence[tuple[str, str, int]]
    """Name, domain and pairs."""
    without_votes: int
    prompts: int
    """Distinct prompts of the test pairs."""
    judged: int = 0
    """Pairs that judges judge for training, where there are folds: those of all of them. ``train`` is of one fold."""
    unknown: Sequence[str] = ()
    """Sets whose size, or share in the test, nobody knows before they are read."""


def read_sets(config: StudyConfig) -> Sets:
    """Read a study's pairs and split them into training and test pairs; those of out-of-domain sets are tested on.

    A set that the study names (``in_domain``, ``out_of_domain``) gives its name and domain to its pairs. Where there
    are sets out of domain, the study's own ``pairs`` get what they lack: their file's name, and ``in``. Of several
    sets, test pairs are drawn. Training pairs have the study's ``label``, test pairs what their source says.

    Args:
        config: the study.

    Raises:
        InputError: a source cannot be read, two sets share a pair id, or no test pair has votes where people are not
            to be asked yet.
        ConfigError: the split leaves nothing on a side.
    """
    sets = _folded(config) if config.cross_validate else _drawn(config) if config.in_domain else _split(config)
    whole = label_counts_as_vote(config)
    train = [labelled(p, config.label, seed=config.label_seed, votes_stay_whole=whole) for p in sets.train]
    train, test = _same_kind(train, sets.test)
    sets = replace(sets, train=train, test=test)
    if config.annotations is not None:
        said = read_annotations(config.annotations)
        test = with_annotations(sets.test, said, config.annotations)
        voted = {pair.id for pair in said if pair.votes is not None}
        sets = replace(sets, test=test, annotated=sum(pair.id in voted for pair in test))
    if not (config.in_domain and config.test) and not any(pair.votes for pair in sets.test):
        raise InputError(
            f"{config.pairs or 'in_domain'}: no held-out pair has votes to compare with; add votes_a and votes_b"
        )
    return sets


def source_content(source: str, copies: str | None) -> str | None:
    """Hash what a source is read from: a file, a folder, or the copies of a public data set; None for the Hub."""
    known = find_source(source)
    if known is None:
        return content_of(source)
    if copies is None:
        return None
    # One folder may hold many sets: what belongs to this one counts.
    places = [
        Path(copies) / place for place in (known.source.hub, known.source.hub.partition("/")[2], known.source.name)
    ]
    return content_of(next((place for place in places if place.is_dir()), Path(copies)))


def annotations_content(source: str) -> str:
    """Digest annotations: of a database, what is in it and not its bytes, which change while it is open."""
    if not is_database(source):
        return content_of(source) or ""
    # How the label came about is no annotation.
    said = "\n".join(pair.model_dump_json(exclude={"label_is_a_vote"}) for pair in read_database(source))
    return hashlib.sha256(said.encode()).hexdigest()


def _split(config: StudyConfig) -> Sets:
    assert config.hold_out is not None  # the settings see to it
    train, test = split_pairs(list(_own(config)), config.hold_out)
    others = [list(_outside(config, name)) for name in config.out_of_domain]
    outside = [pair for pairs in others for pair in pairs]
    _refuse_doubles([*train, *test, *outside])
    # Within the study's own pairs, hold_out says what belongs together; a set from elsewhere may have the same prompts.
    free = _apart_from_outside(train, [*outside, *(pair for pair in test if pair.domain == "out")])
    counts = {_HELD: len(train) - len(free)} if len(free) < len(train) else {}
    return Sets(free, [*test, *outside], [len(train) + len(test), *map(len, others)], counts)


def _folded(config: StudyConfig) -> Sets:
    """Deal all pairs into folds; a pair of two sets that are trained on stays in the first."""
    cross = config.cross_validate
    assert cross is not None  # as above
    inside = {name: list(_inside(config, name, cross.seed)) for name in config.in_domain}
    own: dict[str, Pair] = {}
    for pair in chain(*inside.values()):
        own.setdefault(pair.id, pair)
    every = list(own.values() if config.in_domain else _own(config))
    others = {name: list(_outside(config, name)) for name in config.out_of_domain}
    test = [*every, *chain(*others.values())]
    _refuse_doubles(test)
    outside = [pair for pair in test if pair.domain == "out"]
    train = [pair for pair in every if pair.domain != "out"]
    free = _apart_from_outside(train, outside)
    counts = {_HELD: len(train) - len(free)} if len(free) < len(train) else {}
    if doubled := sum(map(len, inside.values())) - len(own):
        counts["in_two_sets"] = doubled
    rows = [len(pairs) for pairs in (inside or {"": every}).values()]
    return Sets(free, test, [*rows, *map(len, others.values())], counts, folds=fold_of_pairs(test, cross))


def _refuse_doubles(pairs: Iterable[Pair]) -> None:
    seen: set[str] = set()
    for pair in pairs:
        if pair.id in seen:
            raise InputError(f"out_of_domain: pair id {pair.id!r} is in two of the sets; give each pair its own id")
        seen.add(pair.id)


def _apart_from_outside(train: list[Pair], outside: Iterable[Pair]) -> list[Pair]:
    free = apart_from(train, prompts_of(outside))
    if not free:
        raise ConfigError("out_of_domain: all prompts to train on are prompts of these sets as well; give other sets")
    return free


def _drawn(config: StudyConfig) -> Sets:
    draw = config.test
    assert draw is not None  # the settings see to it
    sets = {name: list(_read(given, config.copies)) for name, given in config.in_domain.items()}
    test: dict[str, Pair] = {}
    rows = []
    for name, given in config.in_domain.items():
        where = given.test_split
        candidates = (
            sets[name] if where is None else list(_read(given.model_copy(update={"split": where}), config.copies))
        )
        _draw_into(test, candidates, draw, name, "in")
        rows.append(len(sets[name]))
    for name, outside in config.out_of_domain.items():
        candidates = list(_read(outside, config.copies))
        _draw_into(test, candidates, draw, name, "out")
        rows.append(len(candidates))
    train, counts = _training(sets, config, draw, list(test.values()))
    for name in config.in_domain:
        if not any(pair.dataset == name for pair in train):
            raise ConfigError(
                f"in_domain: the test prompts leave nothing of {name} to train on; pairs whose prompt has the group or "
                "the text of a test pair's are not trained on, so give it more prompts or draw fewer test pairs"
            )
    return Sets(train, list(test.values()), rows, counts)


def _draw_into(test: dict[str, Pair], pairs: Sequence[Pair], draw: DrawnTest, name: str, domain: str) -> None:
    """Draw a set's test pairs, passing over those that another set has as well."""
    for pair in draw_test(apart_from(pairs, prompts_of(test.values())), draw, name=name):
        test.setdefault(pair.id, _with(pair, dataset=name, domain=domain))


def _training(
    sets: dict[str, list[Pair]], config: StudyConfig, draw: DrawnTest, test: list[Pair]
) -> tuple[list[Pair], dict[str, int]]:
    """Keep what shares no prompt with a test pair of any set; one pair of those that two sets have."""
    tested = prompts_of(test)
    kept: dict[str, Pair] = {}
    counts = {_HELD: 0, "in_two_sets": 0, "over_the_limit": 0}
    for name, pairs in sets.items():
        free = apart_from(pairs, tested)
        counts[_HELD] += len(pairs) - len(free)
        some = draw_some(free, config.in_domain[name].limit, seed=draw.seed, name=name)
        counts["over_the_limit"] += len(free) - len(some)
        for pair in some:
            counts["in_two_sets"] += pair.id in kept
            kept.setdefault(pair.id, _with(pair, dataset=name, domain="in"))
    return list(kept.values()), counts


def label_counts_as_vote(config: StudyConfig) -> bool:
    """Tell whether a judge of the training pairs leaves out the vote that is a pair's label, so that it may stay."""
    judges = (config.judge, *config.judges.values())
    return config.label == "one-vote" or any(one.leaves_label_out() for one in judges)


def _same_kind(train: list[Pair], test: list[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Turn all prompts, or all responses, into chat messages where some are: a column of a file holds one kind."""
    every = [*train, *test]
    chat = {
        "prompt": any(not isinstance(pair.prompt, str) for pair in every),
        "response": any(not isinstance(t, str) for pair in every for t in (pair.response_a, pair.response_b)),
    }
    if not any(chat.values()):
        return train, test

    def converted(pair: Pair) -> Pair:
        changes: dict[str, object] = {"prompt": _messages(pair.prompt, "user")} if chat["prompt"] else {}
        if chat["response"]:
            changes |= {name: _messages(getattr(pair, name), "assistant") for name in ("response_a", "response_b")}
        return _with(pair, **changes)

    return [converted(pair) for pair in train], [converted(pair) for pair in test]


def _messages(text: Text, role: str) -> tuple[Message, ...]:
    return (Message(role=role, content=text),) if isinstance(text, str) else text


def named_by_the_study(config: StudyConfig) -> dict[str, str]:
    """List what the study's own pairs get where they name no data set or domain."""
    if config.out_of_domain and config.pairs:
        return {"dataset": config.dataset or _stem(config.pairs), "domain": "in"}
    return {"dataset": config.dataset} if config.dataset else {}


def _own(config: StudyConfig) -> Iterator[Pair]:
    named = named_by_the_study(config)
    for pair in _read_own(config):
        yield _with(pair, **{key: getattr(pair, key) or value for key, value in named.items()})


def _read_own(config: StudyConfig) -> Iterator[Pair]:
    if config.pairs != "simulated":
        return _read(TestSet(pairs=config.pairs, columns=config.columns, split=config.split), config.copies)
    from dissensus.simulate import SimulationConfig, simulate

    return iter(simulate(config.simulation or SimulationConfig()).pairs)


def _inside(config: StudyConfig, name: str, seed: int) -> Iterator[Pair]:
    given = config.in_domain[name]
    for pair in draw_some(list(_read(given, config.copies)), given.limit, seed=seed, name=name):
        yield _with(pair, dataset=name, domain="in")


def _outside(config: StudyConfig, name: str) -> Iterator[Pair]:
    for pair in _read(config.out_of_domain[name], config.copies):
        yield _with(pair, dataset=name, domain="out")


def _read(given: TestSet, copies: str | None) -> Iterator[Pair]:
    return read_pairs(given.pairs, columns=given.columns or None, split=given.split, root=copies)


def _stem(source: str) -> str:
    """Name a data set by its file: ``arguments`` for ``data/arguments.jsonl.gz``."""
    return Path(source).name.partition(".")[0] or source


def _with(pair: Pair, **changes: Any) -> Pair:
    return pair.model_copy(update=changes)


def labelled(pair: Pair, label: Literal["own", "one-vote"], *, seed: int, votes_stay_whole: bool) -> Pair:
    """Give a training pair its own label; one of its votes where it has none, or where that was asked for.

    A pair without votes keeps the label that it has. A vote that became a label is taken off the others, unless they
    are to stay whole because a judge takes it off.
    """
    if pair.votes is None or (pair.label is not None and label == "own"):
        return pair
    drawn = with_drawn_label(pair, seed=seed)
    if votes_stay_whole:
        return drawn
    left = {side: getattr(pair.votes, side) - (side == drawn.label) for side in ("a", "b", "tie")}
    return drawn.model_copy(update={"label_is_a_vote": None, "votes": Votes(**left) if any(left.values()) else None})


def draw_test(pairs: Sequence[Pair], draw: DrawnTest, *, name: str) -> list[Pair]:
    """Draw test pairs of a set, no two of one prompt (group or text), in the order of their ids.

    Prompts are drawn, all with the same chance, and then a pair of each; a prompt with many pairs is drawn no sooner
    than another. The draw depends on the seed, the set's name and the ids alone. Where there are fewer prompts, each
    has a pair.
    """
    drawn = next(_rounds(pairs, _generator(draw.seed, name)), [])[: draw.per_set]
    return sorted(drawn, key=lambda pair: pair.id)


def draw_some(pairs: Sequence[Pair], limit: int | None, *, seed: int, name: str) -> list[Pair]:
    """Draw at most ``limit`` pairs, in their order: one of each prompt, then a second one of each that has more, ….

    The draw depends on the seed, the set's name and the ids alone.
    """
    if limit is None or len(pairs) <= limit:
        return list(pairs)
    chosen = {pair.id for pair in islice(chain.from_iterable(_rounds(pairs, _generator(seed, name))), limit)}
    return [pair for pair in pairs if pair.id in chosen]


def _rounds(pairs: Iterable[Pair], rng: np.random.Generator) -> Iterator[list[Pair]]:
    """Draw round by round: in each, prompts in an order drawn once give a pair each until they have none left."""
    prompts = _by_prompt(pairs)
    drawn = [prompts[index] for index in rng.permutation(len(prompts))]
    left = [[of_prompt[index] for index in rng.permutation(len(of_prompt))] for of_prompt in drawn]
    while left:
        yield [of_prompt.pop() for of_prompt in left]
        left = [of_prompt for of_prompt in left if of_prompt]


def _by_prompt(pairs: Iterable[Pair]) -> list[list[Pair]]:
    """Put together, in the order of ids, pairs that share a group or a text, with each other or through others."""
    ordered = sorted(pairs, key=lambda pair: pair.id)
    parent: dict[str, str] = {}

    def first_of(key: str) -> str:
        while (above := parent.setdefault(key, key)) != key:
            parent[key] = key = parent[above]
        return key

    for pair in ordered:
        group, text = prompt_keys(pair)
        parent[first_of(text)] = first_of(group)
    found: dict[str, list[Pair]] = {}
    for pair in ordered:
        found.setdefault(first_of(prompt_keys(pair)[0]), []).append(pair)
    return list(found.values())


def _generator(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, number_of(name)])
