"""Dry run of a study: pairs, judgments, training steps, hours, cost and people's time, before anything is done."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from dissensus.annotate.exchange.annotated_pairs import read_annotations
from dissensus.files.location import is_hub_id
from dissensus.records import plain_text
from dissensus.sources import find_source
from dissensus.study import work
from dissensus.study.config import StudyConfig, TestSet
from dissensus.study.run_folder import Run
from dissensus.study.sets import Sets, Sizes, read_sets
from dissensus.study.stages import hours, plan
from dissensus.taxonomy import one_pair_per_prompt

_PROMPT_TOKENS = 600  # of a judge's prompt with a pair in it, where the pairs are not at hand
_INSTRUCTION_TOKENS, _CHARACTERS = 130, 4  # of that prompt without the pair, and of a token, where they are
_ANNOTATORS, _MINUTES = 3, 1.0  # for each test pair, as in the paper, and what its three questions take


def estimate_study(config: StudyConfig) -> str:
    """Say what a study would do. Nothing is kept, asked or downloaded.

    Pairs that are on this machine are read and counted; of public data sets on the Hub the published sizes stand.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = Run(config, Path(folder))
        sizes = _sizes(run)
        estimates = [stage.estimate(sizes) for stage in plan(run)]
    lines = [config.title, "", *_about_sets(config, sizes), ""]
    lines += [line for estimate in estimates for line in estimate.lines]
    trained = sum(estimate.trained for estimate in estimates)
    lines.append(f"pairs through a model in training {trained:,} (a rate that gets worse is given up sooner)")
    lines.append(hours(trained, config.throughput.pairs_per_second, "pairs_per_second"))
    return "\n".join([*lines, *_about_people(sizes)])


def _sizes(run: Run) -> Sizes:
    if run.study.copies == "simulated":
        work.write_copies(run)
    elif run.config.copies is None and any(_is_remote(source) for source in run.sources):
        return _published(run.config)
    return _counted(read_sets(run.config))


def _counted(sets: Sets) -> Sizes:
    every = list({pair.id: pair for pair in (*sets.train, *sets.test)}.values())
    numbers = sorted(set(sets.folds.values()))
    of_fold = [len(sets.of_fold(number).train) for number in numbers]
    length = sum(sum(len(plain_text(t)) for t in (p.prompt, p.response_a, p.response_b)) for p in every) / len(every)
    names = dict.fromkeys((pair.dataset or "pairs", pair.domain or "in") for pair in every)
    rows = [(name, domain, sum((p.dataset or "pairs") == name for p in every)) for name, domain in names]
    return Sizes(
        train=round(sum(of_fold) / len(of_fold)) if of_fold else len(sets.train),
        test=len(sets.test),
        judged=len(sets.train) if of_fold else 0,
        tokens=_INSTRUCTION_TOKENS + length / _CHARACTERS,
        exact=True,
        sets=rows,
        without_votes=sum(pair.votes is None for pair in sets.test),
        prompts=len(one_pair_per_prompt(sets.test)),
    )


def _published(config: StudyConfig) -> Sizes:
    rows: list[tuple[str, str, int]] = []
    unknown: list[str] = []

    def add(name: str, domain: str, given: TestSet) -> int:
        size = _size(given)
        if size is None:
            unknown.append(name)
        limit = getattr(given, "limit", None)
        rows.append((name, domain, min(size or 0, limit) if limit else size or 0))
        return rows[-1][2]

    train = test = judged = 0
    if config.pairs:
        name = config.dataset or config.pairs
        size = add(name, "in", TestSet(pairs=config.pairs, columns=config.columns, split=config.split))
        share = config.hold_out.share if config.hold_out else 0.0
        if share is None and name not in unknown:
            unknown.append(name)
        test = round(size * (share or 0))
        train = size - test
    for name, given in config.in_domain.items():
        train += add(name, "in", given)
    if config.cross_validate:  # each pair is tested once, and trained on in all other folds
        test = judged = train
        train -= round(train / config.cross_validate.folds)
    for name, outside in config.out_of_domain.items():
        size = add(name, "out", outside)
        test += 0 if config.test else size
    if config.test:
        test = config.test.per_set * (len(config.in_domain) + len(config.out_of_domain))
    annotated = 0
    if config.annotations is not None:
        annotated = sum(pair.votes is not None for pair in read_annotations(config.annotations))
    return Sizes(
        train,
        test,
        _PROMPT_TOKENS,
        exact=False,
        sets=rows,
        without_votes=max(0, test - annotated),
        prompts=test,
        judged=judged,
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


def _about_sets(config: StudyConfig, sizes: Sizes) -> Iterator[str]:
    yield f"{'set':28}{'domain':8}{'pairs':>10}"
    for name, domain, pairs in sizes.sets:
        size = "unknown" if name in sizes.unknown and not pairs else f"{pairs:,}"
        yield f"{name:28}{domain:8}{size:>10}"
    how = "counted" if sizes.exact else "as published; empty, repeated and test prompts are still in it"
    if sizes.unknown:
        how += f"; how many of {', '.join(sizes.unknown)} is known once they are read: what follows is without them"
    if cross := config.cross_validate:
        yield f"train in each of {cross.folds} folds by {cross.by} on about {sizes.train:,} pairs ({how})"
    else:
        yield f"train on {sizes.train:,} pairs ({how})"
    yield f"test on {sizes.test:,} pairs" + (f", {config.test.per_set} of each set" if config.test else "")


def _about_people(sizes: Sizes) -> Iterator[str]:
    if sizes.without_votes:
        answers = sizes.without_votes * _ANNOTATORS
        yield ""
        lack = "have no votes" if sizes.exact else "need people's votes, unless their set has some"
        yield (
            f"people: {sizes.without_votes} test pairs {lack}; {_ANNOTATORS} annotators are {answers} answers, "
            f"about {answers * _MINUTES / 60:.0f} hours at a minute each"
        )
