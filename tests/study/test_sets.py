"""Studies of several sets: what is drawn for the test, what is left to train on, who annotates it."""

import itertools
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from dissensus.annotate.exchange.annotated_pairs import with_annotations
from dissensus.cli import group
from dissensus.errors import ConfigError, InputError
from dissensus.files import read_pairs, read_records, write_records
from dissensus.records import Message, Pair, Vote, Votes
from dissensus.simulate import SimulationConfig
from dissensus.simulate.copies import ANNOTATIONS, copy_file, write_copies
from dissensus.study import StudyConfig, load_study, run_study
from dissensus.study.config import DrawnTest
from dissensus.study.dry_run import estimate_study
from dissensus.study.sets import draw_test, read_sets

from .fakes import some

INSIDE, OUTSIDE = ("webgpt", "hh-rlhf"), ("prism",)
SMALL = SimulationConfig(prompts=60, responses_per_prompt=3, out_of_domain_share=0.4)


def study(tmp_path: Path, **changes: Any) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "in_domain": {"one": str(tmp_path / "one.jsonl"), "two": str(tmp_path / "two.jsonl")},
            "out_of_domain": {"three": str(tmp_path / "three.jsonl")},
            "test": {"per_set": 4},
            "models": {"plain": {}},
            "baseline": "plain",
            **changes,
        }
    )


@pytest.fixture
def three(tmp_path: Path) -> Path:
    shared = [Pair(id=f"shared-{i}", prompt=f"three {i}", response_a="x", response_b="y", label="b") for i in range(12)]
    chat = Pair(id="chat", prompt=(Message(role="user", content="Hi"),), response_a="a", response_b="b", label="a")
    write_records(tmp_path / "one.jsonl", [*some("one", 12), *shared])
    write_records(tmp_path / "two.jsonl", [*some("two", 12, votes=Votes(a=1, b=2)), *some("one", 2), chat])
    write_records(tmp_path / "three.jsonl", some("three", 12))
    return tmp_path


def test_no_prompt_of_any_test_pair_is_trained_on(three: Path):
    sets = read_sets(study(three))
    assert Counter(pair.dataset for pair in sets.test) == {"one": 4, "two": 4, "three": 4}
    assert Counter(pair.domain for pair in sets.test) == {"in": 8, "out": 4}
    assert {pair.group for pair in sets.train}.isdisjoint({pair.group for pair in sets.test})
    assert {pair.dataset for pair in sets.train} == {"one", "two"}
    # The prompts of set three that were drawn are in set one as well.
    assert sum(pair.id.startswith("shared") for pair in sets.train) <= 8
    assert len({pair.id for pair in sets.train}) == len(sets.train)
    assert sets.counts["in_two_sets"] + sets.counts["held_out_with_a_test_prompt"] >= 6


def test_a_prompt_is_known_by_its_text_where_sets_group_otherwise(tmp_path: Path):
    """PRISM groups by conversation, MultiPref by number: their groups are never those of another set."""

    def pairs(name: str, group: str = "", **fields: Any) -> list[Pair]:
        return [
            Pair(id=f"{name}-{i}", prompt=f"{name[0]}sk  {i} " if group else f"{name[0]}SK {i}", response_a=f"{name} x",
                 response_b="y", label="a", group=group and f"{group}{i}", **fields)
            for i in range(12)
        ]  # fmt: skip

    write_records(tmp_path / "one.jsonl", pairs("a"))
    write_records(tmp_path / "two.jsonl", pairs("b"))
    write_records(tmp_path / "three.jsonl", pairs("also", "conversation "))
    sets = read_sets(study(tmp_path))
    texts = [{" ".join(str(p.prompt).split()).casefold() for p in part} for part in (sets.train, sets.test)]
    assert texts[0].isdisjoint(texts[1])
    assert Counter(pair.dataset for pair in sets.test) == {"one": 4, "two": 4, "three": 4}
    assert len(texts[1]) == 12
    again = [Pair(id=f"{i}", prompt="Hello" if i % 2 else f"p{i}", group=str(i), response_a="x", response_b="y")
             for i in range(9)]  # fmt: skip
    assert [pair.prompt for pair in draw_test(again, DrawnTest(per_set=9), name="s")].count("Hello") == 1


