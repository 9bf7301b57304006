"""Studies whose judgments come from elsewhere: published, in a store, or from a language model asked on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import dissensus as ds
from dissensus.errors import InputError, JudgeError
from dissensus.files import read_pairs, read_records, write_records
from dissensus.judge_calibration import read_calibration
from dissensus.judges import HumanVotes, judge_pairs
from dissensus.judges.base import parse_settings
from dissensus.judges.job import AskingOptions
from dissensus.judges.language.messages import Answer, Ask, AskError, Sampling
from dissensus.judges.language.plan import LanguageJudge
from dissensus.judges.language.settings import LanguageSettings, LocalSettings, ServerSettings
from dissensus.judges.local.transformers import LocalModel
from dissensus.judges.runner import ask_model
from dissensus.judges.store.store import JudgmentStore
from dissensus.records import Judgment, Margin, Pair
from dissensus.simulate import SimulationConfig, simulate
from dissensus.steps import judge as judge_step
from dissensus.study import StudyConfig, load_study, run_study


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = simulate(SimulationConfig(prompts=8, responses_per_prompt=2, votes_per_pair=3)).pairs
    write_records(tmp_path / "pairs.jsonl", rows)
    return tmp_path / "pairs.jsonl"


def read_margins(path: Path) -> list[Margin]:
    return list(read_records(path, Margin))


def run(folder: Path, backbone: Path, pairs: Path, judge: dict[str, Any], **changes: Any) -> list[str]:
    said: list[str] = []
    settings = {
        "pairs": str(pairs),
        "label": "one-vote",
        "hold_out": {"by": "group", "share": 0.3},
        "judge": judge,
        "allow_missing": True,
        "training": {"model": str(backbone), "epochs": 1, "batch_size": 8, "max_length": 32},
        "models": {"plain": {}, "margin": {"objective": "margin"}},
        "baseline": "plain",
        "evaluation": {"resamples": 20, "swaps": 99},
        **changes,
    }
    run_study(StudyConfig.model_validate(settings), folder, say=said.append, progress=False)
    return said


def test_a_study_asks_a_language_model_and_asks_nothing_twice(tmp_path, tiny_bert, tiny_judge, pairs):
    judge = {"name": "local", "model": str(tiny_judge), "mode": "exact", "votes": "limit"}
    said = run(tmp_path / "run", tiny_bert, pairs, judge)
    margins = list(read_records(tmp_path / "run" / "margins.parquet", Margin))
    assert margins
    assert all(m.margin == m.margin_limit for m in margins)
    again = run(tmp_path / "run", tiny_bert, pairs, {**judge, "votes": "drawn", "n": 6})
    assert any("judge: " in line and "reused" in line for line in again)
    assert not any("made" in line for line in again if "judge: " in line)
    assert {m.n_judgments + m.n_invalid for m in read_records(tmp_path / "run" / "margins.parquet", Margin)} == {6}
    assert "1" in str(said)
    otherwise = {"device": "cpu", "take_over": True}
    kept = run(tmp_path / "run", tiny_bert, pairs, {**judge, "votes": "drawn", "n": 6, **otherwise})
    assert all("unchanged, kept" in line for line in kept)


class Picky:
    """A server's backend that refuses prompts with some of the words, and says of others what it is told to say."""

    identity = {"model": "picky"}  # noqa: RUF012
    context, samples_per_request = None, 99

    def __init__(self, reply: str, *, refuses: str = "no such word", cut: bool = False) -> None:
        self.reply, self.refuses, self.cut = reply, refuses, cut

    async def __aenter__(self) -> Picky:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def answer(self, ask: Ask, sampling: Sampling | None) -> Answer:
        if self.refuses in ask.prompt:
            raise AskError("status 400: filtered", kind="refused", status=400)
        return Answer(ask, (self.reply,) * len(ask.samples), cut=(self.cut,) * len(ask.samples))


def test_what_a_judge_refused_or_could_not_say_is_counted_and_a_study_of_nothing_ends(tmp_path, monkeypatch):
    rows = [Pair(id=f"p{i}", prompt=f"q{i}!", response_a="yes", response_b="no") for i in range(6)]
    judging = ServerSettings(model="picky", base_url="http://127.0.0.1:1/v1")

    def asked(backend: Picky, store: str) -> dict[str, Any]:
        monkeypatch.setattr(ServerSettings, "backend", lambda _: (backend, "picky"))
        summary = judge_step.run(judging, rows, tmp_path / store, progress=False)
        summary.check_complete()
        return summary.counts()

    counts = asked(Picky("Choice: A", refuses="q3!", cut=True), "some.db")
    expected = {"made": 50, "refused": 10, "cut": 50, "cut_short": 0, "invalid": 0, "too_long": 0}
    assert counts.items() >= expected.items()
    with pytest.raises(JudgeError, match="nothing was judged: none of the 60 replies names a winner"):
        asked(Picky("both"), "none.db")
    with pytest.raises(JudgeError, match="nothing was judged: the server refused all of it"):
        asked(Picky("Choice: A", refuses="!"), "refused.db")


