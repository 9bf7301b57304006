"""Each public data set, from rows in its exact schema: every quirk of the fixture has one right answer."""

import gzip
import json
from pathlib import Path

import pytest

from dissensus.records import Message, Vote, plain_text
from dissensus.sources.hh_rlhf import split_turns

FIXTURES = Path(__file__).parent / "fixtures"

# For each pair: label, votes for a, b and tie, margin.
EXPECTED = {
    ("webgpt", "train"): [("a", None, 0.75), ("b", None, 0.5), ("tie", None, 0.0), ("a", None, 0.25), ("a", None, 1.0)],
    ("synthetic-instruct", "train"): [("=", None, None)] * 3,
    ("summarize-from-feedback", "train"): [("a", (2, 1, 0), None)],
    ("summarize-from-feedback", "validation"): [("b", (0, 1, 0), None), ("b", (0, 1, 0), None)],
    ("summarize-from-feedback:axis", "test"): [
        ("tie", (1, 1, 0), 0.0),
        ("a", (1, 0, 0), 0.5),
        ("tie", (0, 0, 1), 0.0),
    ],
    ("prism", "train"): [
        ("tie", (0, 0, 1), 0.0),
        ("a", (1, 0, 0), 48 / 99),
        ("a", (1, 0, 0), 48 / 99),
        ("a", (1, 0, 0), 6 / 99),
        ("b", (0, 1, 0), 60 / 99),
    ],
    ("ultrafeedback", "train"): [("a", None, (4.75 - 4 / 3) / 4), ("tie", None, 0.0), ("b", None, (4.75 - 4 / 3) / 4)],
    ("ultrafeedback-binarized", "train_prefs"): [("=", None, 0.5), ("tie", None, 0.0), ("=", None, 1.0)],
    ("ultrafeedback-trl", "train"): [("=", None, 0.5), ("tie", None, 0.0), ("=", None, 1.0)],
    ("helpsteer2", "train"): [("a", (3, 0, 0), 2 / 3), ("tie", (1, 1, 1), 0.0), ("b", None, 1 / 3)],
    ("helpsteer2", "validation"): [("b", (0, 3, 0), 1.0)],
    ("helpsteer2:ratings", "train"): [("a", None, 0.75), ("tie", None, 0.0)],
    ("helpsteer2:disagreements", "train"): [("a", None, (11 / 3 - 1.5) / 4)],
    ("helpsteer3", "train"): [
        ("a", (3, 0, 0), 2 / 3),
        ("tie", (1, 1, 1), 0.0),
        ("b", (0, 2, 0), 1.0),
        ("a", None, 1 / 3),
    ],
    ("multipref", "train"): [("b", (1, 2, 1), 0.25), ("tie", (2, 2, 0), 0.0), ("tie", (0, 0, 4), 0.0)],
    ("mt-bench", "human"): [("tie", (1, 1, 1), None), ("b", (0, 1, 0), None)],
    ("mt-bench:gpt4", "gpt4_pair"): [("tie", None, None), ("b", None, None)],
    ("chatbot-arena", "train"): [("a", (1, 0, 0), None), ("tie", (0, 0, 1), None)],
    ("arena-55k", "train"): [("a", (1, 0, 0), None), ("tie", (0, 0, 1), None)],
    ("arena-100k", "train"): [("a", (1, 0, 0), None), ("tie", (0, 0, 1), None)],
    ("arena-140k", "train"): [("tie", (0, 0, 1), None), ("a", (1, 0, 0), None)],
    ("alpacafarm", "validation"): [("tie", (2, 2, 0), None), ("tie", (0, 0, 1), None)],
    ("shp", "train"): [("a", None, None), ("b", None, None), ("a", None, None)],
    ("reward-bench", "filtered"): [("=", None, None)] * 2,
    ("reward-bench-2", "test"): [("=", None, None)] * 11,
    ("hh-rlhf", "train"): [("=", None, None)] * 6,
}
"""``=``: a or b, as the hash of the texts has it."""

