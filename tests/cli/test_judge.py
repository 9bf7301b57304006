import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import dissensus
from dissensus.cli.judge import command
from dissensus.errors import InputError, JudgeError
from dissensus.files import write_records
from dissensus.judge import JudgmentStore
from dissensus.simulate import SimulationConfig, simulate
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


def test_the_committee_votes_once_and_a_second_run_makes_nothing_new(pairs, tmp_path):
    store = tmp_path / "judgments.db"
    first = judge(pairs, "--store", store, "--n", 3)
    with JudgmentStore(store) as opened:
        ((name, count),) = opened.judges().items()
    assert name in first
    assert f"{count} new, 0 already" in first
    second = judge(pairs, "--store", store, "--n", 3)
    assert name in second
    assert f"nothing new: {store} has all {count}" in second


def test_more_members_only_add_to_the_store(pairs, tmp_path):
    store = tmp_path / "judgments.db"
    judge(pairs, "--store", store, "--n", 2)
    assert "36 new, 72 already" in judge(pairs, "--store", store, "--n", 3)


def test_peoples_votes_are_kept_beside_the_committee(pairs, tmp_path):
    store = tmp_path / "judgments.db"
    judge(pairs, "--store", store, "--n", 2)
    assert "votes-" in judge(pairs, "--store", store, "--judge", "votes")
    with JudgmentStore(store) as opened:
        assert list(opened.judges().values()) == [72, 36 * 4]


def test_an_unknown_judge_lists_the_choices(pairs, tmp_path):
    with pytest.raises(InputError, match="committee, votes"):
        judge(pairs, "--store", tmp_path / "judgments.db", "--judge", "jury")
    assert not (tmp_path / "judgments.db").exists()


def test_unlabelled_pairs_are_an_error_before_a_store_is_made(pairs, tmp_path):
    bare = tmp_path / "bare.jsonl"
    simulated = simulate(SimulationConfig(prompts=4)).pairs
    write_records(bare, [pair.model_copy(update={"label": None, "votes": None}) for pair in simulated])
    for name in ("committee", "votes"):
        with pytest.raises(JudgeError):
            judge(bare, "--store", tmp_path / "judgments.db", "--judge", name)
    assert not (tmp_path / "judgments.db").exists()


def test_a_users_error_is_one_line_and_exit_code_2(pairs, tmp_path):
    source = {"PYTHONPATH": str(Path(dissensus.__file__).parents[1])}
    result = subprocess.run(
        [sys.executable, "-m", "dissensus", "judge", pairs, "--judge", "jury", "--store", tmp_path / "judgments.db"],
        capture_output=True,
        text=True,
        env=os.environ | source,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