def test_a_study_uses_a_store_that_was_filled_before(tmp_path, tiny_bert, tiny_judge, pairs):
    rows = list(read_pairs(pairs))
    model = LocalModel(str(tiny_judge), device="cpu")
    judge = LanguageJudge(LanguageSettings(model="tiny", mode="exact"), model.identity)
    with JudgmentStore(tmp_path / "j.db") as store:
        ask_model(rows, judge, model, store, AskingOptions(progress=False))
    settings = {"name": "store", "store": str(tmp_path / "j.db"), "judge": "tiny", "top_p": 1.0, "n": 20}
    run(tmp_path / "run", tiny_bert, pairs, settings)
    margins = list(read_records(tmp_path / "run" / "margins.parquet", Margin))
    assert {m.n_judgments + m.n_invalid for m in margins} == {20}
    assert all("unchanged" in line for line in run(tmp_path / "run", tiny_bert, pairs, settings) if "] " in line)
    with pytest.raises(InputError, match="no judge is called 'gpt4'"):
        run(tmp_path / "run", tiny_bert, pairs, {**settings, "judge": "gpt4"})


def test_judges_of_one_model_keep_their_own_settings(tmp_path, tiny_judge, pairs):
    """What can be changed afterwards is not in a judge's name, so the store knows the last one's settings alone."""
    rows = list(read_pairs(pairs))
    common = {"model": str(tiny_judge), "mode": "exact", "device": "cpu"}
    one = LocalSettings(**common, n=10, top_p=0.9)
    two = LocalSettings(**common, n=3, top_p=1.0, order="ab")

    def asked(judging):
        return judge_step.run(judging, rows, tmp_path / "j.db", progress=False).judge

    def recalled(judging, name):
        found = judge_step.judgments(judging, name, rows, tmp_path / "j.db")
        return sorted(found, key=lambda j: (j.pair_id, j.sample))

    name = asked(one)
    first = recalled(one, name)
    assert asked(two) == name
    assert recalled(one, name) == first
    assert len(first) == 10 * len(rows)
    assert {(j.order, j.sample) for j in recalled(two, name)} == {("ab", 0), ("ab", 1), ("ab", 2)}


def test_judges_of_one_model_that_differ_in_their_personas_keep_their_own_judgments(tmp_path, monkeypatch):
    rows = [Pair(id=f"p{i}", prompt=f"q{i}!", response_a="yes", response_b="no") for i in range(4)]
    monkeypatch.setattr(ServerSettings, "backend", lambda _: (Picky("Choice: A"), "picky"))
    common = {"model": "picky", "base_url": "http://127.0.0.1:1/v1", "n": 4}
    judges = [ServerSettings(**common, personas=[f"You are {age}."]) for age in ("young", "old")]
    names = [judge_step.run(judging, rows, tmp_path / "j.db", progress=False).judge for judging in judges]
    for judging, name in zip(judges, names, strict=True):
        said = judge_step.judgments(judging, name, rows, tmp_path / "j.db")
        assert (len(said), {j.persona for j in said}) == (4 * len(rows), set(judging.personas))


def test_a_store_that_was_lost_is_filled_again_for_every_judge(tmp_path, tiny_bert, pairs):
    more = {"judges": {"other": {"name": "votes", "label_is_a_vote": False}}}
    run(tmp_path / "run", tiny_bert, pairs, {"name": "votes"}, **more)
    before = read_margins(tmp_path / "run" / "margins" / "other.parquet")
    (tmp_path / "run" / "judgments.db").unlink()
    said = run(tmp_path / "run", tiny_bert, pairs, {"name": "votes"}, **more)
    assert sum("made" in line for line in said if "] judge" in line) == 2
    assert read_margins(tmp_path / "run" / "margins" / "other.parquet") == before
    assert before


def test_another_judge_in_a_store_is_noticed(tmp_path, tiny_bert, pairs):
    rows = list(read_pairs(pairs))
    settings = {"name": "store", "store": str(tmp_path / "j.db")}
    for label_is_a_vote in (True, False):
        (tmp_path / "j.db").unlink(missing_ok=True)
        with JudgmentStore(tmp_path / "j.db") as store:
            judge = HumanVotes(rows, label_is_a_vote=label_is_a_vote)
            judge.name = f"people-{label_is_a_vote}"
            judge_pairs(rows, judge, store, progress=False)
        assert any(judge.name in line for line in run(tmp_path / "run", tiny_bert, pairs, settings))


