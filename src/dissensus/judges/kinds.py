"""The settings of judges that are no language models; what judges is imported when it judges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from dissensus.errors import ConfigError, InputError
from dissensus.files.database_url import StoreName, StorePlace, place_of
from dissensus.judge_calibration import CALIBRATION, Covariates, Target
from dissensus.judges.base import AnyJudge, Estimate, JsonObject, JudgeSettings, Material, Orders, VoteKind
from dissensus.parts import PartOf
from dissensus.places.addresses import path_of
from dissensus.settings import Option, Reads

if TYPE_CHECKING:
    from dissensus.judges.committee import Committee
    from dissensus.judges.graph import LabelGraph
    from dissensus.judges.published import PublishedVerdicts
    from dissensus.judges.runner import Pairs
    from dissensus.judges.summary import Summary
    from dissensus.judges.votes import HumanVotes
    from dissensus.records import Pair


class CommitteeSettings(JudgeSettings):
    """A committee of small reward models; each votes on pairs it did not learn from."""

    learns = True
    streams = True

    name: Literal["committee"] = "committee"
    n: PositiveInt = 10
    """Members that vote on each pair. More members leave the votes of the first ones as they are."""
    folds: int = Field(default=5, ge=2)
    """Parts that the groups are dealt into; fewer where there are fewer groups."""
    encoder: Annotated[str, Reads("model")] = "minilm"
    """minilm, a model's folder or a Hub id."""
    max_length: int = Field(default=256, ge=8)
    """Tokens that the encoder reads of a prompt and a response."""
    feature_share: float = Field(default=0.5, gt=0, le=1)
    """Share of the encoder's features that each member sees, drawn anew for each."""
    l2: PositiveFloat = 300.0
    """Strength of the penalty l2/2 |w|^2 on heads that see standardised features, beside a loss summed over pairs."""
    seed: int = Field(default=0, ge=0)
    """Of the draws."""

    def open(self, pairs: Iterable[Pair], material: Material) -> Committee:
        """Load the encoder, and deal the pairs, with those to learn from, into folds."""
        from dissensus.judges.committee import Committee
        from dissensus.text.encoder import load_encoder

        encoder = load_encoder(self.encoder, max_length=self.max_length)
        return Committee(chain(material.learn_from, pairs), self, encoder, progress=material.progress)

    def recalled_with(self, stored: Mapping[str, Any]) -> JsonObject:
        """Recall the votes of so many members; a store may have more."""
        return {"n": self.n}

    def content(self, sources: Sequence[str]) -> list[str]:
        """Hash the encoder."""
        from dissensus.files import content_of
        from dissensus.text.encoder import resolve_model

        return [content_of(resolve_model(self.encoder)) or ""]

    def estimate(self, pairs: int, prompt_tokens: float) -> Estimate:
        """Count the votes."""
        return Estimate(f"a committee, {pairs:,} pairs × {self.n} = {pairs * self.n:,} judgments; no cost")


class GraphSettings(JudgeSettings):
    """The labels of a prompt's other pairs: Bradley-Terry over its responses, no model."""

    learns = True

    name: Literal["graph"] = "graph"
    own_label: Literal["held-out", "in"] = "held-out"
    """Whether a pair's own label counts in its judgment: a target to train on may count it, a judge beside the label
    must not."""
    prior: Literal["length", "none"] = "length"
    """What responses are shrunk towards: a learned slope times the log of their length, or each other."""
    l2: Annotated[PositiveFloat | None, Option(default="by held-out labels")] = None
    """Strength of the penalty l2/2 |theta - prior|^2 beside a log-likelihood summed over pairs; the one under which
    held-out labels are the most likely unless given."""

    def open(self, pairs: Sequence[Pair], material: Material) -> LabelGraph:
        """Fit the graph to the labels of the pairs and of those to learn from."""
        from dissensus.judges.graph import LabelGraph

        return LabelGraph([*material.learn_from, *pairs], self)

    def estimate(self, pairs: int, prompt_tokens: float) -> Estimate:
        """Count the judgments."""
        return Estimate(f"the labels of each prompt, {pairs:,} pairs = {pairs:,} judgments; no cost")

    def sees_own_label(self) -> bool:
        """Whether that was asked for."""
        return self.own_label == "in"

    def vote_kind(self) -> VoteKind:
        """Make margins of the one preference that there is."""
        return "limit"


