"""The judges that a study can have, and having them judge its training pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from dissensus.errors import InputError, JudgeError
from dissensus.files import content_of
from dissensus.judge.committee import CommitteeConfig
from dissensus.judge.language.backends import BackendConfig
from dissensus.judge.language.plan import LanguageConfig, Orders
from dissensus.judge.language.prompt import templates
from dissensus.records import Pair
from dissensus.study.margin_stage import VoteKind
from dissensus.text.encoder import resolve_model

if TYPE_CHECKING:
    from dissensus.judge import JudgmentStore
    from dissensus.judge.store.query import Recall


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CommitteeJudge(CommitteeConfig):
    """The committee, in a study."""

    name: Literal["committee"] = "committee"


class VotesJudge(_Settings):
    """The pairs' own votes other than a label drawn from them (the paper's gold margin)."""

    name: Literal["votes"]
    label_is_a_vote: bool | None = None
    """Whether the label is one of the votes, which is then not counted again; unless given, with ``one-vote``, and
    where the pairs say so (`dissensus pairs --label one-vote`)."""


class PublishedJudge(_Settings):
    """Verdicts that others published, in the file of the pairs or in one of their own."""

    name: Literal["published"]
    judge: str
    """As the file calls it: ``gpt4``."""
    file: str | None = None
    """The study's pairs by default."""


class StoreJudge(_Settings):
    """Judgments that `dissensus judge` has made already."""

    name: Literal["store"]
    store: str
    judge: str = ""
    """Its full name, or the beginning of it; may be left out where the store has one judge."""
    votes: VoteKind = "drawn"
    n: PositiveInt | None = None
    order: Orders | None = None
    temperature: PositiveFloat | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int | None = None


class ModelJudge(LanguageConfig):
    """A language model that the study asks itself."""

    name: Literal["local", "server", "vllm"]
    votes: VoteKind = "drawn"
    device: str | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    base_url: str | None = None
    api: Literal["chat", "completions"] = "chat"
    key_variable: str = "OPENAI_API_KEY"
    context: PositiveInt | None = None
    timeout: PositiveFloat = 300.0
    concurrency: PositiveInt = 256
    price_prompt: NonNegativeFloat = 0.0
    """Dollars per million tokens."""
    price_reply: NonNegativeFloat = 0.0
    max_cost: NonNegativeFloat | None = None

    @model_validator(mode="after")
    def _costs_something(self) -> Self:
        if self.max_cost is not None and not (self.price_prompt or self.price_reply):
            raise ValueError("max_cost: nothing costs anything without a price; give price_prompt and price_reply")
        return self

    @property
    def backend(self) -> BackendConfig:
        """Where the model runs."""
        names = set(BackendConfig.model_fields) - {"backend"}
        return BackendConfig(backend=self.name, **self.model_dump(include=names))

    @property
    def language(self) -> LanguageConfig:
        """How it is asked."""
        return LanguageConfig(**self.model_dump(include=set(LanguageConfig.model_fields)))


JudgeSettings = Annotated[
    CommitteeJudge | VotesJudge | PublishedJudge | StoreJudge | ModelJudge, Field(discriminator="name")
]
JUDGES: dict[str, type[BaseModel]] = {
    "committee": CommitteeJudge,
    "votes": VotesJudge,
    "published": PublishedJudge,
    "store": StoreJudge,
    **dict.fromkeys(("local", "server", "vllm"), ModelJudge),
}
"""Name to settings, for messages."""


_HOW_ASKED = ("device", "key_variable", "timeout", "concurrency", "price_prompt", "price_reply", "max_cost")


def deciding(judging: BaseModel) -> dict[str, Any]:
    """Return the settings that decide what a judge says; how a model is asked, and what it costs, are as by default."""
    usual = {name: ModelJudge.model_fields[name].default for name in _HOW_ASKED}
    return judging.model_dump(mode="json") | (usual if isinstance(judging, ModelJudge) else {})


def outside_content(judging: BaseModel, pairs_file: str) -> list[str]:
    """Hash what a judge reads beside the study's pairs: models, templates, files of verdicts; name a store's judge."""
    if isinstance(judging, CommitteeJudge):
        return [content_of(resolve_model(judging.encoder)) or ""]
    if isinstance(judging, PublishedJudge):
        return [content_of(judging.file or pairs_file) or ""]
    if isinstance(judging, ModelJudge):
        template = "" if judging.template in templates() else content_of(judging.template) or ""
        return [content_of(judging.model) or "", template]
    if isinstance(judging, StoreJudge):
        return [_stored_name(judging)]  # what it has said of which pairs counts where it is read
    return []


def stored_content(judging: StoreJudge) -> str:
    """Digest what a store has of the judge: its bytes change while it is open, and others may add to it."""
    from dissensus.judge import JudgmentStore

    with JudgmentStore(Path(judging.store), create=False) as store:
        return store.digest(_stored_name(judging))


