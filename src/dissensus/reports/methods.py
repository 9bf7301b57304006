"""A paragraph on methods, written from what the run itself has noted, to be pasted into a paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dissensus import __version__
from dissensus.evaluation.groups import ALL, count_prompts
from dissensus.evaluation.metrics import HEADLINE, name_of
from dissensus.evaluation.scores import Scores
from dissensus.evaluation.tables.number_format import listed, number
from dissensus.records import Pair
from dissensus.reports.findings import find_findings, statement
from dissensus.reports.folder.run_reader import RunData
from dissensus.reward.objectives import OBJECTIVES, RETIRED
from dissensus.run_records import (
    CategoryCounts,
    FoldsRecord,
    JudgeCounts,
    MarginCounts,
    PairCounts,
    SweepRecord,
    TrainCounts,
)

_DISTRIBUTED = {name for name, objective in (RETIRED | OBJECTIVES).items() if objective.is_distributed}
"""Objectives whose rewards are distributions."""


def methods_paragraph(run: RunData, scores: Scores) -> str:
    """Write the paragraph; what is not known of the run is left out of it."""
    predicted = scores.models if run.joined is None else run.joined.models
    # Of a model that has not predicted yet nothing can be said.
    names = list(dict.fromkeys([*(name for name in scores.models if name in predicted), *predicted]))
    return " ".join(
        sentence for part in (_data, _categories, _models, _judge, _evaluation) for sentence in part(run, scores, names)
    )


def percent(level: float) -> str:
    """Write a level: 95 %.

    >>> percent(0.95), percent(0.999)
    ('95 %', '99.9 %')
    """
    return f"{100 * level:g} %"


def _data(run: RunData, scores: Scores, names: Sequence[str]) -> Iterator[str]:
    if len(names) > 1:
        yield f"We compared {_count(len(names), 'reward model')}: {', '.join(names)}."
    elif names:
        yield f"We evaluated one reward model: {names[0]}."
    yield from _training(run, names)
    if run.joined is not None:
        votes = [pair.votes.n for pair in run.joined.pairs if pair.votes is not None]
        prompts = count_prompts(run.joined.pairs)
        yield (
            f"The test set holds {len(votes):,} pairs of {_count(prompts, 'prompt')}{_of(run.joined.pairs)}, on which "
            f"people cast {sum(votes):,} votes ({sum(votes) / len(votes):.3g} a pair)."
        )


def _categories(run: RunData, scores: Scores, names: Sequence[str]) -> Iterator[str]:
    """Say who put test pairs into categories, where a machine did or could be compared with people."""
    settings, counts = run.settings.categories, run.manifest.counts("categories", CategoryCounts)
    if settings is None or counts == CategoryCounts():
        return
    who = settings.judge.model if settings.judge else "shipped classifiers"
    kappas = [
        f"{kappa:.2f} ({words})"
        for kappa, words in (
            (counts.kappa_correct, "one correct answer or several"),
            (counts.kappa_distinct, "told apart or not"),
        )
        if kappa is not None
    ]
    agreed = f"; its agreement with people is κ = {' and '.join(kappas)}" if kappas else ""
    people, by_machine = counts.by_people or 0, counts.set or 0
    yield f"Of the categories {people:,} are people's and {by_machine:,} by machine ({who}){agreed}."


def _training(run: RunData, names: Sequence[str]) -> Iterator[str]:
    """Say on how many pairs each model was trained, by the counts of its training."""
    if run.settings.cross_validate is not None:
        yield _cross_validated(run, run.settings.cross_validate, names)
        return
    there = f"{len(run.training):,} training pairs{_of(run.training)}" if run.training else "the training pairs"
    by_count: dict[tuple[int, int], list[str]] = {}
    for name in names:
        counts = _trained(run, name)
        if counts.pairs is not None:
            by_count.setdefault((counts.pairs, counts.ties_dropped or 0), []).append(name)
    said = [
        f"{'it' if len(names) == 1 else ' and '.join(found)} {'was' if len(found) == 1 else 'were'} trained on {n:,}"
        + (f" ({_count(ties, 'tie')} dropped)" if ties else "")
        for (n, ties), found in by_count.items()
    ]
    if not said:
        return
    start = f"Of {there}, "
    if left_out := run.manifest.counts("margin", MarginCounts).left_out:
        start += f"{left_out:,} had no judgment that is a vote and {'was' if left_out == 1 else 'were'} left out; "
    yield start + "; ".join(said) + "."


def _cross_validated(run: RunData, cross: FoldsRecord, names: Sequence[str]) -> str:
    """Say how pairs were dealt, and on how many pairs models were trained for each fold."""
    folds = run.manifest.counts("pairs", PairCounts).folds or []
    by = {"group": "prompt", "dataset": "data set"}.get(cross.by, cross.by)
    of = f" of {_span(folds)} test pairs" if folds else ""
    counts = [counts.pairs for name in names for counts in _trained_of_folds(run, name) if counts.pairs is not None]
    trained = f"{_span(counts)} pairs" if counts else "pairs"
    return (
        f"We used {cross.folds}-fold cross-validation by {by}: whole {_plural(by)} were dealt into {cross.folds} "
        f"folds{of}, and each test pair was predicted once with each seed, by a model that was trained on {trained} of "
        "the other folds."
    )


def _plural(noun: str) -> str:
    return noun.removesuffix("y") + "ies" if noun.endswith("y") else noun + "s"


def _span(counts: Sequence[int]) -> str:
    """Write the smallest and the largest of counts.

    >>> _span([710, 700, 720]), _span([700, 700])
    ('700 to 720', '700')
    """
    return " to ".join(f"{count:,}" for count in dict.fromkeys((min(counts), max(counts))))


def _trained(run: RunData, name: str) -> TrainCounts:
    return next(iter(_trained_of_folds(run, name)), TrainCounts())


def _trained_of_folds(run: RunData, name: str) -> list[TrainCounts]:
    """List what was counted in the training of a model, in each fold and with each seed."""
    seeds = (run.manifest.counts_of_folds(f"train {name} seed {seed}", TrainCounts) for seed in run.settings.seeds)
    return [counts for of_seed in seeds for counts in of_seed if counts != TrainCounts()]


def _models(run: RunData, scores: Scores, names: Sequence[str]) -> Iterator[str]:
    models = {name: run.settings.models[name] for name in names if name in run.settings.models}
    if not models:
        return
    said = [name if name == own.objective else f"{own.objective} ({name})" for name, own in models.items()]
    yield f"{'Objectives were' if len(said) > 1 else 'The objective was'} {', '.join(said)}."
    averaged = [
        f"{name} is the mean of the {own.average} of {own.members} models"
        for name, own in models.items()
        if own.members > 1
    ]
    if averaged:
        yield f"{'; '.join(averaged)}."
    swept = _swept(run, list(models))
    labels = {"model": "backbone", "learning_rate": "learning rate", "epochs": "epochs"}
    labels |= {"batch_size": "batch size", "max_length": "maximum length"}
    if (sweep := run.settings.sweep) is not None:  # what is chosen differs from what the settings say
        chosen = {*sweep.choose, *(["learning_rate"] if sweep.rates else [])}
        labels = {key: label for key, label in labels.items() if key not in chosen}
    values = {
        label: [value for name, own in models.items() for value in _used(run, name, getattr(own, key), key)]
        for key, label in labels.items()
    }
    used = []
    for label, of_each in values.items():
        if known := dict.fromkeys(map(str, of_each)):
            used.append(f"{label} {' / '.join(known)}")
    if used:
        yield f"Training used {', '.join(used)}."
    if swept:
        yield swept
    yield from _lengths(run, list(models))
    if seeds := run.settings.seeds:
        each = "Each model" if len(models) > 1 else "It"
        yield f"{each} was trained with {_count(len(seeds), 'seed')} ({', '.join(map(str, seeds))})."


def _used(run: RunData, name: str, said: object, key: str) -> list[object]:
    """Return a setting of a model as the study says it, or else as its trainings found it out."""
    if said is not None:
        return [said]
    found = (getattr(counts, key, None) for counts in _trained_of_folds(run, name))
    return [value for value in found if value is not None]


def _swept(run: RunData, names: Sequence[str]) -> str:
    """Say which learning rates, or other settings, a sweep has chosen; nothing where there was none."""
    sweep = run.settings.sweep
    if sweep is None:
        return ""
    best = {name: dict.fromkeys(_chosen(counts, sweep) for counts in _trained_of_folds(run, name)) for name in names}
    said = ", ".join(f"{' / '.join(filter(None, found))} for {name}" for name, found in best.items() if any(found))
    chosen = f": {said}" if said else ""
    if not sweep.choose:
        by = f"the {sweep.metric or 'nll'} of held-out training prompts"
        return f"Learning rates were chosen among {sweep.rates} by {by}{chosen}."
    among = {"learning rate": sweep.rates} if sweep.rates else {}
    among |= {name.replace("_", " "): values.replace(",", ", ") for name, values in sweep.choose.items()}
    settings = "; ".join(f"{name} among {values}" for name, values in among.items())
    metric = sweep.metric or "calibrated-nll"
    by = "NLL after a fitted temperature" if metric == "calibrated-nll" else metric
    return f"Settings ({settings}) were chosen by the {by} of the labels of held-out training prompts{chosen}."


def _chosen(counts: TrainCounts, sweep: SweepRecord) -> str:
    """Say what was chosen for a model: 1e-05, label weight 0.2."""
    rate = [] if counts.learning_rate is None or not sweep.rates else [f"{counts.learning_rate:g}"]
    return ", ".join([*rate, *(f"{name.replace('_', ' ')} {value}" for name, value in (counts.chosen or {}).items())])


def _lengths(run: RunData, names: Sequence[str]) -> Iterator[str]:
    """Say to which rewards length adds, and with which slope for each seed."""
    said = []
    for name in names:
        counts = (run.manifest.counts(f"train {name} seed {seed}", TrainCounts) for seed in run.settings.seeds)
        if slopes := [f"{own.length_slope:.2f}" for own in counts if own.length_slope is not None]:
            said.append(f"{' / '.join(slopes)} for {name}")
    if said:
        yield f"A multiple of the log length of a response in characters is part of the reward: {', '.join(said)}."


def _judge(run: RunData, scores: Scores, names: Sequence[str]) -> Iterator[str]:
    known = [m for m in run.margins if m.n_judgments]
    if not known:
        return
    n = sum(m.n_judgments + m.n_invalid for m in known) / len(known)
    judge = _who(run, "")
    made = run.manifest.counts("margin", MarginCounts)
    share = f" ({100 * made.invalid / made.judgments:.1f} %)" if made.judgments and made.invalid is not None else ""
    yield (
        f"Margins m = |Σj − n/2| / (n/2) rest on {n:.3g} judgments a pair{f' by {judge}' if judge else ''}; a tie "
        f"counts as half a vote for each response, and replies that name neither{share} are not votes."
    )
    for name in names:
        own = run.settings.models.get(name)
        if own is not None and own.judge and own.objective != "bradley-terry":
            yield f"The margins of {name} are those of {_who(run, own.judge) or own.judge} instead."


def _who(run: RunData, name: str) -> str | None:
    """Name a judge of the training pairs in full; one that learns is another in each fold."""
    counts = run.manifest.counts_of_folds(f"judge {name}".strip(), JudgeCounts)
    full = list(dict.fromkeys(one.judge for one in counts if one.judge))
    return full[0] if len(full) == 1 else f"{full[0]} and, in other folds, {listed(full[1:])}" if full else None


def _evaluation(run: RunData, scores: Scores, names: Sequence[str]) -> Iterator[str]:
    if not scores.models:
        return
    yield (
        f"The predicted preference is {_preference(run, names)}; it was compared with the fraction of votes for "
        "response a by Pearson's r and by the mean absolute difference (L1), averaged over seeds."
    )
    yield from _intervals(run, scores)
    yield from _tests(run, scores)
    findings = find_findings(scores)
    if scores.baseline is not None and findings:  # else there is a headline to it, and no finding
        yield statement(findings, scores)
    commit = run.manifest.git_commit
    yield f"Made with dissensus {__version__}{f' (commit {commit[:12]})' if commit else ''}."


def _tests(run: RunData, scores: Scores) -> Iterator[str]:
    """Say what was primary, and how its p-values were adjusted."""
    if not scores.counted:
        if any(row.p_holm is not None for row in run.metrics):
            yield "P values are of paired swap tests, adjusted by Holm over the groups shown."
        return
    wholes = [row for row in scores.counted if row.group == ALL]
    metrics = listed([name_of(metric) for metric in dict.fromkeys(row.metric for row in wholes)])
    models = listed(list(dict.fromkeys(row.model for row in wholes)))
    n, by_group = len(scores.counted), len(scores.counted) > len(wholes)
    tested = f"{_count(n, 'difference')} tested by swapping the predictions of the two models, whole prompts at a time"
    yield (
        f"Primary are the differences of {models} to {scores.baseline} in {metrics}, on all pairs"
        f"{' and by group' if by_group else ''}: {tested}."
    )
    if n > 1:
        yield (
            "Their p values are adjusted so that the probability of any false find among all of them is at most the "
            f"level: {_procedure(len(wholes), by_group=by_group)}."
        )
    yield "Everything else is exploratory."


def _procedure(families: int, *, by_group: bool) -> str:
    """Say how p-values of several families are adjusted (`dissensus.stats.resampling.multiplicity.gated_holm`)."""
    if not by_group:
        return "by Holm's method"
    gate = "all pairs are tested first and, where these differ, the groups by Holm's method"
    if families == 1:
        return gate
    return (
        f"each model and metric has an equal share of it, with which {gate}; the share of one that is rejected whole "
        "goes to the others (a graphical procedure of Bretz et al., 2009)"
    )


def _preference(run: RunData, names: Sequence[str]) -> str:
    models = run.settings.models
    spread = [name for name in names if name in models and models[name].objective in _DISTRIBUTED]
    fitted = {} if run.joined is None else run.joined.calibrated
    said = "".join(f"; that of {name} is calibrated ({words})" for name, words in fitted.items() if name in names)
    if not spread:
        return f"σ(r_a − r_b){said}"
    which = "" if len(spread) == len(names) else f" for {', '.join(spread)},"
    return f"σ(r_a − r_b),{which} whose rewards are distributions, integrated over both rewards{said}"


def _intervals(run: RunData, scores: Scores) -> Iterator[str]:
    """Say how the intervals of values were made, and how those of differences."""
    rows = [row for row in run.metrics if row.kind == "model" and row.target == "votes" and row.metric in HEADLINE]
    values = {row.method for row in rows if row.baseline is None and row.method is not None}
    differences = {row.method for row in rows if row.baseline is not None and row.method is not None}
    if not values | differences:
        return
    resamples = run.settings.evaluation.resamples
    counted = f" ({resamples:,} resamples)" if resamples is not None else ""
    made = {
        "t intervals with the bootstrap's standard error": "t" in values | differences,
        "bias-corrected and accelerated (BCa) for values": "bca" in values,
        "percentile for values": values == {"percentile"},
        "percentiles of the paired differences for Δ": "percentile" in differences,
    }
    how = "; ".join(words for words, there in made.items() if there)
    yield (
        f"Brackets are {percent(run.level)} bootstrap intervals{counted} over prompts, drawn within each data set: "
        f"{how}; all are widened for few or unequal prompts."
    )
    spread = [row.seed_sd for m in scores.models if (row := scores.value(m, "pearson")) is not None and row.seed_sd]
    if spread:
        ends = list(dict.fromkeys((number(min(spread)), number(max(spread)))))
        counts = "They count" if "t" in values | differences else "They do not count"
        yield f"{counts} the training seeds, between which the standard deviation of r was {' to '.join(ends)}."


def _of(pairs: Sequence[Pair]) -> str:
    names = sorted({pair.dataset for pair in pairs if pair.dataset is not None})
    shown = names if len(names) < 8 else [*names[:6], f"{len(names) - 6} more data sets"]
    return f" ({', '.join(shown)})" if shown else ""


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
