"""What a study would do, before it does anything: pairs, judgments, training steps, hours, cost and people's time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from dissensus.annotate.exchange.annotated_pairs import read_annotations
from dissensus.files.hub import is_hub_id
from dissensus.judge.language.plan import LanguageConfig
from dissensus.records import plain_text
from dissensus.sources import find_source
from dissensus.study.config import StudyConfig
from dissensus.study.judge_stage import CommitteeJudge, ModelJudge
from dissensus.study.parts import TestSet
from dissensus.study.sets import Sets, read_sets
from dissensus.taxonomy import one_pair_per_prompt

_PROMPT_TOKENS = 600
"""Of a judge's prompt with a pair in it, where the pairs are not at hand."""
_CHARACTERS = 4
"""A token has about so many, where they are."""
_INSTRUCTION_TOKENS = 130
"""Of the judge's prompt without the pair."""
_REPLY_TOKENS = 5
_ANNOTATORS, _MINUTES = 3, 1.0
"""People per test pair, as in the paper, and what an answer to its three questions takes one of them."""


@dataclass(frozen=True)
class _Counts:
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
    unknown: Sequence[str] = ()
    """Sets whose size, or share in the test, nobody knows before they are read."""


def reckon(config: StudyConfig) -> str:
    """Say what a study would do. Nothing is written, asked or downloaded.

    Pairs that are on this machine are read and counted; of public data sets on the Hub the published sizes stand.
    """
    counts = _count(config)
    lines = [config.title, "", *_about_sets(config, counts), "", *_about_judges(config, counts), ""]
    lines += [*_about_training(config, counts), *_about_people(counts)]
    return "\n".join(lines)


def _count(config: StudyConfig) -> _Counts:
    if config.copies == "simulated" and config.simulation is not None:
        from dissensus.study.public_schemas import ANNOTATIONS, write_copies

        with tempfile.TemporaryDirectory() as folder:
            names = {name: given.pairs for name, given in {**config.in_domain, **config.out_of_domain}.items()}
            write_copies(Path(folder), names, config.simulation)
            annotations = config.annotations or str(Path(folder) / ANNOTATIONS)
            return _counted(read_sets(config.model_copy(update={"annotations": annotations}), folder))
    sources = [config.pairs, *(s.pairs for s in (*config.in_domain.values(), *config.out_of_domain.values()))]
    if config.copies is None and any(_is_remote(source) for source in sources):
        return _published(config)
    return _counted(read_sets(config, config.copies))


def _counted(sets: Sets) -> _Counts:
    every = [*sets.train, *sets.test]
    length = sum(sum(len(plain_text(t)) for t in (p.prompt, p.response_a, p.response_b)) for p in every) / len(every)
    names = dict.fromkeys((pair.dataset or "pairs", pair.domain or "in") for pair in every)
    rows = [(name, domain, sum((p.dataset or "pairs") == name for p in every)) for name, domain in names]
    return _Counts(
        train=len(sets.train),
        test=len(sets.test),
        tokens=_INSTRUCTION_TOKENS + length / _CHARACTERS,
        exact=True,
        sets=rows,
        without_votes=sum(pair.votes is None for pair in sets.test),
        prompts=len(one_pair_per_prompt(sets.test)),
    )


def _published(config: StudyConfig) -> _Counts:
    rows: list[tuple[str, str, int]] = []
    unknown: list[str] = []

    def add(name: str, domain: str, given: TestSet) -> int:
        size = _size(given)
        if size is None:
            unknown.append(name)
        limit = getattr(given, "limit", None)
        rows.append((name, domain, min(size or 0, limit) if limit else size or 0))
        return rows[-1][2]

    train = test = 0
    if config.pairs:
        name = config.dataset or config.pairs
        size = add(name, "in", TestSet(pairs=config.pairs, columns=config.columns, split=config.split))
        if config.hold_out.share is None and name not in unknown:
            unknown.append(name)
        test = round(size * (config.hold_out.share or 0))
        train = size - test
    for name, given in config.in_domain.items():
        train += add(name, "in", given)
    for name, outside in config.out_of_domain.items():
        size = add(name, "out", outside)
        test += 0 if config.test else size
    if config.test:
        test = config.test.per_set * (len(config.in_domain) + len(config.out_of_domain))
    annotated = 0
    if config.annotations is not None:
        annotated = sum(pair.votes is not None for pair in read_annotations(config.annotations))
    return _Counts(
        train,
        test,
        _PROMPT_TOKENS,
        exact=False,
        sets=rows,
        without_votes=max(0, test - annotated),
        prompts=test,
        unknown=unknown,
    )


def _is_remote(source: str) -> bool:
    return find_source(source) is not None or (is_hub_id(source) and not Path(source).exists())


def _size(given: TestSet) -> int | None:
    """Pairs of a set: as published, or counted where it is on this machine; None where only the Hub knows."""
    found = find_source(given.pairs)
    if found is not None:
        return found.source.sizes.get(given.split or found.source.splits(found.part)[0])
    if _is_remote(given.pairs):
        return None
    from dissensus.sources import read_pairs

    rows = read_pairs(given.pairs, columns=given.columns or None, split=given.split, notice=lambda _: None)
    return sum(1 for _ in rows)


