from pathlib import Path

import pytest
from tokenizers import processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from dissensus.errors import InputError
from dissensus.records import Message, Pair
from dissensus.reward.text.encode import Encoding, style_to_train
from dissensus.reward.text.train_data import Shortened, encode_pairs


def _tokens(tokenizer: AutoTokenizer, ids: list[int]) -> str:
    return " ".join(tokenizer.convert_ids_to_tokens(ids))


def test_a_pair_is_encoded_as_the_tokenizer_does(tiny_bert: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    [text] = Encoding(tokenizer, 32).encode([("why is it", "it is good")])
    theirs = tokenizer("why is it", "it is good")
    assert text.input_ids == theirs["input_ids"]
    assert text.token_type_ids == theirs["token_type_ids"]
    assert not text.truncated


def test_the_prompt_loses_its_left_end(tiny_bert: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    [text] = Encoding(tokenizer, 9).encode([("the long question why is it", "a good answer")])
    assert _tokens(tokenizer, text.input_ids) == "[CLS] why is it [SEP] a good answer [SEP]"
    assert text.truncated


def test_an_endless_response_keeps_its_beginning(tiny_bert: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    [text] = Encoding(tokenizer, 8).encode([("why how", "the a good bad answer question")])
    assert _tokens(tokenizer, text.input_ids) == "[CLS] how [SEP] the a good bad [SEP]"
    assert text.truncated
    assert len(text.input_ids) == 8


def test_a_causal_model_reads_its_chat_template(tiny_llama: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    encoding = Encoding(tokenizer, 64)
    [text] = encoding.encode([("why is it", "it is good")])
    assert encoding.style == "chat"
    assert _tokens(tokenizer, text.input_ids) == "<s> user : why is it </s> <s> assistant : it is good </s>"


def test_a_chat_keeps_header_and_response_when_cut(tiny_llama: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    [text] = Encoding(tokenizer, 12).encode([("the long question why is it", "a good answer")])
    assert _tokens(tokenizer, text.input_ids) == "<s> user : it </s> <s> assistant : a good answer </s>"[: 10**6]
    assert text.truncated


def test_chat_messages_are_turns(tiny_llama: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    prompt = (
        Message(role="user", content="why"),
        Message(role="assistant", content="no"),
        Message(role="user", content="how"),
    )
    [text] = Encoding(tokenizer, 64).encode([(prompt, "yes")])
    assert _tokens(tokenizer, text.input_ids) == (
        "<s> user : why </s> <s> assistant : no </s> <s> user : how </s> <s> assistant : yes </s>"
    )


@pytest.mark.parametrize("max_length", range(8, 40))
def test_nothing_is_longer_than_the_window(tiny_bert: Path, tiny_llama: Path, max_length: int):
    for folder in (tiny_bert, tiny_llama):
        encoding = Encoding(AutoTokenizer.from_pretrained(folder), max_length)
        for text in encoding.encode([("the a good " * 9, "bad " * k) for k in (1, 5, 30)]):
            assert len(text.input_ids) <= max_length


THINKING = (
    "{% for m in messages %}{% if m.role == 'assistant' and '</think>' in m.content %}"
    "{{ '<s> assistant : <think> ' + m.content.split('</think>')[0].split('<think>')[-1].strip() + ' </think> ' }}"
    "{{ m.content.split('</think>')[-1].strip() + ' </s>' }}"
    "{% else %}{{ '<s> ' + m.role + ' : ' + m.content + ' </s>' }}{% endif %}{% endfor %}"
)
FORGETTING = "{% for m in messages %}<s> {{ m.role }} : {{ m.content.split('</think>')[-1].strip() }} </s>{% endfor %}"
LONG = "the a good bad " * 9 + "why is it"


@pytest.mark.parametrize("template", [THINKING, FORGETTING])
def test_a_response_that_the_template_rewrites_is_kept(tiny_llama: Path, template: str):
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    tokenizer.chat_template = template
    encoding = Encoding(tokenizer, 26)
    texts = encoding.encode([(LONG, "no maybe </think> a good answer"), (LONG, "no </think> a bad answer")])
    for text, last in zip(texts, ("good", "bad"), strict=True):
        assert len(text.input_ids) == 26
        assert text.truncated
        assert not text.response_cut
        read = _tokens(tokenizer, text.input_ids)
        assert read.startswith("<s> user : ")
        assert "why is it </s> <s> assistant :" in read
        assert read.endswith(f"a {last} answer </s>")


@pytest.mark.parametrize("response", ["", "one two", "yes", (Message(role="assistant", content="the answer"),)])
def test_a_cut_prompt_loses_its_left_end_whatever_the_response(tiny_llama: Path, response: object):
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    whole = Encoding(tokenizer, 500).encode([(LONG, response)])[0].input_ids  # type: ignore[list-item]
    [cut] = Encoding(tokenizer, 18).encode([(LONG, response)])  # type: ignore[list-item]
    # The header of the first turn, and then the end of the whole text.
    assert cut.input_ids == whole[:3] + whole[-15:]


def test_a_chat_response_of_several_turns_is_the_response(tiny_llama: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    response = tuple(
        Message(role=role, content=content)  # type: ignore[arg-type]
        for role, content in (("assistant", "the answer"), ("user", "how"), ("assistant", "very clear"))
    )
    [text] = Encoding(tokenizer, 24).encode([(LONG, response)])
    read = _tokens(tokenizer, text.input_ids)
    assert "assistant : the answer </s> <s> user : how </s> <s> assistant : very clear </s>" in read


def test_pairs_that_read_alike_are_counted(tiny_llama: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    tokenizer.chat_template = FORGETTING
    rows = [
        ("why </think> yes", "how </think> yes"),  # Alike, for the template drops what differs.
        ("good " * 40, "good " * 39 + "bad"),  # Alike, for both are cut before they differ.
        ("yes", "yes"),  # The same response twice is nobody's loss.
        ("yes", "no"),
    ]
    pairs = [Pair(id=f"p{i}", prompt="why", response_a=a, response_b=b) for i, (a, b) in enumerate(rows)]
    lost = Shortened.of(*encode_pairs(pairs, Encoding(tokenizer, 20)))
    assert (lost.texts, lost.cut, lost.responses_cut, lost.pairs_alike) == (6, 2, 2, 2)
    notes = (lost + Shortened(texts=4, cut=1)).notes(20)
    assert notes[0] == "3 of 10 texts cut to 20 tokens, prompt first; 2 of them lost the end of the response as well"
    assert notes[1].startswith("2 pairs have two responses that are read as the same tokens")
    assert Shortened(texts=3).notes(20) == []


@pytest.mark.parametrize(
    "raises", ["raise_exception('System role not supported')", "1 / 0", "messages.nothing.more", "range(10**9) | list"]
)
def test_a_template_that_refuses_names_the_pair_and_what_it_said(tiny_llama: Path, raises: str):
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    tokenizer.chat_template = "{% if messages[0].role == 'system' %}{{ " + raises + " }}{% endif %}" + FORGETTING
    bad = (Message(role="system", content="why"), Message(role="user", content="how"))
    pairs = [Pair(id=f"p{i}", prompt=bad if i == 2 else "why", response_a="yes", response_b="no") for i in range(4)]
    with pytest.raises(
        InputError, match=r"pair 'p2': the tokenizer's chat template refuses it \(.+\); change"
    ) as error:
        encode_pairs(pairs, Encoding(tokenizer, 30))
    assert "\n" not in str(error.value)
    if "raise_exception" in raises:
        assert "(System role not supported)" in str(error.value)


def _embedding_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Ends every text with its padding, and has a chat template, as Qwen3-Embedding's does."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [PAD]", pair="$A [PAD] $B [PAD]", special_tokens=[("[PAD]", 0)]
    )
    return tokenizer


def test_a_new_head_reads_chats_where_texts_are_ended_and_not_separated(tiny_llama: Path, tiny_bert: Path):
    tokenizer = _embedding_tokenizer(tiny_llama)
    assert style_to_train(tokenizer) == "chat"
    assert Encoding(tokenizer, 30, style="chat").style == "chat"
    # Who knows how a model was trained that is there already.
    assert Encoding(tokenizer, 30).style == "pair"
    for folder in (tiny_bert, tiny_llama):
        assert style_to_train(AutoTokenizer.from_pretrained(folder)) is None


def test_a_template_that_writes_the_date_writes_the_same_one_every_day(tiny_llama: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }} " + FORGETTING
    assert Encoding(tokenizer, 30)._render("why", "yes", 0).startswith("26 Jul 2024 <s> user : why")
