"""The public data sets that can be read by name: what each is, where it lies, who may use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from dissensus.sources import (
    alpacafarm,
    arena,
    helpsteer2,
    helpsteer3,
    hh_rlhf,
    multipref,
    prism,
    reward_bench,
    shp,
    summarize,
    synthetic_instruct,
    ultrafeedback,
    webgpt,
)
from dissensus.sources.hub_table import Table
from dissensus.sources.row_reader import Labelled, Reading

Reader = Callable[[Reading], Iterator[Labelled]]
"""Rows to pairs, each with the margin that the source's own strength of preference gives, where it has one."""


@dataclass(frozen=True)
class Part:
    """What is read together."""

    read: Reader
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Source:
    """A public data set."""

    name: str
    hub: str
    what: str
    rows: str
    """Of the source, by split; figures with a tilde are from memory."""
    licence: str
    votes: str
    """Who said what is better, and how many for each pair."""
    parts: dict[str, Part]
    """The first is read unless another is named."""
    paper: Literal["in", "out"] | None = None
    """Whether the paper trained on it, or tested on it alone."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Pairs of the first part, about, by split: what a dry run reckons with."""

    def splits(self, part: str) -> list[str]:
        """List the splits of a part."""
        return list(dict.fromkeys(table.split for table in self.parts[part].tables))


_HH_PARTS = ("harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled")
_AXIS_FILES = ("axis_evals/*.json", "axis_evals/*.jsonl", "axis/*.json", "axis/*.jsonl")
_COMPARISON_FILES = ("comparisons/*.json", "comparisons/*.jsonl")


def _hh(*parts: str) -> Part:
    tables = tuple(
        Table(split, data_dir=part, files=(f"{part}/{split}.jsonl.gz", f"{part}/{split}.jsonl"))
        for split in ("train", "test")
        for part in parts
    )
    return Part(hh_rlhf.read, tables)


def _summaries(read: Reader, config: str, splits: tuple[str, ...], files: tuple[str, ...]) -> Part:
    return Part(
        read,
        tuple(Table(split, config=config, files=files, lines_in="jsonl", is_script=True) for split in splits),
    )


def _plain(read: Reader, *splits: str, **where: str) -> Part:
    return Part(read, tuple(Table(split, **where) for split in splits))  # type: ignore[arg-type]


def _helpsteer2(read: Reader, folder: str) -> Part:
    files = (f"{folder}/{folder}.jsonl.gz", f"{folder}/{folder}.jsonl")
    return Part(read, (Table("train", data_dir=folder, files=files),))


def _helpsteer2_preference() -> Part:
    # On the Hub one split holds both; the rows say which they belong to.
    files = ("preference/preference.jsonl.gz", "preference/preference.jsonl")
    return Part(
        helpsteer2.read_preferences,
        tuple(Table(s, data_dir="preference", files=files, hub_split="train") for s in ("train", "validation")),
    )