def _about_sets(config: StudyConfig, counts: _Counts) -> Iterator[str]:
    yield f"{'set':28}{'domain':8}{'pairs':>10}"
    for name, domain, pairs in counts.sets:
        size = "unknown" if name in counts.unknown and not pairs else f"{pairs:,}"
        yield f"{name:28}{domain:8}{size:>10}"
    how = "counted" if counts.exact else "as published; empty, repeated and test prompts are still in it"
    if counts.unknown:
        how += f"; how many of {', '.join(counts.unknown)} is known once they are read: what follows is without them"
    yield f"train on {counts.train:,} pairs ({how})"
    yield f"test on {counts.test:,} pairs" + (f", {config.test.per_set} of each set" if config.test else "")


def _about_judges(config: StudyConfig, counts: _Counts) -> Iterator[str]:
    for name, judging in {"": config.judge, **config.judges}.items():
        yield from _about_judge(f"judge {name}".strip(), judging, counts.train, counts.tokens, config)
    for judging in config.test_judges or ():
        yield from _about_judge("judge of the test pairs", judging, counts.test, counts.tokens, config)
    if config.categories is not None and config.categories.judge is not None:
        # Options stand in a fixed order; whether several answers are correct is asked once for each prompt.
        judging = config.categories.judge.model_copy(update={"order": "ab"})
        asked = counts.test + counts.prompts
        yield from _about_judge("categories of prompts, and of pairs", judging, asked, counts.tokens, config)


def _about_judge(title: str, judging: BaseModel, pairs: int, tokens: float, config: StudyConfig) -> Iterator[str]:
    if isinstance(judging, CommitteeJudge):
        yield f"{title}: a committee, {pairs:,} pairs × {judging.n} = {pairs * judging.n:,} judgments; no cost"
    elif isinstance(judging, ModelJudge):
        prompts = pairs * _prompts(judging.language)
        asked = prompts if judging.mode == "exact" else pairs * judging.n
        read = prompts * tokens
        written = asked * _REPLY_TOKENS if judging.mode == "sample" else asked
        what = "readings of one forward pass"
        if judging.mode == "sample":
            what = f"replies to {prompts:,} prompts (as many requests where n is supported)"
        yield f"{title}: {judging.model} ({judging.name}), {pairs:,} pairs, {asked:,} {what}"
        yield f"  tokens read {_short(read)}, written {_short(written)}; votes per pair {judging.n}"
        if judging.price_prompt or judging.price_reply:
            cost = (read * judging.price_prompt + written * judging.price_reply) / 1e6
            yield f"  cost ${cost:,.2f} at ${judging.price_prompt}/${judging.price_reply} per million tokens"
        yield _hours(asked, config.throughput.judgments_per_second, "judgments_per_second")
    else:
        yield f"{title}: {getattr(judging, 'name', '')}, no cost"


def _prompts(language: LanguageConfig) -> int:
    """Distinct prompts about one pair: each order that it is shown in, to each persona, while there are judgments."""
    shown = (2 if language.order == "both" else 1) * max(1, len(language.personas))
    return min(language.n, shown)


def _about_training(config: StudyConfig, counts: _Counts) -> Iterator[str]:
    rates = len(config.sweep.values()) if config.sweep else 1
    total = 0
    for name, model in config.models.items():
        runs = rates + len(config.seeds) - 1
        pairs = round(counts.train * (1 - model.validation))
        steps = -(-pairs // model.batch_size) * model.epochs
        total += pairs * model.epochs * runs
        swept = f"{rates} learning rates" if config.sweep else "1 learning rate"
        more = f" and {len(config.seeds) - 1} more seeds" if len(config.seeds) > 1 else ""
        yield f"train {name}: {model.model}, {model.objective}, {swept}{more}: {runs} runs of {steps:,} steps"
    for name, source in config.pretrained.items():
        yield f"predict {name}: {source}, not trained"
    yield f"  pairs through a model {total:,} (a rate that gets worse is given up sooner)"
    yield _hours(total, config.throughput.pairs_per_second, "pairs_per_second")


def _about_people(counts: _Counts) -> Iterator[str]:
    if counts.without_votes:
        answers = counts.without_votes * _ANNOTATORS
        yield ""
        lack = "have no votes" if counts.exact else "need people's votes, unless their set has some"
        yield (
            f"people: {counts.without_votes} test pairs {lack}; {_ANNOTATORS} annotators are {answers} answers, "
            f"about {answers * _MINUTES / 60:.0f} hours at a minute each"
        )


def _hours(count: float, per_second: float | None, setting: str) -> str:
    if per_second is None:
        return f"  hours: give throughput.{setting}, as measured on your machine"
    return f"  about {count / per_second / 3600:,.1f} hours at {per_second:g} a second (throughput.{setting})"


def _short(number: float) -> str:
    """Shorten a count.

    >>> _short(1234), _short(5_600_000)
    ('1.2 thousand', '5.6 million')
    """
    for size, word in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if number >= size:
            return f"{number / size:.1f} {word}"
    return f"{number:.0f}"