COUNTS = {
    "webgpt": {
        "dropped: an empty response": 1,
        "dropped: both responses the same": 1,
        "dropped: a pair that came before": 1,
        "pairs that differ in their citations alone": 1,
    },
    "hh-rlhf": {
        "dropped: an empty response": 1,
        "dropped: transcripts that differ before the last reply": 1,
        "dropped: a transcript that ends with the human": 1,
        "dropped: a pair that came before": 1,
        "dropped: a pair that came before, with another label": 1,
    },
    "summarize-from-feedback": {
        "pairs with votes for both sides": 1,
        "dropped: an annotator's same vote on the same pair again": 1,
    },
    "summarize-from-feedback:axis": {
        "dropped: a summary without an overall rating": 1,
        "dropped: a labeler's only summary of a text": 1,
        "pairs with votes for both sides": 1,
    },
    "synthetic-instruct": {"dropped: an empty response": 1, "rows with space at the edges of a text": 1},
    "prism": {
        "dropped: an empty response": 3,
        "dropped: both responses the same": 1,
        "turns whose chosen answer was scored below another (the scores count)": 1,
    },
    "ultrafeedback": {
        "completions with an overall score of 10 and low ratings (the ratings count)": 1,
        "dropped: both responses the same": 1,
        "dropped: a pair that came before": 2,
        "dropped: an instruction with fewer than two completions": 1,
        "dropped: a completion without a rating": 1,
    },
    "ultrafeedback-binarized": {
        "dropped: both responses the same": 1,
        "pairs with an overall score of 10, some of which may be the old mistake for 1": 1,
    },
    "helpsteer2": {
        "people who found neither response valid (no vote)": 4,
        "pairs with votes for both sides": 1,
    },
    "helpsteer2:ratings": {"dropped: a response without a second one to its prompt": 1},
    "multipref": {"pairs with votes for both sides": 2},
    "mt-bench": {
        "pairs with votes for both sides": 1,
        "dropped: an annotator's same vote on the same pair again": 1,
    },
    "mt-bench:gpt4": {"ties that were two verdicts for different sides": 1},
    "chatbot-arena": {"ties where both were called bad": 1, "dropped: an empty response": 1},
    "arena-55k": {"texts with half a character, replaced by �": 1, "dropped: an empty response": 1},
    "arena-140k": {
        "ties where both were called bad": 1,
        "dropped: an empty response": 1,
        "dropped: a message with something other than text": 1,
    },
    "alpacafarm": {"dropped: both responses the same": 1, "pairs with votes for both sides": 1},
    "shp": {},
    "reward-bench-2": {},
}


@pytest.mark.parametrize(("name", "split"), EXPECTED, ids=lambda value: value)
def test_every_row_of_the_fixture_comes_to_what_it_says(read, name, split):
    found, _, _ = read(name, split)
    said = [(p.label, p.votes and (p.votes.a, p.votes.b, p.votes.tie), m and m.margin) for p, m in found]
    expected = EXPECTED[name, split]
    assert len(said) == len(expected)
    for (label, votes, margin), (right, right_votes, right_margin) in zip(said, expected, strict=True):
        assert label in (("a", "b") if right == "=" else (right,))
        assert votes == right_votes
        assert margin == pytest.approx(right_margin)
    assert {pair.dataset for pair, _ in found} == {name.partition(":")[0]}
    assert len({pair.id for pair, _ in found}) == len(found)
    assert all(margin is None or margin.pair_id == pair.id for pair, margin in found)


@pytest.mark.parametrize("name", COUNTS)
def test_what_is_dropped_or_remarkable_is_counted(read, name):
    split = {"summarize-from-feedback:axis": "test"}.get(name)
    assert read(name, split)[1] == COUNTS[name]


def by_text(found, start):
    [pair] = [
        p for p, _ in found if plain_text(p.response_a).startswith(start) or plain_text(p.response_b).startswith(start)
    ]
    return pair, plain_text(pair.response_a if pair.label == "a" else pair.response_b)


@pytest.mark.parametrize(
    ("name", "split", "start", "winner"),
    [
        (
            "hh-rlhf",
            "train",
            "Then three",
            "Then three:\n\n1. The bowline.\n\n2. The cleat hitch.\n\n3. The reef knot.",
        ),
        ("hh-rlhf", "train", "Good evening! What", "Good evening!"),
        ("hh-rlhf", "train", " Mars", " Mars"),
        ("hh-rlhf", "train", "No.", "What has keys and opens nothing?  Human: a piano!"),
        ("synthetic-instruct", "train", "Boil", "Boil water with a spoon of citric acid, then rinse it."),
        ("ultrafeedback-binarized", "train_prefs", "Water.", "The Baltic and the Red Sea."),
        ("reward-bench", "filtered", "Iron is, by far (1).", "Iron is, by far (1)."),
        ("reward-bench-2", "test", "9", "6"),
        ("shp", "train", "Two days.", "A week, wrapped."),
        ("helpsteer2", "validation", "Walnut.", "Walnut."),
        ("webgpt", "train", "The Loire.", "The Rhône."),
    ],
)
def test_the_preferred_response_is_the_labelled_one(read, name, split, start, winner):
    assert by_text(read(name, split)[0], start)[1] == winner


