"""Judges on the test pairs: what a judge itself says of them, to be compared with people as the models are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dissensus.errors import InputError, JudgeError
from dissensus.files import write_records
from dissensus.judges.base import JudgeSettings
from dissensus.records import Judgment, Pair
from dissensus.run_records import JudgeCounts
from dissensus.steps import judge as judge_step
from dissensus.study.config import StudyConfig


def judges_of_test_pairs(config: StudyConfig) -> dict[str, JudgeSettings]:
    """List the judges of the test pairs by name: those asked for, or the study's own where that costs nothing.

    Names are short: ``committee``, ``gpt4``, ``Llama-3-70B-Instruct``. A second one of a name is called ``gpt4-2``,
    as is one whose name a model has.
    """
    judges = config.test_judges
    if judges is None:
        judges = () if config.judge.costs or config.judge.reads_votes else (config.judge,)
    named: dict[str, JudgeSettings] = {}
    for judging in judges:
        name, count = judging.short_name(), 1
        while name in named or name in config.models or name in config.pretrained:
            count += 1
            name = f"{judging.short_name()}-{count}"
        named[name] = judging
    return named


def judge_test_pairs(
    name: str,
    judging: JudgeSettings,
    train: Sequence[Pair],
    test: Sequence[Pair],
    *,
    sources: Sequence[str],
    is_asked_for: bool,
    store: Path,
    out: Path,
    progress: bool,
) -> JudgeCounts:
    """Have a judge judge the test pairs and write the judgments to a file; returns its full name and counts.

    A committee learns from the labels of the training pairs alone. Pairs that a judge says nothing of are left out; a
    judge that nobody asked for by name may say nothing at all, or be unable to.

    Raises:
        InputError: published verdicts, or a store, have nothing on any test pair; only for judges that were asked for.
        JudgeError: the judge cannot judge them, or was stopped; likewise.
    """
    unlabelled = [pair.model_copy(update={"label": None}) for pair in test]
    counts = JudgeCounts()
    found: list[Judgment] = []
    try:
        summary = judge_step.run(
            judging,
            unlabelled,
            store,
            sources=sources,
            learn_from=train if judging.learns else (),
            progress=progress,
        )
        summary.check_complete()
        found = judge_step.judgments(judging, summary.judge, unlabelled, store)
        counts = JudgeCounts.model_validate(summary.counts())
        if not found:
            raise InputError(f"test_judges: {name} has judged none of the {len(test)} test pairs")
    except (InputError, JudgeError):  # nobody asked for it: a study must not end for want of a row
        if is_asked_for:
            raise
        counts = JudgeCounts()
    out.parent.mkdir(parents=True, exist_ok=True)
    write_records(out, [judgment.model_copy(update={"judge": name}) for judgment in found])
    return counts.model_copy(update={"judged": len({judgment.pair_id for judgment in found})})
