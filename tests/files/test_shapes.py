"""Prompts and responses in the shapes that other tools write: all give the same pairs."""

import csv
import json
import re

import pytest

from dissensus.errors import InputError
from dissensus.files import read_pairs, write_records, write_trl
from dissensus.files.rows.chat import decode_cell, text_of
from dissensus.files.trl import split_prompt
from dissensus.records import Message, Pair, content_id, plain_text

USER, GOOD, BAD = ("user", "Why is the sky blue?"), ("assistant", "It's light."), ("assistant", 'A "lie".\n')
CHATS = ([USER, GOOD], [USER, BAD])


def messages(turns, role="role", content="content"):
    return [{role: speaker, content: text} for speaker, text in turns]


def as_numpy_prints(turns):
    return "[" + "\n ".join(map(str, messages(turns))) + "]"


SHAPES = {
    "plain": messages,
    "parts": lambda turns: [{"role": r, "content": [{"type": "text", "text": t}]} for r, t in turns],
    "parts and nulls": lambda turns: [
        {"role": r, "content": [{"type": "text", "text": t[:5], "image": None}, {"type": "text", "text": t[5:]}]}
        for r, t in turns
    ],
    "one part": lambda turns: [{"role": r, "content": {"type": "text", "text": t}} for r, t in turns],
    "sharegpt": lambda turns: messages(
        [({"user": "human", "assistant": "gpt"}[r], t) for r, t in turns], "from", "value"
    ),
    "struct of lists": lambda turns: {"role": [r for r, _ in turns], "content": [t for _, t in turns]},
    "lists in ShareGPT's words": lambda turns: {"from": ["human", "gpt"], "value": [t for _, t in turns]},
    "inside messages": lambda turns: {"messages": messages(turns)},
    "JSON text": lambda turns: json.dumps(messages(turns)),
    "Python text": lambda turns: str(messages(turns)),
    "numpy's text": as_numpy_prints,
    "null keys": lambda turns: [turn | {"tool_calls": None, "name": None} for turn in messages(turns)],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_a_conversation_gives_the_same_pair(shape):
    chosen, rejected = map(SHAPES[shape], CHATS)
    (pair,) = read_pairs([{"chosen": chosen, "rejected": rejected}], notice=lambda text: None)
    (plain,) = read_pairs([{"chosen": messages(CHATS[0]), "rejected": messages(CHATS[1])}])
    assert pair == plain
    assert pair.id == content_id(pair.prompt, pair.response_a, pair.response_b)


@pytest.mark.parametrize("prompt", [messages([USER]), messages([USER])[0], "text"], ids=["list", "one", "text"])
def test_one_message_is_a_list_of_one(prompt):
    (pair,) = read_pairs([{"prompt": prompt, "chosen": messages([GOOD])[0], "rejected": messages([BAD])[0]}])
    assert {plain_text(pair.response_a), plain_text(pair.response_b)} == {GOOD[1], BAD[1]}


def test_sharegpt_preferences_have_the_prompt_in_conversations(tmp_path):
    row = {"conversations": [{"from": "human", "value": USER[1]}]}
    row |= {"chosen": {"from": "gpt", "value": GOOD[1]}, "rejected": {"from": "gpt", "value": BAD[1]}}
    for source in ([row], as_csv(tmp_path / "x.csv", [row])):
        notices = []
        (pair,) = read_pairs(source, notice=notices.append)
        assert pair.prompt == (Message(role="user", content=USER[1]),)
        assert notices == ["column conversations is read as prompt"]


def as_csv(path, rows):
    with path.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerows([rows[0], *(map(json.dumps, row.values()) for row in rows)])
    return path


@pytest.mark.usefixtures("short_head")
def test_a_late_row_without_conversations_is_a_bad_row():
    turn = {"conversations": [{"from": "human", "value": USER[1]}]}
    answers = [{"from": "gpt", "value": text} for text in (GOOD[1], BAD[1])]
    rows = [turn | {"chosen": answers[0] | {"value": f"{i}"}, "rejected": answers[1]} for i in range(20)]
    rows.append({"prompt": "Its own?", "chosen": answers[0], "rejected": answers[1]})
    rows.append({"chosen": answers[0], "rejected": answers[1]})
    pairs = list(read_pairs(rows, skip_invalid=True, notice=lambda text: None))
    assert (len(pairs), pairs[-1].prompt) == (21, "Its own?")
    with pytest.raises(InputError, match=r"list:22: chosen and rejected share no first message"):
        list(read_pairs(rows, notice=lambda text: None))


@pytest.mark.parametrize(
    ("part", "named"),
    [({"type": "image"}, "(image)"), ({"type": "image_url", "image_url": {"url": "x"}}, "(image_url)"), (3, "number")],
)
def test_what_is_no_text_is_refused_by_its_name(part, named):
    with pytest.raises(ValueError, match=r"prompt\[0\].content\[1\]") as caught:
        text_of([{"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}], "prompt")
    assert named in str(caught.value)


@pytest.mark.parametrize(
    "text", ["42", "null", '"x"', "[1, 2]", '{"a": 1}', '["a"]', "[1] is a source", "['x'", '[{"role": "x"}]', "{}"]
)
@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_texts_that_look_like_json_stay_texts(tmp_path, text, form):
    pair = Pair(id="1", prompt=text, response_a=text + " a", response_b=text)
    write_records(tmp_path / f"x.{form}", [pair])
    assert list(read_pairs(tmp_path / f"x.{form}")) == [pair]


def test_a_text_among_texts_stays_one_though_it_is_a_conversation():
    rows = [
        {"prompt": f"p {i}", "response_a": t, "response_b": "b"}
        for i, t in enumerate(("x", json.dumps(messages([USER]))))
    ]
    assert [pair.response_a for pair in read_pairs(rows)] == [row["response_a"] for row in rows]


def test_nothing_is_executed_and_depth_is_bounded():
    for text in ("[__import__('os').system('true')]", "['a' * 10**9]", "[" * 100_000, "[" * 300 + "'a'" + "]" * 300):
        assert decode_cell(text) is None


AGAIN = {
    "text": ("How are you today?", "How are you today? Well.", "How are you today? Badly."),
    "text with other white space": ("How are you\ntoday?", " How are  you today?\nWell.", "How are you today? Badly."),
    "messages": ([("user", "Hi")], [("user", "Hi"), ("assistant", "x")], [("user", "Hi"), ("assistant", "y")]),
    "messages with other white space": (
        "Hi",
        [("user", "Hi"), ("assistant", "x")],
        [("user", "Hi "), ("assistant", "y")],
    ),
    "behind a system message": (
        [("user", "Hi")],
        [("system", "Be kind"), ("user", "Hi"), ("assistant", "x")],
        [("system", "Be kind"), ("user", "Hi"), ("assistant", "y")],
    ),
    "without the system message": (
        [("system", "Be kind"), ("user", "Hi")],
        [("user", "Hi"), ("assistant", "x")],
        [("user", "Hi"), ("assistant", "y")],
    ),
}


@pytest.mark.parametrize("names", [("chosen", "rejected"), ("response_a", "response_b")])
@pytest.mark.parametrize("case", AGAIN)
def test_a_prompt_that_stands_in_the_responses_again_is_read_once(case, names):
    prompt, one, two = (messages(t) if isinstance(t, list) else t for t in AGAIN[case])
    notices = []
    (pair,) = read_pairs([{"prompt": prompt, names[0]: one, names[1]: two}], notice=notices.append)
    assert any(text.startswith("1 pairs had the prompt again") for text in notices)
    assert plain_text(pair.prompt).split()[-1] in ("Hi", "today?")
    for response in (pair.response_a, pair.response_b):
        assert "Hi" not in plain_text(response)
        assert "How are" not in plain_text(response)
        assert isinstance(response, str) or len(response) == 1


@pytest.mark.parametrize(
    ("prompt", "one", "two"),
    [
        ("Hi", "Hi there!", "Hi you!"),  # a greeting is no repetition
        ("Say hi to me", "Say hi to melt ice", "Say hi to men"),
        ("How are you today?", "How are you today? Well.", "Badly."),
        ("How are you today?", "How are you today?", "How are you today? Badly."),
    ],
)
def test_responses_that_do_not_repeat_the_prompt_stay_whole(prompt, one, two):
    assert split_prompt({"prompt": prompt, "chosen": one, "rejected": two}) == (prompt, one, two)


def call(item, **more):
    return {"type": "function", "function": {"name": "price", "arguments": {"item": item}, **more}}


TOOLS = [{"type": "function", "function": {"name": "price", "parameters": {"type": "object"}}}]


def with_calls(content="", item="figs"):
    return {
        "prompt": [{"role": "user", "content": "What do figs cost?"}],
        "chosen": [{"role": "assistant", "content": content, "tool_calls": [call(item)]}],
        "rejected": [{"role": "assistant", "content": content, "tool_calls": [call("pears")]}],
        "tools": TOOLS,
    }


@pytest.mark.parametrize("content", [None, "", "Let me look."])
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_tool_calls_are_kept_and_tell_responses_apart(tmp_path, content, form):
    (pair,) = read_pairs([with_calls(content)], notice=pytest.fail)
    assert pair.response_a != pair.response_b
    assert {turn.calls[0]["function"]["arguments"]["item"] for turn in (*pair.response_a, *pair.response_b)} == {
        "figs",
        "pears",
    }
    assert 'price({"item": "figs"})' in plain_text(pair.response_a) + plain_text(pair.response_b)
    assert json.loads(pair.prompt[0].tools) == TOOLS
    assert pair.id != content_id(pair.prompt, pair.response_b, pair.response_b)
    write_records(tmp_path / f"x.{form}", [pair])
    assert list(read_pairs(tmp_path / f"x.{form}", notice=pytest.fail)) == [pair]
    write_trl(tmp_path / f"y.{form}", [pair])
    assert list(read_pairs(tmp_path / f"y.{form}", notice=pytest.fail)) == [pair]


def as_openai(i=0, *, said="Good.", **beside):
    return {
        "input": {"messages": [{"role": "user", "content": f"Why {i}?"}], **beside},
        "preferred_output": [{"role": "assistant", "content": said}],
        "non_preferred_output": [{"role": "assistant", "content": "Bad."}],
    }


@pytest.mark.parametrize("columns", [None, {"prompt": "input"}, {"chosen": "preferred_output"}], ids=str)
@pytest.mark.parametrize("form", ["rows", "csv"])
def test_openai_preferences_are_chosen_and_rejected_with_their_tools(tmp_path, columns, form):
    given = source = [as_openai(tools=TOOLS, parallel_tool_calls=True), as_openai(1, tools=TOOLS)]
    if form == "csv":
        source = as_csv(tmp_path / "x.csv", given)
    notices = []
    found = list(read_pairs(source, columns=columns, notice=notices.append))
    as_trl = [
        {"prompt": r["input"]["messages"], "chosen": r["preferred_output"], "rejected": r["non_preferred_output"]}
        for r in given
    ]
    assert found == list(read_pairs([row | {"tools": TOOLS} for row in as_trl]))
    assert json.loads(found[0].prompt[0].tools) == TOOLS
    assert notices[0] == "columns input, preferred_output, non_preferred_output are read as prompt, chosen, rejected"
    assert notices[1] == "keys of votes or chat messages left alone, unknown here: parallel_tool_calls"


def test_openai_columns_are_what_somebody_says_they_are():
    columns = {"prompt": "input", "response_a": "preferred_output", "response_b": "non_preferred_output"}
    (pair,) = read_pairs([as_openai(tools=None)], columns=columns, notice=pytest.fail)
    assert (plain_text(pair.response_a), pair.label, pair.prompt[0].tools) == ("Good.", None, None)


def test_a_call_in_no_known_shape_is_shown_all_the_same():
    turn = {"role": "assistant", "content": "", "tool_calls": [{"function": "price"}]}
    (pair,) = read_pairs([{"prompt": "Why?", "chosen": [turn], "rejected": messages([BAD])}])
    assert "tool({})" in {plain_text(pair.response_a), plain_text(pair.response_b)}


def test_calls_are_the_same_in_the_spellings_of_other_tools():
    def calls(turn):
        (message,) = text_of([turn], "chosen")
        return message.calls

    assert calls({"role": "assistant", "content": None, "tool_calls": [call("figs", description=None)]}) == [
        call("figs")
    ]
    as_text = {"type": "function", "function": {"name": "price", "arguments": '{"item": "figs"}'}}
    assert calls({"role": "assistant", "tool_calls": [as_text]}) == [call("figs")]
    assert calls({"role": "assistant", "content": None, "function_call": as_text["function"]}) == [call("figs")]
    assert calls({"from": "function_call", "value": '{"name": "price", "arguments": {"item": "figs"}}'}) == [
        call("figs")
    ]


@pytest.mark.parametrize(
    ("turn", "place"),
    [
        ({"role": "assistant", "content": "x", "tool_calls": [call("\ud800")]}, "chosen[0].tool_calls"),
        ({"role": "tool", "content": "x", "name": "\ud800"}, "chosen[0].name"),
        ({"role": "tool", "content": "x", "tool_call_id": "\ud800"}, "chosen[0].tool_call_id"),
        ({"role": "assistant", "content": "x", "tools": [{"name": "\ud800"}]}, "tools"),
        ({"from": "function_call", "value": '{"name": "\\ud800"}'}, "chosen[0].value"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_half_a_character_is_refused_wherever_a_turn_may_hold_it(turn, place):
    with pytest.raises(InputError, match=re.escape(f"list:1: {place} holds half a character")):
        list(read_pairs([{"prompt": messages([USER]), "chosen": [turn], "rejected": messages([BAD])}]))


def test_a_pair_without_calls_has_the_id_that_it_had():
    texts = [(Message(role="user", content="Hi"),), (Message(role="tool", content="x", name="price"),), "b"]
    assert content_id(*texts) == content_id(texts[0], (Message(role="tool", content="x"),), "b")
    assert content_id("Why?", "So.", "No.") == "327fb786b8f1e7fb"
    chat = (Message(role="user", content="Hi"),), (Message(role="assistant", content="x"),)
    assert content_id(*chat, "b") == "0c11442a86e55ddf"


def test_tools_tell_pairs_apart_since_models_read_them():
    def of(**more):
        return content_id((Message(role="user", content="q"),), (Message(role="assistant", content="", **more),), "y")

    figs = call("figs")
    assert of(tool_calls=[figs]) == of(tool_calls=json.dumps([figs], separators=(",", ":"))) == "ba87d2bd532f23be"
    ids = [of(), of(tool_calls=[figs]), of(tools=[{"name": "price"}]), of(tools=[{"name": "weight"}])]
    assert len(set(ids)) == 4
    assert of(tools=[]) == of(tools="[]") == of()
    both = Message(role="assistant", content="", tool_calls=[figs], tools=[{"name": "price"}])
    assert content_id("q", (both,), "y") != content_id("q", (both.model_copy(update={"tools": None}),), "y")


@pytest.mark.parametrize("text", ["", "price(figs)", "{}", '"price"', "null", "[1"])
@pytest.mark.parametrize("name", ["tool_calls", "tools"])
def test_text_that_is_no_json_list_is_no_list_of_tools(name, text):
    with pytest.raises(ValueError, match=name):
        Message(role="assistant", content="x", **{name: text})


def test_parquet_whose_first_rows_have_no_calls_says_what_to_write(tmp_path):
    (plain,) = read_pairs([{"prompt": "p", "chosen": messages([GOOD]), "rejected": messages([BAD])}])
    (calls,) = read_pairs([with_calls()])
    plain = plain.model_copy(update={"prompt": calls.prompt})
    many = [plain.model_copy(update={"id": str(i)}) for i in range(600)]
    with pytest.raises(Exception, match=r"has tool calls in some rows and none in the first 512.*write \.jsonl"):
        write_records(tmp_path / "x.parquet", [*many, calls])
    assert write_records(tmp_path / "x.jsonl", [*many, calls]) == 601


def test_the_calls_reach_the_chat_template():
    from dissensus.reward.text.encode import _turns

    (pair,) = read_pairs([with_calls()])
    assert _turns(pair.response_a, "assistant")[0]["tool_calls"] == pair.response_a[0].calls


def test_a_bad_shape_is_named(tmp_path):
    for chosen, reason in (
        ([{"role": "assistant", "tool_calls": 3}], "tool_calls is a number"),
        ([{"from": "gpt", "value": None}], "value is null|content is null"),
        ({"text": "x"}, "expected text or a list of role and content"),
    ):
        with pytest.raises(InputError, match=reason):
            list(read_pairs([{"prompt": "p", "chosen": chosen, "rejected": "y"}]))


def test_a_prompt_under_another_name_is_not_made_of_what_two_responses_begin_with():
    rows = [{"question": f"What is {i}?", "chosen": f"It is {i}.", "rejected": f"It is {i} or 7."} for i in range(3)]
    with pytest.raises(InputError, match=r"columns={'prompt': 'question'}"):
        list(read_pairs(rows, notice=lambda _: None))
    [first, *_] = read_pairs(rows, columns={"prompt": "question"}, notice=lambda _: None)
    assert first.prompt == "What is 0?"
    [first, *_] = read_pairs(rows, columns={"prompt": ""}, notice=lambda _: None)
    assert first.prompt == "It is"


@pytest.mark.parametrize(
    "start", ["\n\nHuman: What is it?\n\nAssistant:", "What is it? It is", [{"role": "user", "content": "What is it?"}]]
)
def test_a_column_of_the_file_beside_texts_that_hold_their_prompt_stands_in_no_way(start):
    answers = (" a", " b") if isinstance(start, str) else ([{"role": "assistant", "content": x}] for x in "ab")
    chosen, rejected = (start + answer for answer in answers)
    table = [
        {"question": "What is it?" if "It is" in start else "of another kind", "chosen": chosen, "rejected": rejected}
    ]
    [pair] = read_pairs(table, notice=lambda _: None)
    assert "What is it?" in str(pair.prompt)


def test_a_conversation_goes_on_with_a_call_and_its_answer():
    call = {"from": "function_call", "value": '{"name": "price", "arguments": {}}'}
    row = {
        "conversations": [{"from": "human", "value": "How much?"}],
        "chosen": [call, {"from": "observation", "value": "3"}, {"from": "gpt", "value": "Three."}],
        "rejected": [{"from": "gpt", "value": "Four."}],
    }
    [pair] = read_pairs([row], notice=lambda _: None)
    assert [turn.content for turn in pair.prompt] == ["How much?"]
    assert {len(pair.response_a), len(pair.response_b)} == {1, 3}