def test_raw_lines_of_webgpt_are_the_rows_of_the_hub(read):
    raw = read("webgpt", root=FIXTURES / "webgpt-raw" / "comparisons.jsonl")
    assert raw == read("webgpt")


def test_a_webgpt_question_is_kept_whole(read):
    pair, _ = read("webgpt")[0][0]
    assert pair.prompt == "Why do tides come twice a day?\n\nOur harbour has two, my cousin's bay has one."


def test_labelers_who_saw_summaries_the_other_way_round_vote_on_one_pair(read):
    [(pair, _)], _, _ = read("summarize-from-feedback", "train")
    assert pair.response_a == " flatmate waters plastic plants"
    assert pair.votes.annotations == (
        Vote(annotator="wOneXyz", vote="a"),
        Vote(annotator="wTwoXyz", vote="b"),
        Vote(annotator="wThreeXyz", vote="a"),
    )
    assert pair.prompt == (
        "SUBREDDIT: r/relationships\n\nTITLE: Plastic plants\n\n"
        "POST: My flatmate waters plastic plants.\n\nShe says they look happier.\n\nTL;DR:"
    )


def test_a_turn_of_prism_has_the_chosen_answers_before_it(read):
    found, _, people = read("prism")
    later, _ = found[3]
    assert later.prompt == (
        Message(role="user", content="Is it fair to tax sugar?"),
        Message(role="assistant", content="Many say yes, for health."),
        Message(role="user", content="And salt?"),
    )
    assert later.group == "prism:c0"
    assert people["user0"]["religion_simplified"] == "No Affiliation"
    assert people["user0"]["reside_country"] == "Ireland"
    assert people["user1"]["gender"] == "Male"
    assert "age" not in people["user1"]
    assert "religion_simplified" not in people["user1"]
    assert "user9" not in people


def test_experts_of_multipref_can_be_told_from_others(read):
    people = read("multipref")[2]
    assert people["e1"] == {"worker": "expert"}
    assert people["n3"] == {"worker": "normal"}


def test_a_judgment_of_mt_bench_about_the_first_turn_sees_the_first_turn_alone(read):
    (first, _), (both, _) = read("mt-bench")[0]
    assert (len(first.response_a), len(both.response_a)) == (1, 3)
    assert first.prompt == both.prompt == "Write an ode."
    assert first.votes.annotations[1] == Vote(annotator="expert_2", vote="b")


def test_texts_of_an_arena_in_csv_are_its_turns(read):
    (pair, _), (half, _) = read("arena-55k")[0]
    assert pair.prompt == "Is 3/4 < 1?"
    assert [turn.content for turn in pair.response_a] == ["Yes.", "Sure? 🙂", ""]
    assert pair.id == "arena-55k:30001"
    assert half.response_b[0].content == "half �"


def test_transcripts_keep_what_was_said():
    turns = split_turns("\n\nHuman: a\n\nb  Human: c\n\nAssistant:  d")
    assert [(turn.role, turn.content) for turn in turns] == [("user", "a\n\nb  Human: c"), ("assistant", " d")]


@pytest.mark.real_data
def test_the_real_test_split_of_hh_rlhf(tmp_path, read, real_data_dir):
    """Its rows, put back into transcripts, come to the pairs that were made of them elsewhere."""
    source = real_data_dir / "hh_harmless.jsonl.gz"
    with gzip.open(source, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    raw = tmp_path / "hh-rlhf" / "harmless-base" / "test.jsonl.gz"
    raw.parent.mkdir(parents=True)
    with gzip.open(raw, "wt", encoding="utf-8") as file:
        for row in rows:
            texts = {k: f"\n\n{row['prompt']} {row[k]}" for k in ("chosen", "rejected")}
            file.write(json.dumps(texts, ensure_ascii=False) + "\n")
    found, counts, _ = read("hh-rlhf:harmless-base", "test", root=tmp_path)
    assert len(found) == len(rows) == 2303
    assert set(counts) <= {"prompts with two turns of one speaker in a row"}
    for (pair, _), row in zip(found, rows, strict=True):
        chosen, rejected = (
            (pair.response_a, pair.response_b) if pair.label == "a" else (pair.response_b, pair.response_a)
        )
        assert (chosen, rejected) == (row["chosen"], row["rejected"])
        speakers = {"user": "Human", "assistant": "Assistant"}
        said = "".join(f"\n\n{speakers[turn.role]}: {turn.content}" for turn in pair.prompt)
        assert said.replace(" ", "") == f"\n\n{row['prompt'].removesuffix('Assistant:').rstrip()}".replace(" ", "")
