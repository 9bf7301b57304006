"""Test sets out of domain, and judges that judge the test pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dissensus.errors import InputError, JudgeError
from dissensus.files import read_records, write_records
from dissensus.judges import Committee
from dissensus.records import Judgment, Pair
from dissensus.simulate import SimulationConfig, simulate
from dissensus.study import StudyConfig, run_study


def _simulated(folder: Path, name: str, *, seed: int, judges: bool = False) -> Path:
    """Write pairs that name no data set, perhaps with verdicts of a judge that agrees with most people."""
    rows = simulate(SimulationConfig(prompts=8, responses_per_prompt=2, votes_per_pair=3, seed=seed)).pairs
    path = folder / f"{name}.jsonl"
    lines = []
    for pair in rows:
        assert pair.votes is not None
        row: dict[str, Any] = {
            "id": f"{name}-{pair.id}",
            "prompt": pair.prompt,
            "response_a": pair.response_a,
            "response_b": pair.response_b,
            "votes_a": pair.votes.a,
            "votes_b": pair.votes.b,
            "label": pair.label,
        }
        if judges:
            row["judges"] = {"gpt4": {"AB": float(pair.votes.preference > 0.5), "BA": 0.5}}
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines) + "\n")
    return path


def _settings(folder: Path, backbone: Path, **changes: Any) -> dict[str, Any]:
    return {
        "pairs": str(_simulated(folder, "own", seed=0)),
        "out_of_domain": {"other": str(_simulated(folder, "other", seed=1, judges=True))},
        "label": "one-vote",
        "hold_out": {"by": "group", "share": 0.3},
        "judge": {"name": "committee", "n": 3, "encoder": str(backbone), "max_length": 32},
        "training": {"model": str(backbone), "epochs": 1, "batch_size": 8, "max_length": 32},
        "models": {"plain": {}},
        "baseline": "plain",
        "evaluation": {"resamples": 20, "swaps": 99},
        **changes,
    }


def _run(settings: dict[str, Any], out: Path) -> list[str]:
    said: list[str] = []
    run_study(StudyConfig.model_validate(settings), out, say=said.append, progress=False)
    return said


def test_sets_out_of_domain_are_tested_on_and_never_trained_on(tmp_path: Path, tiny_bert: Path):
    _run(_settings(tmp_path, tiny_bert), tmp_path / "run")
    train = list(read_records(tmp_path / "run/pairs/train.parquet", Pair))
    test = list(read_records(tmp_path / "run/pairs/test.parquet", Pair))
    assert {(pair.dataset, pair.domain) for pair in train} == {("own", "in")}
    assert {(pair.dataset, pair.domain) for pair in test} == {("own", "in"), ("other", "out")}
    assert sum(pair.dataset == "other" for pair in test) == 8
    inputs = json.loads((tmp_path / "run/manifest.json").read_text())["inputs"]
    assert [(Path(given["path"]).name, given["rows"]) for given in inputs] == [("own.jsonl", 8), ("other.jsonl", 8)]


def test_the_committee_judges_test_pairs_from_training_labels_alone(tmp_path: Path, tiny_bert: Path):
    _run(_settings(tmp_path, tiny_bert), tmp_path / "run")
    judged = list(read_records(tmp_path / "run/judged/committee.parquet", Judgment))
    test = list(read_records(tmp_path / "run/pairs/test.parquet", Pair))
    assert {(j.pair_id, j.sample) for j in judged} == {(pair.id, k) for pair in test for k in range(3)}
    # Other labels (and votes) of test pairs change nothing.
    other = tmp_path / "other.jsonl"
    rows = [json.loads(line) for line in other.read_text().splitlines()]
    other.write_text("".join(json.dumps({**r, "label": "a", "votes_a": 3, "votes_b": 0}) + "\n" for r in rows))
    settings = _settings(tmp_path, tiny_bert)
    changed = tmp_path / "changed.jsonl"
    changed.write_text("".join(json.dumps({**r, "label": "a", "votes_a": 3, "votes_b": 0}) + "\n" for r in rows))
    _run({**settings, "out_of_domain": {"other": str(changed)}}, tmp_path / "again")
    again = list(read_records(tmp_path / "again/judged/committee.parquet", Judgment))
    assert [(j.pair_id, j.choice) for j in again] == [(j.pair_id, j.choice) for j in judged]


def test_published_verdicts_are_found_in_whichever_set_has_them(tmp_path: Path, tiny_bert: Path):
    settings = _settings(tmp_path, tiny_bert, test_judges=[{"name": "published", "judge": "gpt4"}])
    _run(settings, tmp_path / "run")
    judged = list(read_records(tmp_path / "run/judged/gpt4.parquet", Judgment))
    assert {judgment.judge for judgment in judged} == {"gpt4"}
    assert len(judged) == 16
    assert all(judgment.pair_id.startswith("other-") for judgment in judged)
    assert all("unchanged" in line for line in _run(settings, tmp_path / "run"))


def test_a_judge_without_a_verdict_is_an_error_only_where_it_was_asked_for(tmp_path: Path, tiny_bert: Path):
    settings = _settings(tmp_path, tiny_bert, test_judges=[{"name": "published", "judge": "gpt5"}])
    with pytest.raises(InputError, match=r"no verdicts of a judge 'gpt5' on these pairs .*other.jsonl: has gpt4"):
        _run(settings, tmp_path / "run")
    quiet = {**_settings(tmp_path, tiny_bert), "allow_missing": True}
    _simulated(tmp_path, "own", seed=0, judges=True)
    quiet |= {"judge": {"name": "published", "judge": "gpt4"}, "out_of_domain": {}}
    _run(quiet, tmp_path / "quiet")
    assert (tmp_path / "quiet/judged/gpt4.parquet").is_file()


def test_a_committee_that_cannot_judge_the_test_pairs_ends_a_study_only_where_it_was_asked_for(
    tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
):
    """Among many test prompts, the few labelled ones may all be dealt into one fold."""
    original = Committee.__init__

    def refuse(self: Committee, pairs: Any, *arguments: Any, **settings: Any) -> None:
        pairs = list(pairs)
        if any(pair.label is None for pair in pairs):
            raise JudgeError("the labelled pairs are all in one fold")
        original(self, pairs, *arguments, **settings)

    monkeypatch.setattr(Committee, "__init__", refuse)
    settings = _settings(tmp_path, tiny_bert)
    _run(settings, tmp_path / "run")
    assert list(read_records(tmp_path / "run/judged/committee.parquet", Judgment)) == []
    with pytest.raises(JudgeError, match="in one fold"):
        _run({**settings, "test_judges": [settings["judge"]]}, tmp_path / "run")


def test_two_sets_must_not_share_an_id(tmp_path: Path, tiny_bert: Path):
    settings = _settings(tmp_path, tiny_bert)
    settings["out_of_domain"] = {"same": settings["pairs"]}
    with pytest.raises(InputError, match=r"pair id 'own-.*' is in two of the sets"):
        _run(settings, tmp_path / "run")


def test_default_names_of_judges_do_not_collide(tmp_path: Path, tiny_bert: Path):
    from dissensus.study.run_folder import Run

    settings = _settings(tmp_path, tiny_bert)
    settings["test_judges"] = [{"name": "published", "judge": "a/gpt 4"}, {"name": "published", "judge": "gpt_4"}]
    assert list(Run(StudyConfig.model_validate(settings), tmp_path).test_judges) == ["gpt_4", "gpt_4-2"]
    called = {**_settings(tmp_path, tiny_bert), "models": {"committee": {}}, "baseline": "committee"}
    assert list(Run(StudyConfig.model_validate(called), tmp_path).test_judges) == ["committee-2"]
    with pytest.raises(ValueError, match="model name 'ceiling' is that of a row in the tables"):
        StudyConfig.model_validate({**called, "models": {"ceiling": {}}, "baseline": "ceiling"})


def test_empty_judgments_are_read_back(tmp_path: Path):
    write_records(tmp_path / "none.parquet", [])
    assert list(read_records(tmp_path / "none.parquet", Judgment)) == []
