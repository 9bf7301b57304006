import hashlib
import re
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from click.testing import CliRunner

from dissensus.cli.judge import command
from dissensus.errors import ConfigError, InputError, JudgeError
from dissensus.files import write_records
from dissensus.judges import JudgmentStore, Question
from dissensus.judges.base import Estimate, JudgeSettings
from dissensus.records import Judgment
from dissensus.simulate import SimulationConfig, simulate
from dissensus.study import StudyConfig, load_study
from dissensus.study.dry_run import estimate_study
from dissensus.text import encoder


class HashedFeatures:
    """An encoder that needs no model: a normal vector from a hash of the text."""

    digest = "00ff"

    def features(self, texts, *, progress=True):
        seeds = [int.from_bytes(hashlib.blake2b("/".join(text).encode(), digest_size=8).digest()) for text in texts]
        return np.stack([np.random.default_rng(seed).normal(size=8) for seed in seeds]).astype(np.float32)


@pytest.fixture
def pairs(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(encoder, "load_encoder", lambda name, **_: HashedFeatures())
    path = tmp_path / "pairs.jsonl"
    write_records(path, simulate(SimulationConfig(prompts=12)).pairs)
    return path


def judge(*arguments: object) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_committee_votes_once_more_members_add_and_peoples_votes_are_beside_it(pairs, tmp_path):
    store = tmp_path / "judgments.db"
    first = judge("committee", pairs, "--store", store, "--n", 3)
    with JudgmentStore(store) as opened:
        ((name, count),) = opened.judges().items()
    assert name in first
    assert f"{count} new, 0 already" in first
    second = judge("committee", pairs, "--store", store, "--n", 3)
    assert name in second
    assert f"nothing new: {store} has all {count}" in second
    assert f"36 new, {count} already" in judge("committee", pairs, "--store", store, "--n", 4)
    assert "votes-" in judge("votes", pairs, "--store", store)
    with JudgmentStore(store) as opened:
        assert list(opened.judges().values()) == [144, 36 * 4]


def test_the_spelling_of_version_0_1_works_and_prints_that_of_today(pairs, tmp_path):
    for old, new in (([], "committee"), (["--judge", "committee"], "committee"), (["--judge=votes"], "votes")):
        arguments = [str(pairs), "--store", str(tmp_path / "judgments.db"), *old]
        result = CliRunner().invoke(command, arguments, catch_exceptions=False)
        assert result.exit_code == 0
        assert result.stderr.startswith(f"dissensus: this is now: dissensus judge {new} {pairs} --store ")


class Coin(JudgeSettings):
    """A coin, which is tossed."""

    name: Literal["coin"] = "coin"
    heads: float = 0.5
    """How often it falls on a."""

    def open(self, pairs, material):
        return self

    def questions(self, pair):
        return [Question(pair, 0)]

    def answer(self, questions):
        for question in questions:
            yield Judgment(pair_id=question.pair.id, judge="Coin", sample=0, choice="a" if self.heads > 0.5 else "b")

    def estimate(self, pairs, prompt_tokens):
        return Estimate(f"a coin, tossed {pairs} times")


def test_a_judge_of_ones_own_is_one_class(pairs, tmp_path):
    """It is found on the command line, in a study and in its dry run."""
    assert "coin" in judge("--help")
    assert "How often it falls on a." in judge("coin", "--help")
    assert "36 new" in judge("coin", pairs, "--store", tmp_path / "judgments.db", "--heads", 0.9)
    with JudgmentStore(tmp_path / "judgments.db") as opened:
        assert opened.judges() == {"coin": 36}
        assert {judgment.choice for judgment in opened.judgments()} == {"a"}
    study = {
        "pairs": str(pairs),
        "hold_out": {"by": "group", "share": 0.3},
        "judge": {"name": "coin", "heads": 0.2},
        "models": {"m": {"model": "m"}},
        "baseline": "m",
    }
    config = StudyConfig.model_validate(study)
    assert config.judge == Coin(heads=0.2)
    assert config.model_dump()["judge"] == {"name": "coin", "heads": 0.2}
    assert re.search(r"judge: a coin, tossed \d+ times", estimate_study(config))
    with pytest.raises(ConfigError, match=r"judge.haeds: unknown setting; did you mean 'heads'"):
        load_study("demo", overrides={"judge": {"name": "coin", "haeds": 1}})


@pytest.mark.parametrize("arguments", [["jury"], ["pairs.jsonl", "--judge", "jury"]])
def test_an_unknown_judge_lists_the_choices(arguments):
    with pytest.raises(InputError, match="no judge is called 'jury'; choose one of committee, votes"):
        judge(*arguments)


def test_unlabelled_pairs_are_an_error_before_a_store_is_made(pairs, tmp_path):
    bare = tmp_path / "bare.jsonl"
    simulated = simulate(SimulationConfig(prompts=4)).pairs
    write_records(bare, [pair.model_copy(update={"label": None, "votes": None}) for pair in simulated])
    for name in ("committee", "votes"):
        with pytest.raises(JudgeError):
            judge(name, bare, "--store", tmp_path / "judgments.db")
    assert not (tmp_path / "judgments.db").exists()
