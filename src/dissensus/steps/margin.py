"""Margins: judgments of a store in, margins and preferences out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from dissensus.errors import ConfigError, InputError
from dissensus.files.database_url import StorePlace
from dissensus.judge_calibration import CALIBRATION, ENDING, Covariates, JudgeCalibration, Target
from dissensus.judges.base import Orders, VoteKind
from dissensus.judgment_margins import MarginColumns
from dissensus.settings import Argument, Reads, Settings, Writes
from dissensus.versions import stamped

if TYPE_CHECKING:
    from dissensus.judges.store.query import Recall, Recalled
    from dissensus.judges.store.vote_counts import PairContents
    from dissensus.records import Margin, Pair


def _as_names(value: Any) -> Any:
    """Take one name, as files of settings have given it."""
    return ((value,) if value else ()) if isinstance(value, str) else value


class MarginSettings(Settings):
    """Turn the judgments of PAIRS into margins and preferences (the paper's equation 3).

    Where each pair was judged in both presentation orders, both count the same. A judge in mode exact has stored raw
    log-probabilities: its margins can be made again at another temperature, top-p or n without asking it anything.
    With --calibrate, one judge or several are first corrected by what people say.
    """

    pairs: Annotated[str, Reads(), Argument()]
    """The pairs that were judged."""
    store: Annotated[StorePlace, Reads("store")]
    """The judgments: an SQLite file or a postgresql:// URL."""
    out: Annotated[Path, Writes()]
    """Margins: .parquet, .jsonl(.gz) or .csv."""
    judge: Annotated[tuple[str, ...], BeforeValidator(_as_names)] = ()
    """A judge's full name, or the beginning of it; several with --calibrate."""
    calibrate: Target | None = None
    """Correct and combine the judges: a logistic stack fitted to people's labels, or to their votes, for each pair on
    other prompts than its own. Writes what it found beside the margins (OUT without its ending, and
    .calibration.json)."""
    covariates: Covariates = "length"
    """With --calibrate: beside the judges the log ratio of the responses' lengths, or nothing."""
    rewards: Annotated[Path | None, Reads("file")] = None
    """With --calibrate: predictions of a reward model that was not trained on these pairs, as a further column."""
    n: Annotated[int, Field(ge=1)] | None = None
    """Use N judgments of each pair; as many as were asked for unless given."""
    order: Orders | None = None
    """Use the judgments of one presentation order."""
    votes: VoteKind = "drawn"
    """n drawn votes; for a judge in mode exact the mean of such draws, or the limit of many, which any judge has whose
    judgments say how probable they are (committee, graph, published verdicts)."""
    temperature: Annotated[float, Field(gt=0)] | None = None
    """Of the draws (mode exact)."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of the draws (mode exact)."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Of the draws (mode exact)."""
    allow_missing: bool = False
    """Leave pairs without a valid judgment out."""


@dataclass(frozen=True)
class Margins:
    """Margins, and what stands behind them."""

    margins: Sequence[Margin]
    recalled: Recalled

    def __len__(self) -> int:
        return len(self.margins)


def make_margins(
    recall: Recall, pair_ids: Iterable[str], *, votes: VoteKind = "drawn", allow_missing: bool = False
) -> Margins:
    """Make a margin for each of ``pair_ids`` from what a store recalls of one judge.

    Args:
        recall: the judge's answers.
        pair_ids: the pairs that get a margin, in this order.
        votes: ``drawn``: from the n sampled judgments, or from n draws of the probabilities (the paper's margin);
            ``expected``: the mean over such draws; ``limit``: what many draws tend to. The last two need a judge in
            mode ``exact``, or for the limit one whose judgments all say how probable they are. Drawn margins of a judge
            in mode ``exact`` carry the limit beside them.
        allow_missing: leave pairs without a valid judgment out.

    Raises:
        JudgeError: a pair has no valid judgment, or the judge has no probabilities.
    """
    from dissensus.judges.store.vote_counts import VoteTable
    from dissensus.judgment_margins import (
        margins_from_counted,
        margins_from_counts,
        margins_from_probabilities,
        margins_from_stated_probabilities,
    )

    ids = list(dict.fromkeys(pair_ids))
    if votes == "limit" and not recall.is_exact:
        stated = margins_from_stated_probabilities(recall.judgments(), ids, allow_missing=allow_missing)
        return Margins(stated, recall.count())
    if votes != "drawn":
        recall.require_probabilities()
        found = recall.count(draw=False)
        n = recall.n if votes == "expected" else None
        return Margins(margins_from_probabilities(found.probabilities, ids, n=n, allow_missing=allow_missing), found)
    found = recall.count()
    if isinstance(found.votes, VoteTable) and found.votes.ids == ids:
        return Margins(margins_from_counted(ids, found.votes.counts, allow_missing=allow_missing), found)
    margins = margins_from_counts(found.votes, ids, allow_missing=allow_missing)
    if not found.probabilities:
        return Margins(margins, found)
    # Where replies were sampled instead, no limit is known.
    unsure = {row.pair_id for row in found.probabilities if not row.certified}
    known = [margin.pair_id for margin in margins if margin.pair_id not in unsure]
    at_limit = margins_from_probabilities(found.probabilities, known, allow_missing=True)
    limits = {margin.pair_id: margin.margin_limit for margin in at_limit}
    return Margins([m.model_copy(update={"margin_limit": limits.get(m.pair_id)}) for m in margins], found)


@dataclass(frozen=True)
class MarginResult(Margins):
    """Margins that were written to a file."""

    judge: str
    pairs: int
    """How many were asked about."""
    out: Path

    def lines(self) -> list[str]:
        """Say what was found, one thing a line."""
        found, margins = self.recalled, self.margins
        invalid = int(_total(margins, "n_invalid"))
        in_columns = isinstance(margins, MarginColumns)  # which have no limits
        limits = [] if in_columns else [one.margin_limit for one in margins if one.margin_limit is not None]
        read = f"of {len(found.probabilities):,} choice distributions"
        said = [
            ("judge", self.judge),
            ("margins", f"{len(margins):,} of {self.pairs:,} pairs, written to {self.out}"),
            ("mean", f"{_total(margins, 'margin') / len(margins):.3f}"),
        ]
        if limits:
            said.append(("limit", f"{sum(limits) / len(limits):.3f} with ever more votes ({len(limits):,} pairs)"))
        if self.pairs > len(margins):
            said.append(("left out", f"{self.pairs - len(margins):,} pairs without a valid judgment"))
        if found.unfinished:
            lacking = (
                "pairs have fewer judgments than are planned or asked for with --n; dissensus judge makes the rest"
            )
            said.append(("unfinished", f"{found.unfinished:,} {lacking}"))
        if found.in_one_order:
            bias = "so a preference for the response shown first is part of their margins"
            said.append(
                ("one order", f"{found.in_one_order:,} pairs have votes in one presentation order alone, {bias}")
            )
        if invalid:
            said.append(("invalid", f"{invalid:,} judgments name no winner"))
        if found.uncertified:
            instead = f"; sampled replies stand for {found.sampled_instead:,} of them" if found.sampled_instead else ""
            why = f"the model would not surely begin with 'Choice:'{instead}"
            said.append(("unforced", f"{found.uncertified:,} {read}: {why}"))
        if found.inexact:
            off = f"probabilities are off by up to {found.largest_error:.3f}"
            said.append(("inexact", f"{found.inexact:,} {read} saw too few tokens for these settings; {off}"))
        return [f"{name:<10} {text}" for name, text in said]


def _contents(source: str) -> PairContents:
    """Read the ids and contents of the pairs: by column where the file allows it."""
    from dissensus.files.rows.plain_pairs import read_contents
    from dissensus.judges.store.vote_counts import PairContents
    from dissensus.sources import read_pairs

    plain = read_contents(Path(source))
    return PairContents.of(read_pairs(source)) if plain is None else PairContents(*plain)


def _total(margins: Sequence[Margin], name: str) -> float:
    return margins.total(name) if isinstance(margins, MarginColumns) else sum(getattr(one, name) for one in margins)


@dataclass(frozen=True)
class CalibratedResult:
    """Calibrated margins that were written to a file, and what is behind them."""

    margins: Sequence[Margin]
    calibration: JudgeCalibration
    pairs: int
    """How many were asked about."""
    out: Path

    def lines(self) -> list[str]:
        """Say what was found: the tables, then what was written."""
        from dissensus.evaluation.tables.judge_tables import calibration_tables
        from dissensus.evaluation.tables.render import terminal_table

        tables = [line for table in calibration_tables(self.calibration) for line in (terminal_table(table), "")]
        mean = sum(margin.margin for margin in self.margins) / len(self.margins)
        said = [
            ("margins", f"{len(self.margins):,} of {self.pairs:,} pairs, written to {self.out}"),
            ("mean", f"{mean:.3f}"),
            ("beside it", str(calibration_file(self.out))),
        ]
        return [*tables, *(f"{name:<10} {text}" for name, text in said)]


def calibration_file(margins: Path) -> Path:
    """Name the file of a calibration beside its margins."""
    name = margins.name.removesuffix(".gz")
    return margins.with_name(name.removesuffix(Path(name).suffix) + ENDING)


def run(settings: MarginSettings) -> MarginResult | CalibratedResult:
    """Make margins and write them.

    Raises:
        ConfigError: settings do not fit together.
        InputError: there is no such store or judge, or it judged none of the pairs.
        JudgeError: a pair has no valid judgment, a setting does not fit the judge, or judges cannot be combined.
        OutputError: the file cannot be written.
    """
    from dissensus.files import write_json, write_records
    from dissensus.files.record_files import write_columns
    from dissensus.judges.store.query import Recall, choose_judge
    from dissensus.judges.store.store import JudgmentStore
    from dissensus.judges.store.vote_counts import PairContents
    from dissensus.records import Margin
    from dissensus.sources import read_pairs

    _check(settings)
    rows = list(read_pairs(settings.pairs)) if settings.calibrate is not None else []
    asked = PairContents.of(rows) if rows else _contents(settings.pairs)
    with JudgmentStore(settings.store, create=False) as opened:
        judges = [choose_judge(name, opened) for name in settings.judge or ("",)]
        changes = settings.model_dump(include={"n", "order", "temperature", "top_p", "seed"})
        recalls = [Recall(opened, judge, asked, **changes) for judge in judges]
        if settings.calibrate is not None:
            return _calibrated(settings, recalls, rows)
        kept = opened.settings(judges[0]).get(CALIBRATION)  # of combined judges, whose judgments are shares
        votes = settings.votes if kept is None else "limit"
        made = make_margins(recalls[0], asked.ids, votes=votes, allow_missing=settings.allow_missing)
    if not made:
        raise InputError(
            f"{settings.store}: {judges[0]} judged none of the {len(asked)} pairs of {settings.pairs}; nothing is "
            "written"
        )
    if isinstance(made.margins, MarginColumns):
        write_columns(settings.out, made.margins.columns(), Margin)
    else:
        write_records(settings.out, made.margins)
    if kept is not None:
        write_json(calibration_file(settings.out), stamped(kept))
        return CalibratedResult(made.margins, JudgeCalibration.model_validate(kept), len(asked), settings.out)
    return MarginResult(made.margins, made.recalled, judges[0], len(asked), settings.out)


def _calibrated(settings: MarginSettings, recalls: Sequence[Recall], rows: Sequence[Pair]) -> CalibratedResult:
    from dissensus.files import write_json, write_records
    from dissensus.judges.combined import CombinedJudges, Opinion, read_reward_gaps

    assert settings.calibrate is not None
    ids = [pair.id for pair in rows]
    combined = CombinedJudges(
        rows,
        [Opinion.recalled(recall, ids) for recall in recalls],
        calibrate=settings.calibrate,
        covariates=settings.covariates,
        gaps=None if settings.rewards is None else read_reward_gaps(settings.rewards, ids),
    )
    margins = combined.margins(ids, allow_missing=settings.allow_missing)
    write_records(settings.out, margins)
    write_json(calibration_file(settings.out), stamped(combined.calibration.model_dump(mode="json")))
    return CalibratedResult(margins, combined.calibration, len(rows), settings.out)


def _check(settings: MarginSettings) -> None:
    if settings.calibrate is None:
        if len(settings.judge) > 1:
            raise ConfigError(
                f"--judge is given {len(settings.judge)} times, and margins are of one judge; combine them with "
                "--calibrate labels"
            )
        if settings.rewards is not None:
            raise ConfigError("--rewards is a column beside calibrated judges; add --calibrate labels, or leave it out")
    elif "votes" in settings.model_fields_set and settings.votes != "limit":
        raise ConfigError(
            f"--votes {settings.votes}: --calibrate takes a judge's probabilities where there are some, and its votes "
            "elsewhere; leave --votes out"
        )
