"""Several people's rows on the same two responses are one pair with all their votes."""

import json
from pathlib import Path

import pytest

from dissensus.errors import InputError
from dissensus.records import Margin, Pair, Vote, Votes
from dissensus.sources import open_source
from dissensus.sources.row_reader import Reading, merge_votes

FIXTURES = Path(__file__).parent / "fixtures"


def rows(name: str) -> list[dict]:
    [file] = (FIXTURES / name).rglob("train.jsonl")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def opened(tmp_path: Path, name: str, given: list[dict]):
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, given)))
    source = open_source(name, root=tmp_path / "train.jsonl", notice=lambda _: None)
    return list(source), dict(source.report.counts), sorted(one.id for one in source.report.annotators)


def test_battles_with_the_same_texts_are_votes_on_one_pair(tmp_path):
    row = rows("chatbot-arena")[0]
    turned = {"conversation_a": row["conversation_b"], "conversation_b": row["conversation_a"]}
    battles = [
        {**row, "question_id": "1", "judge": "u1", "winner": "model_a"},
        {**row, "question_id": "2", "judge": "u2", "winner": "model_b"},
        {**row, "question_id": "3", "judge": "u3", "winner": "model_a", **turned},
    ]
    [(pair, margin)], counts, people = opened(tmp_path, "chatbot-arena", battles)
    assert (pair.votes.a, pair.votes.b, pair.label, margin) == (1, 2, "b", None)
    assert counts == {"pairs with votes for both sides": 1}
    assert people == ["u1", "u2", "u3"]


def test_people_without_names_add_up_and_a_repeated_row_does_not(tmp_path):
    row = rows("helpsteer3")[0]

    def said(overall: int, *scores: int) -> dict:
        people = [{**row["individual_preference"][0], "score": score} for score in scores]
        return {**row, "overall_preference": overall, "individual_preference": people}

    given = [said(-2, -2, -1), said(2, 3, 2, 1), said(-2, -2, -1)]
    [(pair, margin)], counts, _ = opened(tmp_path, "helpsteer3", given)
    assert (pair.votes.a, pair.votes.b, pair.label) == (2, 3, "b")
    assert margin.margin == 0  # the two strengths are of one size
    assert counts == {"dropped: a pair that came before": 1, "pairs with votes for both sides": 1}


def test_an_id_names_one_pair(tmp_path):
    first, second = rows("chatbot-arena")[:2]
    assert opened(tmp_path, "chatbot-arena", [first, first])[1] == {"dropped: a pair that came before": 1}
    with pytest.raises(InputError, match=r"train\.jsonl:2: the id .* came before with other texts"):
        opened(tmp_path, "chatbot-arena", [first, {**second, "question_id": first["question_id"]}])


def pair(*said: tuple[str, str], label: str) -> Pair:
    votes = [Vote(annotator=who, vote=vote) for who, vote in said]
    counts = {side: sum(vote.vote == side for vote in votes) for side in ("a", "b", "tie")}
    return Pair(
        id="p", prompt="q", response_a="x", response_b="y", label=label, votes=Votes(**counts, annotations=tuple(votes))
    )


def merged(*found: tuple[Pair, float]) -> tuple[Pair, Margin | None, dict]:
    reading = Reading("s", [], lambda _: iter(()), lambda *_: None)
    rows = iter([(one, Margin(pair_id="p", margin=margin)) for one, margin in found])
    [(result, margin)] = merge_votes(rows, reading)
    return result, margin, dict(reading.counts)


def test_a_strength_against_the_majority_is_no_margin_for_it():
    """Two prefer a by a little, one b by much: the label is a, and a margin for a would turn the strength round."""
    little = [(pair((who, "a"), label="a"), 1 / 9) for who in "uv"]
    result, margin, counts = merged(*little, (pair(("w", "b"), label="b"), 6 / 9))
    assert (result.label, margin.margin) == ("a", 0)
    assert counts["pairs whose strength is against the majority, with a margin of 0"] == 1


def test_one_person_is_no_disagreement():
    result, margin, counts = merged((pair(("u", "a"), label="a"), 0.2), (pair(("u", "b"), label="b"), 0.1))
    assert (result.votes.a, result.votes.b, result.votes.tie, result.label) == (0, 0, 1, "tie")
    assert margin.margin == pytest.approx(0.05)
    assert counts == {"an annotator's different votes on the same pair, counted as a tie": 1}


def test_every_pair_behind_a_turn_that_is_not_there_is_counted(tmp_path):
    first = json.loads((FIXTURES / "prism" / "utterances.jsonl").read_text(encoding="utf-8").splitlines()[0])
    turns = [
        {**first, "conversation_id": "c", "turn": turn, "user_prompt": prompt, "model_response": f"{turn} {side}",
         "if_chosen": not side, "score": 90 - side, "within_turn_id": side, "utterance_id": f"{turn}{side}"}
        for turn, prompt in enumerate(["Hi", "EMPTY STRING", "more", "and", "on"])
        for side in (0, 1)
    ]  # fmt: skip

    def counted(given: list[dict]) -> dict[str, int]:
        (tmp_path / "utterances.jsonl").write_text("\n".join(map(json.dumps, given)))
        source = open_source("prism", root=tmp_path, notice=lambda _: None, skip_invalid=True)
        assert len(list(source)) == 1
        return dict(source.report.counts)

    gone = "dropped: a turn whose conversation is not there"
    assert counted(turns) == {"dropped: an empty prompt": 1, gone: 3}
    assert counted([row for row in turns if row["turn"] != 1]) == {gone: 3}
    other = [
        {**row, "user_prompt": "other" if row["utterance_id"] == "11" else "p"} if row["turn"] else row for row in turns
    ]
    assert counted(other) == {gone: 4}