_ALL = (
    Source(
        "webgpt",
        "openai/webgpt_comparisons",
        "answers of a browsing model to questions, mostly from ELI5",
        "train 19,578",
        "none stated",
        "1 person, a score from -1 to 1; ties",
        {
            "comparisons": Part(
                webgpt.read,
                (Table("train", files=("comparisons.jsonl",), lines_in="jsonl", is_script=True),),
            )
        },
        "in",
        sizes={"train": 19578},
    ),
    Source(
        "hh-rlhf",
        "Anthropic/hh-rlhf",
        "dialogues; the more helpful, or the less harmful, last reply",
        "train 160,800, test 8,552",
        "MIT",
        "1 person; no ties",
        {"all": _hh(*_HH_PARTS), **{part: _hh(part) for part in _HH_PARTS}},
        "in",
        sizes={"train": 160800, "test": 8552},
    ),
    Source(
        "summarize-from-feedback",
        "openai/summarize_from_feedback",
        "summaries of Reddit posts and of news articles",
        "comparisons: train 92,858, validation 86,086; axis: validation ~8,585, test ~6,313",
        "modified MIT; posts CC BY 4.0",
        "1 labeler or more, by name; axis: ratings 1 to 7",
        {
            "comparisons": _summaries(
                summarize.read_comparisons, "comparisons", ("train", "validation"), _COMPARISON_FILES
            ),
            "axis": _summaries(summarize.read_axis, "axis", ("validation", "test"), _AXIS_FILES),
        },
        "in",
        sizes={"train": 92858, "validation": 86086},
    ),
    Source(
        "synthetic-instruct",
        "Dahoas/synthetic-instruct-gptj-pairwise",
        "instructions answered by a stronger and a weaker model",
        "train 33,143",
        "none stated",
        "nobody: the stronger model is the chosen one",
        {"comparisons": _plain(synthetic_instruct.read, "train")},
        "in",
        sizes={"train": 33143},
    ),
    Source(
        "prism",
        "HannahRoseKirk/prism-alignment",
        "people of 75 countries talk with models and rate each answer",
        "utterances 68,371 of 1,396 people",
        "CC BY 4.0 (people), CC BY-NC 4.0 (models)",
        "1 person, scores 1 to 100; ties; with demographics",
        {
            "utterances": Part(
                prism.read,
                (
                    Table("train", "utterances", config="utterances", files=("utterances.jsonl",)),
                    Table("train", "survey", config="survey", files=("survey.jsonl",), is_optional=True),
                ),
            )
        },
        "out",
        sizes={"train": 67000},
    ),
    Source(
        "ultrafeedback",
        "openbmb/UltraFeedback",
        "instructions answered by four models each",
        "train 63,967 instructions, up to 6 pairs each",
        "MIT",
        "GPT-4's ratings; ties",
        {"completions": Part(ultrafeedback.read_original, (Table("train", files=("*.jsonl",)),))},
        "out",
        sizes={"train": 380000},
    ),
    Source(
        "ultrafeedback-binarized",
        "HuggingFaceH4/ultrafeedback_binarized",
        "the best of each instruction's completions against another",
        "train_prefs 61,135, test_prefs 2,000",
        "MIT",
        "GPT-4's overall score; ties",
        {"prefs": _plain(ultrafeedback.read_binarised, "train_prefs", "test_prefs")},
        "out",
        sizes={"train_prefs": 61135, "test_prefs": 2000},
    ),
    Source(
        "ultrafeedback-trl",
        "trl-lib/ultrafeedback_binarized",
        "the same, as TRL's examples use it",
        "train ~62,135, test ~1,000",
        "MIT",
        "GPT-4's overall score; ties",
        {"prefs": _plain(ultrafeedback.read_binarised, "train", "test")},
        "out",
    ),
    Source(
        "helpsteer2",
        "nvidia/HelpSteer2",
        "responses to prompts of one turn or several; preferences, and ratings of single responses",
        "preference ~9,125; ratings: train 20,324, validation 1,038; disagreements ~21,000",
        "CC BY 4.0",
        "3 to 5 people, strengths -3 to 3; ties",
        {
            "preference": _helpsteer2_preference(),
            "ratings": Part(
                helpsteer2.read_ratings,
                tuple(Table(s, files=(f"{s}.jsonl.gz", f"{s}.jsonl")) for s in ("train", "validation")),
            ),
            "disagreements": _helpsteer2(helpsteer2.read_ratings, "disagreements"),
        },
        sizes={"train": 8700, "validation": 450},
    ),
    Source(
        "helpsteer3",
        "nvidia/HelpSteer3",
        "general, STEM, code and multilingual prompts",
        "train 38,459, validation 2,017",
        "CC BY 4.0",
        "up to 3 people, strengths -3 to 3; ties",
        {
            "preference": Part(
                helpsteer3.read,
                tuple(
                    Table(s, config="preference", files=(f"preference/{s}.jsonl.gz", f"preference/{s}.jsonl"))
                    for s in ("train", "validation")
                ),
            )
        },
        sizes={"train": 38459, "validation": 2017},
    ),
    Source(
        "multipref",
        "allenai/multipref",
        "instructions answered by two models",
        "train 10,461",
        "ODC-By",
        "4 people by name, two of them experts, five steps; ties",
        {"comparisons": _plain(multipref.read, "train", config="default")},
        sizes={"train": 10461},
    ),
    Source(
        "mt-bench",
        "lmsys/mt_bench_human_judgments",
        "80 questions of two turns, six models",
        "human 3,355, gpt4_pair 2,400",
        "CC BY 4.0",
        "people by name, one or more; ties; gpt4: GPT-4's verdicts",
        {
            "human": _plain(arena.read_mt_bench, "human"),
            "gpt4": _plain(arena.read_mt_bench_gpt4, "gpt4_pair"),
        },
    ),
    Source(
        "chatbot-arena",
        "lmsys/chatbot_arena_conversations",
        "battles of two models in the words of 13,383 users",
        "train 33,000",
        "CC BY 4.0 (prompts), CC BY-NC 4.0 (outputs)",
        "1 person by name; ties",
        {"battles": _plain(arena.read_conversations, "train")},
    ),
    Source(
        "arena-55k",
        "lmarena-ai/arena-human-preference-55k",
        "battles of two models",
        "train 57,477",
        "Apache-2.0",
        "1 person; ties",
        {"battles": Part(arena.read_texts, (Table("train", files=("train.csv",)),))},
    ),
    Source(
        "arena-100k",
        "lmarena-ai/arena-human-preference-100k",
        "battles of two models, summer 2024",
        "train ~106,134",
        "mixed",
        "1 person by name; ties",
        {"battles": _plain(arena.read_conversations, "train")},
    ),
    Source(
        "arena-140k",
        "lmarena-ai/arena-human-preference-140k",
        "battles of two models, 2025",
        "train ~136,000",
        "CC BY 4.0 (prompts); outputs under providers' terms",
        "1 person; ties",
        {"battles": _plain(arena.read_parts, "train")},
    ),
    Source(
        "alpacafarm",
        "tatsu-lab/alpaca_eval",
        "instructions answered by two models; the human cross-annotations of AlpacaFarm",
        "validation ~2,500 votes on ~650 pairs",
        "CC BY-NC 4.0 (from memory)",
        "4 people by number",
        {
            "crossannotations": Part(
                alpacafarm.read,
                (
                    Table(
                        "validation",
                        config="alpaca_farm_human_crossannotations",
                        files=("alpaca_farm_human_crossannotations.json",),
                        is_script=True,
                    ),
                ),
            )
        },
    ),
    Source(
        "shp",
        "stanfordnlp/SHP",
        "comments on posts of 18 subreddits",
        "train 348,718, validation 18,436, test 18,409",
        "see the card (Reddit's terms)",
        "a crowd's scores, as a label; no ties",
        {
            "comparisons": Part(
                shp.read,
                tuple(Table(s, files=(f"*/{s}.json",), lines_in="jsonl") for s in ("train", "validation", "test")),
            )
        },
    ),
    Source(
        "reward-bench",
        "allenai/reward-bench",
        "a test of reward models: chat, hard chat, safety, reasoning",
        "filtered 2,985, raw 5,123",
        "ODC-By",
        "nobody: verified labels",
        {"comparisons": _plain(reward_bench.read_first, "filtered", "raw")},
    ),
    Source(
        "reward-bench-2",
        "allenai/reward-bench-2",
        "its successor: best of four, and prompts with several right answers",
        "test 1,865",
        "ODC-By",
        "nobody: verified labels",
        {"choices": _plain(reward_bench.read_second, "test")},
    ),
)

SOURCES: dict[str, Source] = {source.name: source for source in _ALL}
"""Name to data set."""
