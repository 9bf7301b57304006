import gzip
import json
from collections import Counter

import pytest
from trl.data_utils import maybe_extract_prompt

from dissensus.errors import InputError
from dissensus.files import TableReader, read_pairs, write_trl
from dissensus.files.trl import pair_from_trl, split_prompt
from dissensus.records import Margin, Message, Pair, plain_text

USER = {"role": "user", "content": "Why?"}
GOOD = {"role": "assistant", "content": "So."}
BAD = {"role": "assistant", "content": "No."}

SHAPES = {
    "standard explicit": {"prompt": "Why?", "chosen": " So.", "rejected": " No."},
    "standard implicit": {"chosen": "Why? So.", "rejected": "Why? No."},
    "conversational explicit": {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
    "conversational implicit": {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
    "string prompt beside conversations": {"prompt": "Why?", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
    "string prompt beside replies": {"prompt": "Why?", "chosen": [GOOD], "rejected": [BAD]},
    "chat prompt beside text": {"prompt": [USER], "chosen": "So.", "rejected": "No."},
}


def chosen_of(pair):
    return pair.response_a if pair.label == "a" else pair.response_b


def rejected_of(pair):
    return pair.response_b if pair.label == "a" else pair.response_a


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_prompt_chosen_and_rejected(shape):
    pair, margin = pair_from_trl(SHAPES[shape])
    assert plain_text(pair.prompt) == "Why?"
    assert plain_text(chosen_of(pair)).strip() == "So."
    assert plain_text(rejected_of(pair)).strip() == "No."
    assert margin is None


@pytest.mark.parametrize(
    "shape", ["standard implicit", "conversational implicit", "string prompt beside conversations"]
)
def test_the_prompt_is_the_one_that_trl_extracts(shape):
    theirs = maybe_extract_prompt(dict(SHAPES[shape]))
    prompt, chosen, rejected = split_prompt(SHAPES[shape])
    if isinstance(prompt, str):
        assert (prompt, chosen, rejected) == (theirs["prompt"], theirs["chosen"], theirs["rejected"])
    else:
        ours = [[turn.model_dump() for turn in text] for text in (prompt, chosen, rejected)]
        assert ours == [theirs["prompt"], theirs["chosen"], theirs["rejected"]]


TRANSCRIPTS = {
    "last reply": ("\n\nHuman: Hi\n\nAssistant:", " A.\n\nB.", " A.\n\nC."),
    "same first words": ("\n\nHuman: Hi\n\nAssistant:", " I think so.", " I think not."),
    "one a prefix of the other": ("\n\nHuman: Hi\n\nAssistant:", " Yes", " Yes, and more."),
    "two spaces": ("\n\nHuman: Hi\n\nAssistant:", "  Yes", " No"),
    "several turns": ("\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: So?\n\nAssistant:", " A", " B"),
    "context differs": (
        "\n\nHuman: Hi\n\nAssistant:",
        " Hello.  Human: who?\n\nAssistant: A bot.",
        " Hello.\n\nAssistant: Who?",
    ),
}


@pytest.mark.parametrize("case", TRANSCRIPTS)
def test_a_transcript_is_cut_before_the_last_reply_that_both_share_a_start_of(case):
    prompt, chosen, rejected = TRANSCRIPTS[case]
    assert split_prompt({"chosen": prompt + chosen, "rejected": prompt + rejected}) == (prompt, chosen, rejected)


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("The sky is grey.", "The sky is green.", "The sky is"),  # never inside a word
        ("The sky is", "The sky is blue", "The sky"),
        ("Q?\n\nfoo", "Q?\n\nbar", "Q?"),
    ],
)
def test_plain_text_is_cut_between_words_and_nothing_is_lost(chosen, rejected, prompt):
    found, a, b = split_prompt({"chosen": chosen, "rejected": rejected})
    assert found == prompt
    assert (found + a, found + b) == (chosen, rejected)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": "x y", "rejected": "x y"}, "chosen and rejected are the same"),
        ({"prompt": [USER], "chosen": [GOOD], "rejected": [GOOD]}, "chosen and rejected are the same"),
        ({"chosen": "Hello", "rejected": "Help"}, "chosen and rejected have no common start to take as the prompt"),
        ({"chosen": [GOOD], "rejected": [BAD]}, "chosen and rejected share no first message"),
        ({"chosen": [GOOD], "rejected": "x"}, "one of chosen and rejected is text"),
        (
            {"chosen": "Human: a\n\nAssistant: ", "rejected": "Human: a\n\nAssistant: b"},
            "the last reply of chosen is empty",
        ),
        ({"prompt": "p", "chosen": "", "rejected": "b"}, "chosen is empty"),
        ({"prompt": "p", "chosen": "a", "rejected": "b", "margin": "wide"}, "margin"),
        ({"prompt": "p", "chosen": "a", "rejected": "b", "margin": True}, "margin is a boolean"),
    ],
)
def test_a_bad_row_has_one_reason(tmp_path, row, reason):
    (tmp_path / "x.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError) as caught:
        list(TableReader(tmp_path / "x.jsonl"))
    assert f"x.jsonl:1: {reason}" in str(caught.value)


def test_the_orientation_does_not_tell_the_label():
    rows = [{"prompt": "p", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(500)]
    labels = Counter(pair_from_trl(row)[0].label for row in rows)
    assert abs(labels["a"] - 250) < 75  # 6.7 standard deviations


def test_the_orientation_stays_when_the_choice_is_turned_round():
    one, _ = pair_from_trl({"prompt": "p", "chosen": "x", "rejected": "y"})
    two, _ = pair_from_trl({"prompt": "p", "chosen": "y", "rejected": "x"})
    assert (one.response_a, one.response_b, one.id) == (two.response_a, two.response_b, two.id)
    assert {one.label, two.label} == {"a", "b"}


def labelled():
    rows = [{"prompt": f"p {i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(9)]
    return [pair_from_trl(row)[0] for row in rows]


@pytest.mark.parametrize(
    ("form", "chat"),
    [("jsonl", False), ("jsonl.gz", False), ("parquet", False), ("csv", False), ("jsonl", True), ("parquet", True)],
)
def test_pairs_and_margins_come_back_as_they_went(tmp_path, form, chat):
    pairs = [pair_from_trl(SHAPES["conversational implicit"])[0]] if chat else labelled()
    margins = [Margin(pair_id=pair.id, margin=i / 9) for i, pair in enumerate(pairs)]
    assert write_trl(tmp_path / f"x.{form}", pairs, reversed(margins)) == len(pairs)
    assert list(TableReader(tmp_path / f"x.{form}")) == list(zip(pairs, margins, strict=True))
    assert list(read_pairs(tmp_path / f"x.{form}")) == pairs


def test_text_can_be_written_as_a_conversation(tmp_path):
    (pair,) = [Pair(id="1", prompt="Why?", response_a="No.", response_b="So.", label="b")]
    write_trl(tmp_path / "x.jsonl", [pair], conversational=True)
    row = json.loads((tmp_path / "x.jsonl").read_text())
    assert row == {"id": "1", "prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}
    ((found, _),) = TableReader(tmp_path / "x.jsonl")
    assert found.prompt == (Message(role="user", content="Why?"),)
    assert plain_text(chosen_of(found)) == "So."


def test_a_pair_without_a_winner_is_left_out_and_counted(tmp_path):
    pairs = [
        Pair(id=str(i), prompt="p", response_a="a", response_b="b", label=x) for i, x in enumerate(["a", "tie", None])
    ]
    notices = []
    assert write_trl(tmp_path / "x.jsonl", pairs, notice=notices.append) == 1
    assert notices == [f"2 pairs without a winner (label tie or none) were left out of {tmp_path / 'x.jsonl'}"]


def test_a_pair_without_a_margin_is_named_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match="has no margin"):
        write_trl(tmp_path / "x.jsonl", labelled(), [])
    assert list(tmp_path.iterdir()) == []


def test_a_missing_side_is_named(tmp_path):
    (tmp_path / "x.jsonl").write_text(json.dumps({"prompt": "p", "chosen": "a", "worse": "b"}))
    with pytest.raises(InputError, match=r"x\.jsonl:1: no column rejected; found prompt, chosen, worse"):
        list(TableReader(tmp_path / "x.jsonl"))


@pytest.mark.real_data
def test_whole_transcripts_of_hh_rlhf_give_back_prompt_and_replies(real_data_dir, tmp_path):
    with gzip.open(real_data_dir / "hh_harmless.jsonl.gz") as file:
        rows = [json.loads(line) for line in file]
    with gzip.open(tmp_path / "whole.jsonl.gz", "wt", encoding="utf-8") as out:
        for row in rows:
            whole = {key: f"{row['prompt']} {row[key]}" for key in ("chosen", "rejected")}
            out.write(json.dumps(whole, ensure_ascii=False) + "\n")
    found = [pair for pair, _ in TableReader(tmp_path / "whole.jsonl.gz")]
    assert [pair.prompt for pair in found] == [row["prompt"] for row in rows]
    assert [chosen_of(pair) for pair in found] == [" " + row["chosen"] for row in rows]
    assert [rejected_of(pair) for pair in found] == [" " + row["rejected"] for row in rows]