@pytest.mark.parametrize("label", ["own", "one-vote"])
@pytest.mark.parametrize(
    "judge", [{"name": "committee"}, {"name": "votes"}, {"name": "votes", "label_is_a_vote": True}]
)
def test_a_file_gives_the_same_pairs_through_either_door(tmp_path: Path, label: str, judge: dict[str, Any]):
    kinds: list[dict[str, Any]] = [
        {"label": None, "votes": Votes(a=3, b=2)},
        {"label": "b", "votes": Votes(a=3, b=2, tie=1)},
        {"label": "b", "votes": None},
        {"label": None, "votes": Votes(a=0, b=0, tie=2)},
        {"label": None, "votes": Votes(a=1, b=0)},
        {"label": None, "votes": None},
    ]
    pairs = [
        Pair(id=f"{i}-{j}", prompt=f"p{i}", response_a="x", response_b=f"y{j}", dataset="s", domain="in", **kind)
        for i in range(40)
        for j, kind in enumerate(kinds)
    ]
    write_records(tmp_path / "s.jsonl", pairs)
    source = str(tmp_path / "s.jsonl")
    common = {"label": label, "label_seed": 3, "judge": judge, "models": {"plain": {}}, "baseline": "plain"}
    hold = {"pairs": source, "hold_out": {"by": "group", "count": 20}}
    drawn = {"in_domain": {"s": source}, "test": {"per_set": 20}}
    one, other = (read_sets(StudyConfig.model_validate({**common, **door})) for door in (hold, drawn))
    for part in ("train", "test"):
        found = [{pair.id: pair for pair in getattr(sets, part)} for sets in (one, other)]
        both = found[0].keys() & found[1].keys()
        assert len(both) > 5
        assert all(found[0][key] == found[1][key] for key in both)
    original = {pair.id: pair for pair in pairs}
    assert all(pair == original[pair.id] for pair in [*one.test, *other.test])


def test_chat_out_of_domain_beside_text_is_chat_in_both(tmp_path: Path):
    votes = Votes(a=2, b=1)
    write_records(tmp_path / "own.jsonl", some("own", 6, 1, votes=votes))
    chat = [Pair(id=f"c{i}", prompt=(Message(role="user", content=f"hi {i}"),), response_a="a", response_b="b",
                 votes=votes, dataset="elsewhere") for i in range(3)]  # fmt: skip
    write_records(tmp_path / "chat.jsonl", chat)
    given = {
        "pairs": str(tmp_path / "own.jsonl"), "out_of_domain": {"chat": str(tmp_path / "chat.jsonl")},
        "hold_out": {"by": "group", "count": 2}, "models": {"plain": {}}, "baseline": "plain",
    }  # fmt: skip
    sets = read_sets(StudyConfig.model_validate(given))
    assert Counter(pair.dataset for pair in sets.test) == {"own": 2, "chat": 3}
    assert all(isinstance(pair.prompt, tuple) for pair in [*sets.train, *sets.test])
    write_records(tmp_path / "x.parquet", sets.test)


@pytest.mark.parametrize("label", ["own", "one-vote"])
def test_a_vote_that_became_the_label_is_no_judgment_as_well(tmp_path: Path, label: str):
    from dissensus.judges import HumanVotes

    for name in ("one", "two", "three"):
        unlabelled = [pair.model_copy(update={"label": None}) for pair in some(name, 9, votes=Votes(a=2, b=1))]
        write_records(tmp_path / f"{name}.jsonl", unlabelled)
    train = read_sets(study(tmp_path, label=label, judge={"name": "votes"})).train
    judge = HumanVotes(train)
    for pair in train:
        others = sorted(str(judgment.choice) for judgment in judge.answer(judge.questions(pair)))
        assert sorted([*others, pair.label]) == ["a", "a", "b"]


