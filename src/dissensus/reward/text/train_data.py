"""Training data: encoded texts, the pairs' indices into them, and what is held out for validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import InputError, TrainingError
from dissensus.records import Pair, Text
from dissensus.reward.config import TrainConfig
from dissensus.reward.length_covariate import LengthSlope
from dissensus.reward.objectives.targets import Targets
from dissensus.reward.serving.calibration import FEW_PAIRS, observed_preferences
from dissensus.reward.text.encode import Encoding, UnreadableTextError
from dissensus.reward.text.token_cache import EncodedTexts
from dissensus.stats.resampling.clusters import deal_folds, number_labels

FEW_PROMPTS = 10
"""Of fewer prompts none is held out unless somebody asks for it."""
FEW_CATEGORIES = 3
"""The same of categories, where these are held out whole: members need as many to leave out in turn."""
MEMBERS, MANY_LABELS = 4, 5000
"""Members that are trained where nobody says how many, and labels of which a tenth calibrates one model well."""


@dataclass(frozen=True)
class TrainingData:
    """Encoded texts and what each pair needs of them."""

    targets: Targets
    encoded: EncodedTexts
    """Each distinct (prompt, response) once."""
    texts: NDArray[np.int64]
    """Shape (pairs, 2): the texts of response a and b."""
    groups: NDArray[np.int64]
    """Shape (pairs,): each pair's prompt."""
    added: NDArray[np.float32] | None = None
    """Shape (pairs,): what length adds to the reward gap; None without a length covariate."""

    def with_length(self, length: LengthSlope | None) -> TrainingData:
        """Return them with what length adds to the gaps."""
        return self if length is None else replace(self, added=length.added(self.targets.pairs))

    @property
    def columns(self) -> dict[str, NDArray[np.float32]]:
        """What the loss takes of each pair, by name; each of shape (pairs,)."""
        found = {"target": self.targets.target, "margin": self.targets.margin, "label": self.targets.label}
        return found if self.added is None else {**found, "added": self.added}


def _units(targets: Targets, config: TrainConfig) -> list[str]:
    """Name what is held out whole, for each pair: its prompt or its category."""
    if config.hold_out_by == "group":
        return [pair.group for pair in targets.pairs]
    without = [pair.id for pair in targets.pairs if pair.category is None]
    if without:
        raise TrainingError(
            f"pair {without[0]}: no category ({len(without)} pairs in all have none), and hold_out_by 'category' holds "
            "out whole ones; add a column category, or hold out by group"
        )
    return [pair.category or "" for pair in targets.pairs]


def split_targets(targets: Targets, config: TrainConfig) -> tuple[Targets, Targets | None]:
    """Hold out whole prompts, or categories, for validation, chosen by the seed.

    Where nobody says how many, none of few prompts, and none where a calibration would rest on few pairs: a share that
    is asked for is held out whatever it holds.
    """
    units = _units(targets, config)
    names = sorted(set(units))
    by_default, by_prompt = config.validation is None, config.hold_out_by == "group"
    if not config.held_share or (by_default and len(names) < (FEW_PROMPTS if by_prompt else FEW_CATEGORIES)):
        return targets, None
    held = max(round(config.held_share * len(names)), 1)
    if held >= len(names):
        what = "prompts (groups)" if by_prompt else "categories"
        raise TrainingError(f"validation needs at least two {what}, the data has {len(names)}")
    order = np.random.default_rng(config.seed).permutation(len(names))
    chosen = {names[index] for index in order[:held]}
    inside = np.array([unit in chosen for unit in units])
    judged, _, _ = observed_preferences(targets.pairs)
    if by_default and inside[judged].sum() < FEW_PAIRS:
        return targets, None
    return targets.rows(~inside), targets.rows(inside)


@dataclass(frozen=True)
class Division:
    """What each member of a run is trained on, and what is held out of it."""

    whole: Targets
    """What decides the model: all that any member is trained on."""
    parts: Sequence[tuple[Targets, Targets | None]]
    """For each member what it is trained on, and what it does not see; one where there is a single model."""
    in_turn: bool = False
    """Whether each member leaves out a part of its own, so that every pair has one that did not see its prompt."""


def fill_in(targets: Targets, config: TrainConfig) -> TrainConfig:
    """Say what nobody said, and what the data decide: learning rate, epochs and the number of members.

    Several members where a tenth of the labels would say too little, but one where there are adapters: who trains these
    has a large model, and wants them by themselves.
    """
    passes = config.passes(len(targets.pairs))
    config = config.model_copy(update={"learning_rate": config.rate, "epochs": passes})
    if config.members is not None:
        return config
    judged, _, _ = observed_preferences(targets.pairs)
    several = config.lora_rank is None and len(judged) < MANY_LABELS and _leaves_out_in_turn(targets, config)
    members = MEMBERS if config.hold_out_by == "group" else min(MEMBERS, len(set(_units(targets, config))))
    return config.model_copy(update={"members": members if several else 1})


