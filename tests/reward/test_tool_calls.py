from pathlib import Path

from transformers import AutoTokenizer

from dissensus.records import Message
from dissensus.reward.text.encode import Encoding

TEMPLATE = (
    "{% for t in tools or [] %}the {{ t.function.name }} {% endfor %}"
    "{% for m in messages %}{{ m.role }} : {{ m.content }} "
    "{% for c in m.tool_calls or [] %}{{ c.function.name }} {{ c.function.arguments.of }} {% endfor %}</s> {% endfor %}"
)


def calling(what: str, content: str = "") -> Message:
    call = {"type": "function", "function": {"name": "question", "arguments": {"of": what}}}
    return Message(role="assistant", content=content, tool_calls=[call])


def test_calls_and_tools_reach_the_chat_template(tiny_llama: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    tokenizer.chat_template = TEMPLATE
    prompt = (Message(role="user", content="why", tools=[{"function": {"name": "question"}}]),)
    texts = Encoding(tokenizer, 64).encode([(prompt, (calling("good"),)), (prompt, (calling("bad", "it is"),))])
    assert [" ".join(tokenizer.convert_ids_to_tokens(text.input_ids)) for text in texts] == [
        "the question user : why </s> assistant : question good </s>",
        "the question user : why </s> assistant : it is question bad </s>",
    ]