class VotesSettings(JudgeSettings):
    """People's votes on each pair, but for one that became its label."""

    streams = reads_votes = True

    name: Literal["votes"] = "votes"
    label_is_a_vote: Annotated[
        bool | None, Option("--label-is-a-vote/--label-is-no-vote", default="as the pairs say")
    ] = None
    """Whether the label is one of the votes, and so is left out of them; as the pairs say unless given."""

    def open(self, pairs: Iterable[Pair], material: Material) -> HumanVotes:
        """Take the votes of the pairs."""
        from dissensus.judges.votes import HumanVotes

        # Where labels were drawn, they are votes also in pairs that an older version wrote without saying so.
        known = True if self.label_is_a_vote is None and material.label_was_drawn else self.label_is_a_vote
        return HumanVotes(pairs, label_is_a_vote=known)

    def leaves_label_out(self) -> bool:
        """Whether all labels are votes."""
        return bool(self.label_is_a_vote)


class PublishedSettings(JudgeSettings):
    """Published verdicts, in the pairs' file or in one of their own."""

    name: Literal["published"] = "published"
    judge: str
    """As the file calls it: ``gpt4``."""
    file: Annotated[str | None, Reads()] = None
    """The file of the pairs unless given."""

    def open(self, pairs: Sequence[Pair], material: Material) -> PublishedVerdicts:
        """Read the verdicts from their own file, or from each of the pairs' files that has some of the judge."""
        from dissensus.judges.published import Place, PublishedVerdicts, Verdict, read_published

        verdicts: dict[Place, Verdict] = {}
        reasons = []
        for file in self._files(material.sources):
            try:
                judges = read_published(path_of(file), pairs, notice=lambda _: None)
            except InputError as error:  # of several files, not all need have verdicts
                reasons.append(str(error))
                continue
            if self.judge in judges:
                verdicts |= judges[self.judge].verdicts
            else:
                reasons.append(f"{file}: has {', '.join(sorted(judges))}")
        if not verdicts:
            raise InputError(f"no verdicts of a judge {self.judge!r} on these pairs ({'; '.join(reasons)})")
        return PublishedVerdicts(self.judge, verdicts)

    def content(self, sources: Sequence[str]) -> list[str]:
        """Hash the files of the verdicts."""
        from dissensus.files import content_of

        return [content_of(file) or "" for file in self._files(sources)]

    def lacks_file(self) -> bool:
        """Whether verdicts are looked for in the files of the pairs."""
        return self.file is None

    def called(self) -> str:
        """Return the judge's name in the file."""
        return self.judge

    def _files(self, sources: Sequence[str]) -> Sequence[str]:
        return sources if self.file is None else [self.file]


class StoredSettings(JudgeSettings):
    """Judgments that `dissensus judge` has made already."""

    has_own_store = True

    name: Literal["store"] = "store"
    store: Annotated[StoreName, Reads("store")]
    """The judgments: an SQLite file or a postgresql:// URL."""
    judge: str = ""
    """Its full name, or the beginning of it; may be left out where the store has one judge."""
    votes: VoteKind = "drawn"
    """n drawn votes; of a judge in mode exact the mean over such draws, or the limit of many, which any judge has whose
    judgments say how probable they are."""
    n: PositiveInt | None = None
    """Judgments per pair; as many as were asked for unless given."""
    order: Orders | None = None
    """Use the judgments of one presentation order."""
    temperature: PositiveFloat | None = None
    """Of the draws of a judge in mode exact."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of the draws of a judge in mode exact."""
    seed: int | None = None
    """Of the draws of a judge in mode exact."""

    def run(self, pairs: Pairs, store: StorePlace, material: Material) -> Summary:
        """Ask nothing: whatever there is, is there."""
        from dissensus.judges.progress_display import Tally
        from dissensus.judges.summary import Summary

        return Summary(self._full_name(), str(self.store), len(pairs), Tally(0))

    def recalled_with(self, stored: Mapping[str, Any]) -> JsonObject:
        """Recall as these settings say."""
        return self.model_dump(include={"n", "order", "temperature", "top_p", "seed"})

    def content(self, sources: Sequence[str]) -> list[str]:
        """Name the judge: what it has said of which pairs counts where it is recalled."""
        return [self._full_name()]

    def stored_content(self) -> list[str]:
        """Digest what the store has of the judge: its bytes change while it is open, and others may add to it."""
        from dissensus.judges.store.store import JudgmentStore

        with JudgmentStore(self.store, create=False) as opened:
            return [opened.digest(self._full_name())]

    def store_path(self, default: StorePlace) -> StorePlace:
        """Return its own store."""
        return place_of(self.store)

    def vote_kind(self) -> VoteKind:
        """Say what margins are made of."""
        return self.votes

    def called(self) -> str:
        """Return the name that was given."""
        return self.judge

    def _full_name(self) -> str:
        from dissensus.judges.store.query import choose_judge
        from dissensus.judges.store.store import JudgmentStore

        with JudgmentStore(self.store, create=False) as opened:
            return choose_judge(self.judge, opened)


