"""Planning a test set: how many pairs, people and seeds a difference needs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from dissensus.errors import InputError
from dissensus.settings import Option, Settings

if TYPE_CHECKING:
    from dissensus.stats.design.sample_size import Plan
    from dissensus.stats.design.simulated_power import Design

_COMPARED = (1, 3, 5, 10)
_CERTAIN = 0.995
_Share = Annotated[float, Field(gt=0, lt=1)]


class PowerSettings(Settings):
    """Estimate how often a test set would find a difference of DELTA in r, and how many pairs it needs.

    Studies of the given design are simulated and tested as evaluate tests them: the two models' predictions are
    exchanged at random, prompt by prompt, and one of several primary tests has its share of alpha. The same two models
    are then shown with other numbers of annotators per pair.

    With one seed the difference is between two trained models, lucky or not. With several (--seeds, --seed-sd) it is
    between the two methods, and more pairs help only so far.
    """

    groups: ClassVar = {
        "People": ("annotators", "ratings", "rater_sd", "preference_sd"),
        "Test set": ("pairs", "data_sets", "per_prompt", "prompt_correlation"),
        "Training seeds": ("seeds", "seed_sd", "between_seeds"),
        "Test": ("power", "alpha", "tests", "studies", "seed"),
    }
    r: float
    """Pearson's r of the baseline."""
    delta: float
    """By how much the model's r is higher."""
    true_r: Annotated[bool, Option("--true-r")] = False
    """--r and --delta are with the true preferences, not with the annotators."""
    between: float = 0.8
    """r between the two models' predictions."""
    pairs: int = 150
    """In all data sets together."""
    data_sets: int = 1
    """Of equal size; r is averaged over them."""
    per_prompt: int = 1
    """Pairs that share a prompt."""
    prompt_correlation: float = 0.3
    """Of pairs that share a prompt."""
    annotators: int = 3
    """Per pair."""
    ratings: Literal["votes", "estimates"] = "votes"
    """votes: a or b. estimates: how many of ten people prefer a."""
    rater_sd: float = 0.18
    """Of an estimate about the true preference."""
    preference_sd: float = 0.29
    """Of the true preferences; .29: spread evenly."""
    seeds: int = 1
    """Training seeds of each model."""
    seed_sd: float = 0.0
    """Of r between a model's seeds; with several seeds."""
    between_seeds: Annotated[float | None, Option(default=".9, or more where models are as alike")] = None
    """r between two seeds' predictions."""
    power: _Share = 0.8
    """To be reached."""
    alpha: _Share = 0.05
    """Level of all primary tests together."""
    tests: Annotated[int, Field(ge=1)] = 2
    """Primary tests that share alpha: models times primary metrics. 2: one model, by r and L1."""
    studies: Annotated[int, Field(ge=100)] = 2000
    """To simulate for a power."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the simulation."""
    as_json: Annotated[bool, Option("--json")] = False
    """Print JSON instead of a table."""

    @property
    def level(self) -> float:
        """The level of one test."""
        return self.alpha / self.tests

    def design(self) -> Design:
        """Make the design that is simulated. Raises an InputError where it is impossible."""
        from dissensus.stats.design.simulated_power import Design

        shared = set(Design.__dataclass_fields__) & set(type(self).model_fields)
        fields = {name: getattr(self, name) for name in shared}
        r, delta = self.r, self.delta
        made = Design(r_baseline=r, r_model=r + delta, **fields) if self.true_r else None
        made = made or Design.from_observed(r, delta, **fields)
        if made.seeds == 1 and made.seed_sd:
            raise InputError(
                f"--seed-sd {self.seed_sd:g} with one seed: a test of one seed each takes what a seed brings for a "
                "difference between the models; give --seeds 2 or more, or leave --seed-sd out"
            )
        return made