def test_published_verdicts_become_margins(tmp_path, tiny_bert, pairs):
    rows = list(read_pairs(pairs))
    verdicts = [
        {"pair_id": pair.id, "judge": "gpt4", "choice": choice, "order": order}
        for i, pair in enumerate(rows)
        for order, choice in (("ab", "a"), ("ba", "ab"[i % 2]))
    ]
    file = tmp_path / "verdicts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in verdicts))
    run(tmp_path / "run", tiny_bert, pairs, {"name": "published", "judge": "gpt4", "file": str(file)})
    margins = list(read_records(tmp_path / "run" / "margins.parquet", Margin))
    assert {(m.margin, m.n_judgments) for m in margins} == {(0.0, 2), (1.0, 2)}
    with pytest.raises(InputError, match=r"no verdicts of a judge 'claude' on these pairs \(.*: has gpt4\)"):
        run(tmp_path / "run", tiny_bert, pairs, {"name": "published", "judge": "claude", "file": str(file)})


@pytest.mark.real_data
@pytest.mark.slow
def test_margins_from_the_published_verdicts_of_gpt4(tmp_path, tiny_bert, real_data_dir):
    rows = [json.loads(line) for line in _lines(real_data_dir / "vicuna80.jsonl.gz")][::14]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    small = {"model": str(tiny_bert), "epochs": 1, "max_length": 32, "batch_size": 32}
    overrides = {"pairs": str(tmp_path / "pairs.jsonl"), "training": small, "seeds": [0]}
    config = load_study("published-verdicts", overrides=overrides)
    run_study(config, tmp_path / "run", say=lambda _: None, progress=False)
    margins = {m.pair_id: m for m in read_records(tmp_path / "run" / "margins.parquet", Margin)}
    assert len(margins) > 100
    for row in rows:
        verdicts = row["judges"].get("gpt4", {}).values()  # a tie counts one half
        if row["id"] in margins:
            assert margins[row["id"]].margin == abs(2 * sum(verdicts) / len(verdicts) - 1)
    assert (tmp_path / "run" / "report.html").is_file()
    assert (
        len({pair.id for pair in read_records(tmp_path / "run" / "pairs" / "test.parquet", Pair)} & set(margins)) == 0
    )


def _lines(path: Path) -> list[str]:
    import gzip

    return gzip.decompress(path.read_bytes()).decode().split("\n")[:-1]


@pytest.mark.parametrize(
    ("name", "changes", "asked"),
    [
        ("local", {"dtype": "float32"}, {"device": "cpu"}),
        ("vllm", {"personas": ["You are old."]}, {}),
        (
            "server",
            {"base_url": "http://x"},
            {"price_prompt": 0.5, "price_reply": 1.5, "max_cost": 3.0, "timeout": 9.0},
        ),
    ],
)
def test_settings_of_a_run_of_version_0_1_are_read_and_decide_the_same(name, changes, asked):
    """Its folder has the settings of every kind of language model, whichever it is."""
    before = {
        **{"name": name, "model": "m", "revision": None, "template": "paper", "personas": [], "deal": "cells"},
        **{"order": "both", "mode": "exact", "n": 10, "temperature": 1.0, "top_p": 0.9, "max_tokens": 16, "seed": 0},
        **{"votes": "limit", "device": None, "dtype": "auto", "base_url": None, "api": "chat", "context": None},
        **{"key_variable": "OPENAI_API_KEY", "timeout": 300.0, "concurrency": 256, "max_cost": None},
        **{"price_prompt": 0.0, "price_reply": 0.0, **changes},
    }
    settings = parse_settings({**before, **asked})
    assert settings.deciding() == before
    assert parse_settings(settings.model_dump(mode="json")) == settings


def test_judges_are_corrected_and_combined_on_the_way(tmp_path, tiny_bert, tiny_judge, pairs):
    model = {"name": "local", "model": str(tiny_judge), "mode": "exact"}
    judge = {"name": "combined", "judges": [model, {"name": "votes"}], "calibrate": "labels"}
    corrected = {"name": "combined", "judges": [model]}
    folder = tmp_path / "run"
    run(folder, tiny_bert, pairs, judge, test_judges=[corrected])
    found = read_calibration(folder / "margins.calibration.json")
    margins = read_margins(folder / "margins.parquet")
    assert [one.reads for one in found.judges] == ["probabilities", "votes"]
    assert found.pairs == found.fitted == len(margins)
    assert all(m.margin == pytest.approx(abs(2 * (m.preference_a or 0) - 1)) for m in margins)
    ds.report(folder, tmp_path / "page.html")
    assert "Judges, calibrated" in (tmp_path / "page.html").read_text(encoding="utf-8")
    tested = list(read_records(folder / "judged" / "combined.parquet", Judgment))
    assert {row.pair_id for row in tested} == {row.id for row in read_pairs(folder / "pairs" / "test.parquet")}
    assert all(row.probability_a is not None for row in tested)
    kept = run(folder, tiny_bert, pairs, judge, test_judges=[corrected])
    assert all("unchanged, kept" in line for line in kept)
    with pytest.raises(ValueError, match="people's votes are what the others are calibrated to"):
        parse_settings({**judge, "calibrate": "votes"})
    with pytest.raises(ValueError, match="people's votes are what judges are compared with"):
        StudyConfig.model_validate({"pairs": "x", "models": {"m": {}}, "baseline": "m", "test_judges": [judge]})
