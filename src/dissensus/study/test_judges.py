"""Judges on the test pairs: what a judge itself says of them, to be compared with people as the models are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from dissensus.errors import InputError, JudgeError
from dissensus.files import content_of, write_records
from dissensus.records import Judgment, Pair
from dissensus.study.config import StudyConfig
from dissensus.study.judge_stage import (
    CommitteeJudge,
    ModelJudge,
    PublishedJudge,
    StoreJudge,
    make_judgments,
    outside_content,
    recall,
    stored_content,
)


def judges_of_test_pairs(config: StudyConfig) -> dict[str, BaseModel]:
    """List the judges of the test pairs by name: those asked for, or the study's own where that costs nothing.

    Names are short: ``committee``, ``gpt4``, ``Llama-3-70B-Instruct``. A second one of a name is called ``gpt4-2``,
    as is one whose name a model has.
    """
    judges = config.test_judges
    if judges is None:
        judges = (config.judge,) if isinstance(config.judge, CommitteeJudge | PublishedJudge | StoreJudge) else ()
    named: dict[str, BaseModel] = {}
    for judging in judges:
        name, count = _short_name(judging), 1
        while name in named or name in config.models or name in config.pretrained:
            count += 1
            name = f"{_short_name(judging)}-{count}"
        named[name] = judging
    return named


def _short_name(judging: BaseModel) -> str:
    field = {PublishedJudge: "judge", StoreJudge: "judge", ModelJudge: "model"}.get(type(judging), "name")
    name = str(getattr(judging, field)).rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".") or "judge"


def judged_content(judging: BaseModel, config: StudyConfig) -> list[str]:
    """Hash what a judge of the test pairs reads beside them."""
    if isinstance(judging, StoreJudge):
        return [*outside_content(judging, config.pairs), stored_content(judging)]
    if isinstance(judging, PublishedJudge) and judging.file is None:
        return [content_of(source) or "" for source in _sources(config)]
    return outside_content(judging, config.pairs)


def judge_test_pairs(
    name: str,
    judging: BaseModel,
    config: StudyConfig,
    train: Sequence[Pair],
    test: Sequence[Pair],
    *,
    store: Path,
    out: Path,
    progress: bool,
) -> dict[str, Any]:
    """Have a judge judge the test pairs and write the judgments to a file; returns its full name and counts.

    A committee learns from the labels of the training pairs alone. Pairs that a judge says nothing of are left out; a
    judge that nobody asked for by name may say nothing at all, or be unable to.

    Raises:
        InputError: published verdicts, or a store, have nothing on any test pair; only for judges that were asked for.
        JudgeError: the judge cannot judge them, or was stopped; likewise.
    """
    unlabelled = [pair.model_copy(update={"label": None}) for pair in test]
    try:
        judged = _judge(judging, config, train, unlabelled, store, progress=progress)
        found = _judgments(judging, judged["judge"], unlabelled, store)
        if not found:
            raise InputError(f"test_judges: {name} has judged none of the {len(test)} test pairs")
    except (InputError, JudgeError):  # nobody asked for it: a study must not end for want of a row
        if config.test_judges is not None:
            raise
        judged, found = {}, []
    out.parent.mkdir(parents=True, exist_ok=True)
    write_records(out, [judgment.model_copy(update={"judge": name}) for judgment in found])
    return {**judged, "judged": len({judgment.pair_id for judgment in found})}


def _judge(
    judging: BaseModel, config: StudyConfig, train: Sequence[Pair], test: list[Pair], store: Path, *, progress: bool
) -> dict[str, Any]:
    if isinstance(judging, PublishedJudge):
        return _judge_from_files(judging, config, test, store)
    known = [*train, *test] if isinstance(judging, CommitteeJudge) else test
    return make_judgments(
        judging, known, store, pairs_file=config.pairs, drawn_label=False, progress=progress, only=test
    )


def _judgments(judging: BaseModel, judge: str, pairs: list[Pair], store: Path) -> list[Judgment]:
    from dissensus.judge import JudgmentStore

    path = Path(judging.store) if isinstance(judging, StoreJudge) else store
    with JudgmentStore(path, create=False) as opened:
        return list(recall(judging, opened, judge, pairs).judgments())


def _judge_from_files(
    judging: PublishedJudge, config: StudyConfig, test: Sequence[Pair], store: Path
) -> dict[str, Any]:
    """Read published verdicts from their own file, or from each of the study's files that has some of the judge."""
    from dissensus.judge import JudgmentStore, judge_pairs
    from dissensus.judge.published import Place, PublishedVerdicts, Verdict, read_published

    verdicts: dict[Place, Verdict] = {}
    reasons = []
    for file in [judging.file] if judging.file else _sources(config):
        try:
            judges = read_published(Path(file), test, notice=lambda _: None)
        except InputError as error:  # the study's files need not all have verdicts
            reasons.append(str(error))
            continue
        if judging.judge in judges:
            verdicts |= judges[judging.judge].verdicts
        else:
            reasons.append(f"{file}: has {', '.join(sorted(judges))}")
    if not verdicts:
        raise InputError(f"test_judges: no verdicts of {judging.judge!r} on the test pairs ({'; '.join(reasons)})")
    judge = PublishedVerdicts(judging.judge, verdicts)
    with JudgmentStore(store) as opened:
        summary = judge_pairs(test, judge, opened, progress=False)
    return {"judge": judge.name, "made": summary.made, "reused": summary.reused}


def _sources(config: StudyConfig) -> list[str]:
    sets = {**config.in_domain, **config.out_of_domain}
    return [*([config.pairs] if config.pairs else []), *(given.pairs for given in sets.values())]