class CombinedSettings(JudgeSettings):
    """Several judges, corrected by people's labels or votes and combined into one preference of each pair.

    The judges stand under the key judges in a file of settings (--config), each as in a study.
    """

    learns = True

    name: Literal["combined"] = "combined"
    judges: Annotated[tuple[AnyJudge, ...], Field(min_length=1), Option(is_hidden=True)]
    """The judges, each with its own settings; one alone is corrected."""
    calibrate: Target = "labels"
    """What they are fitted to: the labels of the pairs, or the shares of people's votes."""
    covariates: Covariates = "length"
    """Beside the judges the log ratio of the responses' lengths, or nothing."""
    rewards: Annotated[Path | None, Reads("file")] = None
    """Predictions of a reward model that was not trained on these pairs, as a further column."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.calibrate == "votes" and any(judge.sees_votes() for judge in self.judges):
            raise ValueError("judges: people's votes are what the others are calibrated to; leave the judge votes out")
        if any(judge.sees_own_label() for judge in self.judges):
            raise ValueError(
                "judges: a graph with own_label: in says the label itself; combine it with own_label: held-out"
            )
        return self

    def for_workers(self, count: int) -> Self:
        """Refuse: it weighs its judges on all pairs at once."""
        raise ConfigError(
            "combined: weighs its judges on all pairs at once; judge with each of them on the cluster, then run it on "
            "the store, or: dissensus margin --judge x --judge y --calibrate labels"
        )

    def run(self, pairs: Pairs, store: StorePlace, material: Material) -> Summary:
        """Have every judge judge the pairs into the store, then put their calibrated preferences beside."""
        from dissensus.judges.combined import CombinedJudges, Opinion, read_reward_gaps
        from dissensus.judges.runner import judge_pairs
        from dissensus.judges.store.store import JudgmentStore

        if isinstance(pairs, PartOf):
            raise ConfigError(
                "combined: weighs its judges on all pairs at once, and has no parts; judge with each of them in parts, "
                "merge, then run it on the merged store, or: dissensus margin --judge x --judge y --calibrate labels"
            )
        asked = list(pairs)
        known = {pair.id for pair in asked}
        every = [*(pair for pair in material.learn_from if pair.id not in known), *asked]
        ids = [pair.id for pair in every]
        opinions = []
        for judge in self.judges:
            summary = judge.run(every, store, replace(material, learn_from=()))
            summary.check_complete()
            with JudgmentStore(judge.store_path(store), create=False) as opened:
                opinions.append(Opinion.recalled(judge.recall(opened, summary.judge, every), ids))
        combined = CombinedJudges(
            every,
            opinions,
            calibrate=self.calibrate,
            covariates=self.covariates,
            gaps=None if self.rewards is None else read_reward_gaps(self.rewards, ids),
        )
        with JudgmentStore(store) as opened:
            opened.register(combined.name, {CALIBRATION: combined.calibration.model_dump(mode="json")})
            return judge_pairs(asked, combined, opened, progress=material.progress)

    def content(self, sources: Sequence[str]) -> list[str]:
        """Hash what the judges read, and the predictions."""
        from dissensus.files import content_of

        own = [] if self.rewards is None else [content_of(str(self.rewards)) or ""]
        return [*own, *(part for judge in self.judges for part in (*judge.content(sources), *judge.stored_content()))]

    def estimate(self, pairs: int, prompt_tokens: float) -> Estimate:
        """Add up what the judges take."""
        found = [judge.estimate(pairs, prompt_tokens) for judge in self.judges]
        return Estimate(
            f"{len(found)} judges, combined",
            [line for one in found for line in (one.what, *(f"  {detail}" for detail in one.details))],
            sum(one.asked for one in found),
            sum(one.tokens_read for one in found),
            sum(one.tokens_written for one in found),
            sum(one.dollars for one in found),
        )

    def vote_kind(self) -> VoteKind:
        """Take the calibrated preferences as they are."""
        return "limit"

    def asks_for_money(self) -> bool:
        """Whether one of the judges does."""
        return any(judge.asks_for_money() for judge in self.judges)

    def sees_votes(self) -> bool:
        """Whether votes are fitted to, or one of the judges reads them."""
        return self.calibrate == "votes" or any(judge.sees_votes() for judge in self.judges)

    def calibrates(self) -> bool:
        """It does."""
        return True

    def leaves_label_out(self) -> bool:
        """Whether one of the judges does."""
        return any(judge.leaves_label_out() for judge in self.judges)

    def lacks_file(self) -> bool:
        """Whether one of the judges names no file of its verdicts."""
        return any(judge.lacks_file() for judge in self.judges)