@dataclass(frozen=True)
class PowerResult:
    """What numbers of annotators per pair make of a design."""

    settings: PowerSettings
    design: Design
    plans: Sequence[Plan]

    def lines(self) -> Iterator[str]:
        """Yield what the command prints: a table, or JSON."""
        yield from [self.as_json()] if self.settings.as_json else [self._describe(), self._table(), self._foot()]

    def as_json(self) -> str:
        """Write the design as it was simulated, and the plans."""
        settings, design = self.settings, self.design
        found = {
            "design": {**asdict(design), "between_seeds": design.seeds_alike if design.seeds > 1 else None},
            **{name: getattr(settings, name) for name in ("power", "alpha", "tests", "level", "studies", "seed")},
            "plans": [asdict(row) for row in self.plans],
        }
        return json.dumps(found, indent=2)

    def _describe(self) -> str:
        design, settings = self.design, self.settings
        kind = "votes" if design.ratings == "votes" else f"estimates (SD {_number(design.rater_sd, 2)})"
        sets = "one data set" if design.data_sets == 1 else f"{design.data_sets} data sets"
        prompts = "" if design.per_prompt == 1 else f", {design.per_prompt} to a prompt"
        share = f", a share of {_level(settings.alpha)} for each of {settings.tests} primary tests"
        return (
            f"{design.pairs} pairs in {sets}{prompts}; {kind}; with the true preferences the baseline has "
            f"r {_number(design.r_baseline)}\nand the model {_number(design.r_model)}; "
            f"r between them {_number(design.between)}\n"
            f"{self._describe_seeds()}\nswap test at {_level(settings.level)}{share if settings.tests > 1 else ''}\n"
        )

    def _describe_seeds(self) -> str:
        design = self.design
        if design.seeds == 1:
            return "one trained model each: a power to tell these two apart, not their methods (--seeds)"
        spread = f"SD of r between seeds {_number(design.seed_sd)} with the true preferences"
        if not design.seed_sd:
            spread = "which have the same r with the true preferences (--seed-sd)"
        alike = _number(design.seeds_alike)
        return f"{design.seeds} seeds of each method, {spread}; r between their predictions {alike}"

    def _table(self) -> str:
        design, wanted = self.design, self.settings.power
        power = f"power at {design.pairs} pairs"
        rows = [["annotators", "r perfect", "r baseline", "r model", power, f"pairs for {wanted:.0%}"]]
        for row in self.plans:
            mark = " *" if row.annotators == design.annotators else "  "
            r = map(_number, (row.ceiling, row.r_baseline, row.r_model))
            rows.append([f"{row.annotators}{mark}", *r, f"{row.power:.0%}", _pairs(row, wanted)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.rjust, row, widths)) for row in rows]
        return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])

    def _foot(self) -> str:
        """Say what a mark means and, where seeds limit the power, how far and what would help."""
        from dissensus.stats.design.sample_size import MOST_SEEDS, find_seeds

        design, wanted = self.design, self.settings.power
        lines = ["* the design asked for; r as seen with so many annotators"]
        [asked] = [row for row in self.plans if row.annotators == design.annotators]
        if asked.limit < _CERTAIN:
            people = "one annotator" if design.annotators == 1 else f"{design.annotators} annotators"
            lines.append(
                f"{design.seeds} seeds that differ so much, and {people}: a power of {asked.limit:.0%} at most, "
                "however many pairs"
            )
        if asked.limit <= wanted:
            needed = find_seeds(design, wanted, alpha=self.settings.level, seed=self.settings.seed)
            enough = f"not even {MOST_SEEDS} seeds allow it" if needed is None else f"it takes {needed} seeds or more"
            lines.append(f"no number of pairs reaches {wanted:.0%}: {enough}")
        return "\n".join(lines)


def run(settings: PowerSettings, *, progress: bool = True) -> PowerResult:
    """Simulate studies of the design, with as many annotators as it has and with others."""
    from tqdm import tqdm

    from dissensus.stats.design.sample_size import SEARCH_STEPS, plan

    design = settings.design()
    numbers = sorted({*_COMPARED, design.annotators})
    total = len(numbers) * (1 + len(SEARCH_STEPS))
    with tqdm(total=total, desc="simulating", unit="size", disable=not progress) as bar:
        plans = plan(
            design,
            numbers,
            settings.power,
            alpha=settings.level,
            studies=settings.studies,
            seed=settings.seed,
            progress=lambda: bar.update(),
        )
    return PowerResult(settings, design, plans)


def _pairs(row: Plan, wanted: float) -> str:
    from dissensus.stats.design.sample_size import MOST_PAIRS

    if row.pairs is not None:
        return str(row.pairs)
    return f"over {MOST_PAIRS}" if row.limit > wanted else "none"


def _number(value: float, digits: int = 3) -> str:
    text = f"{abs(value):.{digits}f}".removeprefix("0")
    return f"−{text}" if value < 0 else text


def _level(alpha: float) -> str:
    """A level with as many digits as it takes."""
    return f"{alpha:.2g}".removeprefix("0")