def _leaves_out_in_turn(targets: Targets, config: TrainConfig) -> bool:
    least = FEW_PROMPTS if config.hold_out_by == "group" else FEW_CATEGORIES
    judged, _, _ = observed_preferences(targets.pairs)
    enough = len(set(_units(targets, config))) >= max(least, config.members or 0) and len(judged) >= FEW_PAIRS
    return config.validation is None and enough


def divide_targets(targets: Targets, config: TrainConfig) -> Division:
    """Say what each member is trained on; ``config`` says how many there are.

    They leave out a part of the prompts (or categories) each, all parts of about as many pairs, where nobody says what
    is to be held out (cross-fitting: no pair is lost to training, and all say something of calibration); otherwise all
    hold out the same.
    """
    members = config.members or 1
    if members > 1 and _leaves_out_in_turn(targets, config):
        _, units = number_labels(_units(targets, config))
        fold = deal_folds(np.bincount(units), members, seed=config.seed)[units]
        parts = [(targets.rows(fold != member), targets.rows(fold == member)) for member in range(members)]
        return Division(targets, parts, in_turn=True)
    trained, held = split_targets(targets, config)
    return Division(trained, [(trained, held)] * members)


def encode_targets(targets: Targets, encoding: Encoding, *, cache: Path | None = None) -> TrainingData:
    """Encode each distinct text once, through the cache of tokens if one is given."""
    encoded, texts = encode_pairs(targets.pairs, encoding, cache=cache)
    _, groups = number_labels([pair.group for pair in targets.pairs])
    return TrainingData(targets, encoded, texts, groups.astype(np.int64))


def encode_pairs(
    pairs: Sequence[Pair], encoding: Encoding, *, cache: Path | None = None
) -> tuple[EncodedTexts, NDArray[np.int64]]:
    """Encode each distinct text of these pairs once; also return the texts of responses a and b, shape (pairs, 2).

    Raises InputError, which names the pair, where the chat template refuses a text.
    """
    position: dict[tuple[Text, Text], int] = {}
    rows = [
        [position.setdefault((pair.prompt, response), len(position)) for response in (pair.response_a, pair.response_b)]
        for pair in pairs
    ]
    try:
        encoded = encoding.encode(list(position), cache=cache)
    except UnreadableTextError as error:
        pair = next(pair for pair, row in zip(pairs, rows, strict=True) if error.index in row)
        raise InputError(f"pair '{pair.id}': {error}") from error
    return encoded, np.array(rows, dtype=np.int64).reshape(-1, 2)


@dataclass(frozen=True)
class Shortened:
    """What of the texts did not fit into the window, and what came of it."""

    texts: int = 0
    """Distinct (prompt, response) texts."""
    cut: int = 0
    """Texts that lost tokens."""
    responses_cut: int = 0
    """Texts that lost the right end of the response, the prompt not being enough."""
    pairs_alike: int = 0
    """Pairs whose two responses differ, and are read as the same tokens."""

    @classmethod
    def of(cls, encoded: EncodedTexts, texts: NDArray[np.int64]) -> Shortened:
        """Count them; ``texts`` are those of responses a and b, shape (pairs, 2)."""
        one, other = texts.T
        suspects = np.flatnonzero((one != other) & (encoded.lengths[one] == encoded.lengths[other]))
        alike = sum(np.array_equal(encoded.ids(a), encoded.ids(b)) for a, b in texts[suspects].tolist())
        return cls(len(encoded), int(encoded.truncated.sum()), int(encoded.response_cut.sum()), alike)

    def __add__(self, other: Shortened) -> Shortened:
        return Shortened(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    def notes(self, max_length: int) -> list[str]:
        """Say it in lines; none where nothing was lost.

        >>> Shortened(texts=9, cut=2, responses_cut=1).notes(512)
        ['2 of 9 texts cut to 512 tokens, prompt first; 1 of them lost the end of the response as well']
        """
        lines = []
        if self.cut:
            also = f"; {self.responses_cut} of them lost the end of the response as well" if self.responses_cut else ""
            lines.append(f"{self.cut} of {self.texts} texts cut to {max_length} tokens, prompt first{also}")
        if self.pairs_alike:
            lines.append(
                f"{self.pairs_alike} pairs have two responses that are read as the same tokens (cut alike, or left out "
                "by the chat template): they cannot be told apart"
            )
        return lines