def make_judgments(
    judging: BaseModel,
    pairs: Sequence[Pair],
    store_path: Path,
    *,
    pairs_file: str,
    drawn_label: bool,
    progress: bool,
    only: Sequence[Pair] | None = None,
) -> dict[str, Any]:
    """Have a judge judge ``pairs`` into a store; returns its full name and counts.

    Args:
        judging: one of the settings above.
        pairs: with their votes, where the judge is ``votes``.
        store_path: the study's store; one of the judge ``store`` is only looked into.
        pairs_file: where the pairs came from.
        drawn_label: whether the label was drawn from the votes.
        progress: show it.
        only: what is judged, where ``pairs`` holds more that a judge learns from; all of them by default.

    Raises:
        JudgeError: it cannot, or was stopped, or left questions open.
    """
    if isinstance(judging, StoreJudge):
        return {"judge": _stored_name(judging), "made": 0}
    if isinstance(judging, ModelJudge):
        return _ask_model(judging, pairs if only is None else only, store_path, progress=progress)
    from dissensus.judge import JudgmentStore, judge_pairs

    judge = _make_judge(judging, pairs, pairs_file, drawn_label=drawn_label, progress=progress)
    with JudgmentStore(store_path) as store:
        summary = judge_pairs(pairs if only is None else only, judge, store, progress=progress)
        stored = store.judges().get(judge.name, 0)
    counts = {key: value for key, value in asdict(summary).items() if key in ("made", "reused", "invalid")}
    return {"judge": judge.name, **counts, "stored": stored}


def recall(judging: BaseModel, store: JudgmentStore, judge: str, pairs: Sequence[Pair]) -> Recall:
    """Recall what a store has of a judge about ``pairs``, as these settings would have it.

    The store knows the settings that the judge was last asked with; judges of one model that differ in what can be
    changed afterwards share a name, so each has to name its own.
    """
    from dissensus.judge.store.query import Recall

    names: tuple[str, ...] = ()
    if isinstance(judging, CommitteeJudge):
        names = ("n",)
    elif isinstance(judging, StoreJudge):
        names = ("n", "order", "temperature", "top_p", "seed")
    elif isinstance(judging, ModelJudge):
        is_exact = store.settings(judge)["mode"] == "exact"
        names = ("n", "order", "personas", *(("temperature", "top_p", "seed") if is_exact else ()))
    return Recall(store, judge, pairs, **{name: getattr(judging, name) for name in names})


def _make_judge(
    judging: BaseModel, pairs: Sequence[Pair], pairs_file: str, *, drawn_label: bool, progress: bool
) -> Any:
    from dissensus.judge import Committee, HumanVotes
    from dissensus.judge.published import read_published
    from dissensus.text.encoder import load_encoder

    if isinstance(judging, VotesJudge):
        known = judging.label_is_a_vote
        # Where the study draws them, labels are votes also in pairs that an older version wrote without saying so.
        return HumanVotes(pairs, label_is_a_vote=True if known is None and drawn_label else known)
    if isinstance(judging, PublishedJudge):
        file = judging.file or pairs_file
        judges = read_published(Path(file), pairs, notice=lambda _: None)
        if judging.judge not in judges:
            raise InputError(f"{file}: no verdicts of a judge {judging.judge!r}; it has: {', '.join(sorted(judges))}")
        return judges[judging.judge]
    if not isinstance(judging, CommitteeJudge):
        raise ValueError(f"no judge of {type(judging).__name__}")
    encoder = load_encoder(judging.encoder, max_length=judging.max_length)
    return Committee(pairs, judging, encoder, progress=progress)


def _ask_model(judging: ModelJudge, pairs: Sequence[Pair], store_path: Path, *, progress: bool) -> dict[str, Any]:
    from dissensus.judge import JudgmentStore
    from dissensus.judge.language.backends import open_backend
    from dissensus.judge.language.job import AskingOptions
    from dissensus.judge.language.plan import LanguageJudge
    from dissensus.judge.language.run_model import ask_model, nothing_judged
    from dissensus.judge.store.attempts import Price

    exact = judging.mode == "exact"
    backend, _ = open_backend(
        judging.backend,
        judging.model,
        revision=judging.revision,
        exact=exact,
        sampling=judging.language.sampling,
    )
    options = AskingOptions(
        concurrency=judging.concurrency,
        price=Price(judging.price_prompt, judging.price_reply),
        max_cost=judging.max_cost,
        progress=progress,
    )
    with JudgmentStore(store_path) as store:
        judge = LanguageJudge(judging.language, backend.identity)
        summary = ask_model(pairs, judge, backend, store, options, total=len(pairs))
        stored = store.judges().get(summary.judge, 0)
        nothing = nothing_judged(summary, store)
    if summary.stopped == "interrupted":
        raise KeyboardInterrupt
    tally = summary.tally
    if summary.stopped or tally.failed or tally.elsewhere:
        because = f", the last one because: {tally.failed_because}" if tally.failed else ""
        why = summary.stopped or f"{tally.failed + tally.elsewhere} questions were not answered{because}"
        raise JudgeError(f"{summary.judge}: {why}; what was answered is kept, run the same command again to go on")
    if nothing:
        raise JudgeError(nothing)
    names = ("made", "reused", "too_long", "refused", "cut", "cut_short")
    counts = {name: getattr(tally, name) for name in names} | {"invalid": round(tally.invalid)}
    return {"judge": summary.judge, "mode": summary.mode, **counts, "cost": round(summary.cost, 4), "stored": stored}


def _stored_name(judging: StoreJudge) -> str:
    from dissensus.judge import JudgmentStore
    from dissensus.judge.store.query import choose_judge

    with JudgmentStore(judging.store, create=False) as store:
        return choose_judge(judging.judge, store)