def test_prompts_of_a_set_out_of_domain_are_not_trained_on(tmp_path: Path):
    votes = Votes(a=2, b=1)
    own = [Pair(id=f"o{i}", prompt=f"Q{i}", response_a="x", response_b="y", label="a", votes=votes) for i in range(10)]
    other = [
        Pair(id=f"e{i}", prompt=f"q{i}", response_a="u", response_b="v", votes=votes, group=f"g{i}") for i in (2, 5)
    ]
    write_records(tmp_path / "own.jsonl", own)
    write_records(tmp_path / "other.jsonl", other)
    given = {
        "pairs": str(tmp_path / "own.jsonl"), "out_of_domain": {"e": str(tmp_path / "other.jsonl")},
        "hold_out": {"by": "group", "share": 0.2}, "models": {"plain": {}}, "baseline": "plain",
    }  # fmt: skip
    sets = read_sets(StudyConfig.model_validate(given))
    held = {"o2", "o5"} - {pair.id for pair in sets.test}
    assert {pair.id for pair in sets.train}.isdisjoint({"o2", "o5"})
    assert sets.counts.get("held_out_with_a_test_prompt", 0) == len(held)
    write_records(tmp_path / "other.jsonl", [pair.model_copy(update={"id": f"e{pair.id}"}) for pair in own])
    with pytest.raises(ConfigError, match="all prompts to train on"):
        read_sets(StudyConfig.model_validate(given))


def test_chat_in_one_set_makes_chat_of_all_prompts_so_that_a_file_holds_them(three: Path, tmp_path: Path):
    sets = read_sets(study(three))
    assert all(isinstance(pair.prompt, tuple) for pair in [*sets.train, *sets.test])
    assert all(isinstance(pair.response_a, str) for pair in sets.train)
    write_records(tmp_path / "x.parquet", sets.train)
    assert list(read_records(tmp_path / "x.parquet", Pair)) == sets.train


def test_a_limit_and_a_test_split_of_a_set(three: Path, tmp_path: Path):
    folder = tmp_path / "split"
    folder.mkdir()
    write_records(folder / "train.parquet", some("s", 10))
    write_records(folder / "test.parquet", some("t", 10))
    given = {"pairs": str(folder), "split": "train", "test_split": "test", "limit": 9}
    sets = read_sets(study(three, in_domain={"one": given}))
    assert {pair.id[0] for pair in sets.test if pair.dataset == "one"} == {"t"}
    assert len(sets.train) == 9
    assert sets.counts["over_the_limit"] == 21


