from pathlib import Path
from typing import Any

import pytest
from tokenizers import processors
from transformers import AutoTokenizer

from dissensus.errors import InputError
from dissensus.records import Message, Pair
from dissensus.reward.text.encode import Encoding, style_to_train
from dissensus.reward.text.train_data import Shortened, encode_pairs


@pytest.fixture
def bert(tiny_bert: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_bert)


@pytest.fixture
def llama(tiny_llama: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_llama)


def _read(tokenizer: Any, max_length: int, prompt: Any, response: Any) -> str:
    """The tokens of a prompt and response, joined."""
    [text] = Encoding(tokenizer, max_length).encode([(prompt, response)])
    return " ".join(tokenizer.convert_ids_to_tokens(text.input_ids))


def test_a_pair_is_encoded_as_the_tokenizer_does(bert: Any):
    [text] = Encoding(bert, 32).encode([("why is it", "it is good")])
    theirs = bert("why is it", "it is good")
    assert text.input_ids == theirs["input_ids"]
    assert text.token_type_ids == theirs["token_type_ids"]
    assert not text.truncated


QUESTION, TURNS = "the long question why is it", ("why", "no", "how")
CHAT = tuple(Message(role=("user", "assistant")[i % 2], content=turn) for i, turn in enumerate(TURNS))


@pytest.mark.parametrize(
    ("kind", "max_length", "prompt", "response", "expected"),
    [
        # The prompt loses its left end; a response that is too long alone keeps its beginning.
        ("bert", 9, QUESTION, "a good answer", "[CLS] why is it [SEP] a good answer [SEP]"),
        ("bert", 8, "why how", "the a good bad answer question", "[CLS] how [SEP] the a good bad [SEP]"),
        ("llama", 64, "why is it", "it is good", "<s> user : why is it </s> <s> assistant : it is good </s>"),
        ("llama", 12, QUESTION, "a good answer", "<s> user : it </s> <s> assistant : a good answer </s>"),
        (
            "llama",
            64,
            CHAT,
            "yes",
            "<s> user : why </s> <s> assistant : no </s> <s> user : how </s> <s> assistant : yes </s>",
        ),
    ],
)
def test_what_is_read(kind, max_length, prompt, response, expected, request):
    assert _read(request.getfixturevalue(kind), max_length, prompt, response) == expected


@pytest.mark.parametrize("max_length", range(8, 40))
def test_nothing_is_longer_than_the_window(bert: Any, llama: Any, max_length: int):
    for tokenizer in (bert, llama):
        texts = Encoding(tokenizer, max_length).encode([("the a good " * 9, "bad " * k) for k in (1, 5, 30)])
        assert texts.lengths.max() <= max_length


THINKING = (
    "{% for m in messages %}{% if m.role == 'assistant' and '</think>' in m.content %}"
    "{{ '<s> assistant : <think> ' + m.content.split('</think>')[0].split('<think>')[-1].strip() + ' </think> ' }}"
    "{{ m.content.split('</think>')[-1].strip() + ' </s>' }}"
    "{% else %}{{ '<s> ' + m.role + ' : ' + m.content + ' </s>' }}{% endif %}{% endfor %}"
)
FORGETTING = "{% for m in messages %}<s> {{ m.role }} : {{ m.content.split('</think>')[-1].strip() }} </s>{% endfor %}"
LONG = "the a good bad " * 9 + "why is it"


@pytest.mark.parametrize("template", [THINKING, FORGETTING])
def test_a_response_that_the_template_rewrites_is_kept(llama: Any, template: str):
    llama.chat_template = template
    encoding = Encoding(llama, 26)
    texts = encoding.encode([(LONG, "no maybe </think> a good answer"), (LONG, "no </think> a bad answer")])
    for text, last in zip(texts, ("good", "bad"), strict=True):
        assert len(text.input_ids) == 26
        assert text.truncated
        assert not text.response_cut
        read = " ".join(llama.convert_ids_to_tokens(text.input_ids))
        assert read.startswith("<s> user : ")
        assert "why is it </s> <s> assistant :" in read
        assert read.endswith(f"a {last} answer </s>")


@pytest.mark.parametrize("response", ["", "one two", "yes", (Message(role="assistant", content="the answer"),)])
def test_a_cut_prompt_loses_its_left_end_whatever_the_response(llama: Any, response: Any):
    [whole], [cut] = (list(Encoding(llama, window).encode([(LONG, response)])) for window in (500, 18))
    # The header of the first turn, and then the end of the whole text.
    assert cut.input_ids == whole.input_ids[:3] + whole.input_ids[-15:]


