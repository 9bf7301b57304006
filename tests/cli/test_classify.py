import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from dissensus.cli import group
from dissensus.errors import ConfigError
from dissensus.files import read_pairs, read_records, write_records
from dissensus.records import Classification
from dissensus.simulate import SimulationConfig, simulate


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    people = simulate(SimulationConfig(prompts=12, responses_per_prompt=3, paraphrase_share=0.3)).pairs
    write_records(tmp_path / "people.jsonl", people)
    bare = [pair.model_copy(update={"category": None, "distinct": None, "votes": None}) for pair in people]
    write_records(tmp_path / "pairs.jsonl", bare)
    return tmp_path / "pairs.jsonl"


def run(*arguments: object) -> str:
    done = CliRunner().invoke(group, ["classify", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.slow
def test_offline_with_peoples_categories_beside(pairs: Path):
    folder = pairs.parent
    told = run(
        pairs, "--out", folder / "o.jsonl", "--people", folder / "people.jsonl", "--categories", folder / "c.jsonl"
    )
    assert "single or multiple correct answers: 36 pairs" in told
    assert "kappa" in told
    assert all(pair.category in ("single", "multiple") and pair.distinct for pair in read_pairs(folder / "o.jsonl"))
    assert len(list(read_records(folder / "c.jsonl", Classification))) == 72
    again = run(folder / "people.jsonl", "--out", folder / "kept.jsonl")
    assert "(set 0, kept 36, undecided 0)" in again


@pytest.mark.slow
def test_a_language_model_is_asked_the_papers_questions_and_nothing_twice(pairs: Path, tiny_judge: Path):
    folder = pairs.parent
    common = [pairs, "--by", "local", "--model", tiny_judge, "--store", folder / "j.db"]
    run(*common, "--out", folder / "o.jsonl", "--categories", folder / "c.jsonl")
    found = list(read_records(folder / "c.jsonl", Classification))
    assert {c.question for c in found} == {"correct", "distinct"}
    assert all(c.origin.startswith("judge:tiny-judge") and c.n + c.n_invalid == 1 for c in found)
    first = (folder / "o.jsonl").read_bytes()
    by_prompt: dict[str, set[str | None]] = {}
    for line in first.decode().splitlines():
        row = json.loads(line)
        by_prompt.setdefault(row["prompt"], set()).add(row["category"])
    assert all(len(values) == 1 for values in by_prompt.values())
    run(*common, "--out", folder / "again.jsonl")
    assert (folder / "again.jsonl").read_bytes() == first


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--by", "local", "--model", "m"], "name a store"),
        (["--by", "local", "--store", "j.db"], "no model"),
        (["--by", "server", "--store", "j.db", "--model", "m", "--max-cost", "1"], "without a price"),
    ],
)
def test_what_is_missing_is_said(pairs: Path, options: list[str], expected: str):
    with pytest.raises(ConfigError, match=expected):
        CliRunner().invoke(
            group, ["classify", str(pairs), "--out", str(pairs.parent / "o.jsonl"), *options],
            standalone_mode=False, catch_exceptions=False,
        )  # fmt: skip


def test_options_of_a_model_are_refused_without_one(pairs: Path):
    with pytest.raises(ConfigError, match=r"--model, --n: for a language model; say which with --by"):
        run(pairs, "--out", pairs.parent / "o.jsonl", "--model", "m", "--n", "5")
    words = ["--by", "local", "--model", "m", "--set", "judge.top_q=1", "--store", "s.db"]
    with pytest.raises(ConfigError, match=r"--by local: top_q: unknown setting; did you mean 'top_p'"):
        run(pairs, "--out", pairs.parent / "o.jsonl", *words)