def test_people_give_votes_and_categories_by_id(three: Path):
    sets = read_sets(study(three))
    first, second = sets.test[:2]
    votes = Votes(a=2, b=1, annotations=(Vote(vote="a"), Vote(vote="a"), Vote(vote="b")))
    said = first.model_copy(update={"votes": votes, "category": "single", "distinct": "no", "prompt": "as text"})
    joined = with_annotations(sets.test, [said], "x.db")
    assert (joined[0].votes, joined[0].category, joined[0].distinct) == (votes, "single", "no")
    assert joined[1] == second
    assert joined[0].prompt == first.prompt
    with pytest.raises(InputError, match=r"x.db: none of its 1 pairs is among the 12 test pairs"):
        with_annotations(sets.test, [said.model_copy(update={"id": "other"})], "x.db")
    with pytest.raises(InputError, match="has other responses"):
        with_annotations(sets.test, [said.model_copy(update={"response_a": "other"})], "x.db")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": "x.jsonl"}, "give either pairs or in_domain"),
        ({"test": None}, "say how many test pairs are drawn"),
        ({"out_of_domain": {"one": "x"}}, "set 'one' is in_domain and out_of_domain"),
        ({"models": {"plain": {"judge": "nobody"}}}, "judge 'nobody' is none of the judges"),
        ({"sweep": {}, "training": {"validation": 0, "calibration": "none"}}, "holds nothing out to choose on"),
        ({"sweep": {"rates": "high"}}, "expected two rates"),
        ({"judge": {"name": "published", "judge": "gpt4"}}, "name the file of its verdicts"),
        ({"copies": "simulated"}, "'simulation' belongs to"),
        ({"categories": {"name": "judge"}}, "belong together"),
        ({"pretrained": {"plain": "x"}}, "share a name"),
    ],
)
def test_settings_that_do_not_fit_are_refused(three: Path, changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        study(three, **changes)


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copies")
    assert write_copies(folder, INSIDE, OUTSIDE, SMALL) == len(list(read_pairs(folder / ANNOTATIONS)))
    return folder


def test_annotators_of_copies_and_their_votes_come_from_one_population(copies: Path):
    given = {name: str(copies / copy_file(name)) for name in (*INSIDE, *OUTSIDE)}
    config = StudyConfig.model_validate(
        {
            "in_domain": {name: given[name] for name in INSIDE},
            "out_of_domain": {name: given[name] for name in OUTSIDE},
            "test": {"per_set": 3},
            "annotations": str(copies / ANNOTATIONS),
            "models": {"plain": {}},
            "baseline": "plain",
        }
    )
    sets = read_sets(config)
    assert {pair.dataset for pair in sets.train} == set(INSIDE)
    assert {(pair.dataset, pair.domain) for pair in sets.test} >= {("webgpt", "in"), ("prism", "out")}
    assert all(pair.votes.n == 3 and pair.votes.are_estimates for pair in sets.test)
    assert {pair.category for pair in sets.test} == {"single", "multiple"}
    # Those whom a set asked and those who annotate come from one population: their preferences go together.
    train = {pair.id: pair.label for pair in sets.train}
    told = [pair for pair in read_pairs(copies / ANNOTATIONS) if train.get(pair.id) in ("a", "b")]
    right = [(pair.votes.preference > 0.5) == (train[pair.id] == "a") for pair in told if pair.votes.preference != 0.5]
    assert sum(right) / len(right) > 0.65


def test_no_prompt_is_in_two_copies(copies: Path, tmp_path: Path):
    by_set: dict[str, set[str]] = {}
    for pair in read_pairs(copies / ANNOTATIONS):
        by_set.setdefault(str(pair.dataset), set()).add(str(pair.prompt))
    assert by_set.keys() == {*INSIDE, *OUTSIDE}
    assert all(one.isdisjoint(other) for one, other in itertools.combinations(by_set.values(), 2))
    with pytest.raises(ConfigError, match=r"too few prompts for a copy of hh-rlhf; raise simulation\.prompts"):
        write_copies(tmp_path, INSIDE, (), SimulationConfig(prompts=1, out_of_domain_share=0))


@pytest.mark.parametrize("preset", ["paper", "paper-gold"])
def test_a_dry_run_counts_and_writes_nothing(preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    whole = estimate_study(load_study(preset))
    assert "5 learning rates: 5 runs" in whole
    assert "people: " in whole
    small = estimate_study(load_study(preset, scale="small"))
    assert "(counted)" in small
    done = CliRunner().invoke(group, ["study", preset, "--scale", "small", "--dry-run"], catch_exceptions=False)
    assert done.stdout.strip() == small.strip()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="no scale 'tiny'; it has: small"):
        load_study(preset, scale="tiny")


def test_a_dry_run_of_one_set_on_the_hub_asks_the_hub_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dissensus.files.location._rows", lambda *_: pytest.fail("the Hub was asked"))
    common: dict[str, Any] = {"models": {"plain": {}}, "baseline": "plain", "hold_out": {"by": "group", "share": 0.25}}
    told = estimate_study(StudyConfig.model_validate({**common, "pairs": "helpsteer3"}))
    assert "train on 28,844 pairs (as published" in told
    assert "test on 9,615 pairs" in told
    told = estimate_study(StudyConfig.model_validate({**common, "pairs": "org/unknown"}))
    assert "how many of org/unknown is known once they are read" in told
    assert "org/unknown                 in         unknown" in told
    by_name = {**common, "pairs": "helpsteer3", "hold_out": {"by": "category", "count": 2}}
    assert "how many of helpsteer3 is known once" in estimate_study(StudyConfig.model_validate(by_name))


def test_a_dry_run_counts_personas_categories_annotations_and_renamed_columns(tmp_path: Path):
    rows = "".join(f'{{"id": "o{i}", "question": "Q{i}", "response_a": "x", "response_b": "y"}}\n' for i in range(7))
    (tmp_path / "own.jsonl").write_text(rows)
    write_records(tmp_path / "said.jsonl", some("s", 3, 1, votes=Votes(a=1, b=0)))
    model = {"name": "local", "model": "m", "mode": "exact", "n": 10}
    given: dict[str, Any] = {
        "in_domain": {"own": {"pairs": str(tmp_path / "own.jsonl"), "columns": {"prompt": "question"}}},
        "out_of_domain": {"prism": "prism"},
        "test": {"per_set": 5},
        "judge": {**model, "personas": [f"You are {name}." for name in "abcdefgh"]},
        "categories": {
            "name": "judge",
            "judge": {**model, "name": "server", "base_url": "http://x", "price_prompt": 1},
        },
        "annotations": str(tmp_path / "said.jsonl"),
        "models": {"plain": {}},
        "baseline": "plain",
    }
    told = estimate_study(StudyConfig.model_validate(given))
    assert "7 pairs, 70 choice distributions" in told  # ten judgments show a pair to five of the eight
    assert "categories of prompts, and of pairs: m (server), 20 pairs, 20 choice distributions" in told
    assert "cost $0.01 at $1.0" in told
    assert "people: 7 test pairs" in told


def test_the_papers_preset_asks_three_million_replies_and_says_hours_and_cost():
    priced = {
        "name": "server",
        "model": "m",
        "base_url": "http://127.0.0.1:1/v1",
        "mode": "sample",
        "price_prompt": 1.0,
    }
    config = load_study("paper", overrides={"judge": priced, "throughput": {"judgments_per_second": 100}})
    told = estimate_study(config)
    assert "train on 306,379 pairs" in told
    assert "test on 150 pairs, 25 of each set" in told
    assert "3,063,790 replies" in told  # ten for each pair
    assert "cost $367.65" in told  # 306,379 pairs, two orders of 600 tokens each, at a dollar a million
    assert "about 8.5 hours at 100 a second" in told
    assert "450 answers" in told


@pytest.mark.slow
def test_a_study_of_sets_waits_for_people_and_goes_on(
    copies: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Sweep, a pretrained model, two judges and categories; then annotations come, and nothing is trained again."""
    monkeypatch.setenv("DISSENSUS_CACHE", str(tmp_path / "cache"))
    for file in map(copy_file, (*INSIDE, *OUTSIDE)):
        unvoted = (pair.model_copy(update={"votes": None}) for pair in read_pairs(copies / file))
        write_records(tmp_path / file, unvoted)
    committee = {"name": "committee", "n": 2, "encoder": str(tiny_bert), "max_length": 32}
    settings: dict[str, Any] = {
        "in_domain": {name: str(tmp_path / copy_file(name)) for name in INSIDE},
        "out_of_domain": {name: str(tmp_path / copy_file(name)) for name in OUTSIDE},
        "test": {"per_set": 5},
        "judge": committee,
        "judges": {"other": {**committee, "n": 3}},
        "allow_missing": True,
        "training": {"model": str(tiny_bert), "epochs": 1, "max_length": 32, "validation": 0.2},
        "sweep": {"rates": "1e-3,1e-4"},
        "models": {"plain": {}, "other": {"objective": "margin", "judge": "other"}},
        "baseline": "plain",
        "seeds": [0, 1],
        "evaluation": {"resamples": 20, "swaps": 9},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(settings))
    said: list[str] = []
    out = tmp_path / "run"
    assert run_study(load_study(tmp_path / "study.yaml"), out, say=said.append, progress=False) == []
    assert "dissensus annotate" in said[-1]
    assert not (out / "scores.json").exists()
    rates = [line for line in said if "learning rate" in line]
    assert len(rates) == 2
    annotated = copies / ANNOTATIONS
    said.clear()
    shutil.copytree(out / "models" / "plain" / "seed-0", tmp_path / "given")
    more = {"annotations": str(annotated), "pretrained": {"given": str(tmp_path / "given")}}
    config = load_study(tmp_path / "study.yaml", overrides=more)
    metrics = run_study(config, out, say=said.append, progress=False)
    begun = [line.partition("] ")[2].removesuffix(" …") for line in said if line.endswith(" …")]
    assert begun == ["pairs", "predict given", "evaluate", "report"]
    assert "test annotated 15" in said[1]
    assert {m.model for m in metrics if m.kind == "model"} == {"plain", "other", "given"}
    assert {m.group for m in metrics} >= {"dataset=webgpt", "domain=out", "category=multiple"}
    said.clear()
    run_study(config, out, say=said.append, progress=False)
    assert all("unchanged" in line for line in said)
    assert run_study(load_study(tmp_path / "study.yaml"), out, say=said.append, progress=False) == []
    assert not (out / "scores.json").exists()  # of people who are not asked any more
    assert not (out / "report.html").exists()