def test_a_chat_response_of_several_turns_is_the_response(llama: Any):
    response = (*CHAT[1:], Message(role="assistant", content="very clear"))
    read = _read(llama, 24, LONG, response)
    assert read.endswith("assistant : no </s> <s> user : how </s> <s> assistant : very clear </s>")


def test_pairs_that_read_alike_are_counted(llama: Any):
    llama.chat_template = FORGETTING
    rows = [
        ("why </think> yes", "how </think> yes"),  # Alike, for the template drops what differs.
        ("good " * 40, "good " * 39 + "bad"),  # Alike, for both are cut before they differ.
        ("yes", "yes"),  # The same response twice is nobody's loss.
        ("yes", "no"),
    ]
    pairs = [Pair(id=f"p{i}", prompt="why", response_a=a, response_b=b) for i, (a, b) in enumerate(rows)]
    lost = Shortened.of(*encode_pairs(pairs, Encoding(llama, 20)))
    assert (lost.texts, lost.cut, lost.responses_cut, lost.pairs_alike) == (6, 2, 2, 2)
    notes = (lost + Shortened(texts=4, cut=1)).notes(20)
    assert notes[0] == "3 of 10 texts cut to 20 tokens, prompt first; 2 of them lost the end of the response as well"
    assert notes[1].startswith("2 pairs have two responses that are read as the same tokens")
    assert Shortened(texts=3).notes(20) == []


@pytest.mark.parametrize(
    "raises", ["raise_exception('System role not supported')", "1 / 0", "messages.nothing.more", "range(10**9) | list"]
)
def test_a_template_that_refuses_names_the_pair_and_what_it_said(llama: Any, raises: str):
    llama.chat_template = "{% if messages[0].role == 'system' %}{{ " + raises + " }}{% endif %}" + FORGETTING
    bad = (Message(role="system", content="why"), Message(role="user", content="how"))
    pairs = [Pair(id=f"p{i}", prompt=bad if i == 2 else "why", response_a="yes", response_b="no") for i in range(4)]
    with pytest.raises(
        InputError, match=r"pair 'p2': the tokenizer's chat template refuses it \(.+\); change"
    ) as error:
        encode_pairs(pairs, Encoding(llama, 30))
    assert "\n" not in str(error.value)
    if "raise_exception" in raises:
        assert "(System role not supported)" in str(error.value)


def test_a_new_head_reads_chats_where_texts_are_ended_and_not_separated(llama: Any, bert: Any):
    """Where each text ends with its padding and there is a chat template, as Qwen3-Embedding's."""
    for tokenizer in (bert, llama):
        assert style_to_train(tokenizer) is None
    llama.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [PAD]", pair="$A [PAD] $B [PAD]", special_tokens=[("[PAD]", 0)]
    )
    assert style_to_train(llama) == "chat"
    assert Encoding(llama, 30, style="chat").style == "chat"
    # Who knows how a model was trained that is there already.
    assert Encoding(llama, 30).style == "pair"


def test_a_template_that_writes_the_date_writes_the_same_one_every_day(llama: Any):
    llama.chat_template = "{{ strftime_now('%d %b %Y') }} " + FORGETTING
    assert Encoding(llama, 30)._render("why", "yes", 0).startswith("26 Jul 2024 <s> user : why")


CALLING = (
    "{% for t in tools or [] %}the {{ t.function.name }} {% endfor %}"
    "{% for m in messages %}{{ m.role }} : {{ m.content }} "
    "{% for c in m.tool_calls or [] %}{{ c.function.name }} {{ c.function.arguments.of }} {% endfor %}</s> {% endfor %}"
)


def calling(what: str, content: str = "") -> Message:
    call = {"type": "function", "function": {"name": "question", "arguments": {"of": what}}}
    return Message(role="assistant", content=content, tool_calls=[call])


def test_calls_and_tools_reach_the_chat_template(llama: Any):
    llama.chat_template = CALLING
    prompt = (Message(role="user", content="why", tools=[{"function": {"name": "question"}}]),)
    assert [_read(llama, 64, prompt, (calling(*answer),)) for answer in (("good",), ("bad", "it is"))] == [
        "the question user : why </s> assistant : question good </s>",
        "the question user : why </s> assistant : it is question bad </s>",
    ]


def test_tokens_of_another_style_are_not_taken_from_the_cache(llama: Any, tmp_path: Path):
    """A tokenizer of pairs that has a chat template as well puts the same texts together in several ways."""
    llama.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", llama.eos_token_id)]
    )
    found = [
        Encoding(llama, 32, style=style).encode([("why", "yes")], cache=tmp_path).ids(0).tolist()
        for style in ("pair", "chat", "text")
    ]
    assert found[0] != found[1] != found[2] != found[0]
