from pathlib import Path

import pytest
from transformers import AutoTokenizer

from dissensus.records import Message
from dissensus.reward.encoding import Encoding


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
