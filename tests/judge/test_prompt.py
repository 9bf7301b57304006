"""The paper's prompt, word for word, and templates of one's own."""

from pathlib import Path

import pytest

from dissensus.errors import InputError
from dissensus.judges.language.prompt import load_template, templates, transcript
from dissensus.records import Message, Pair

PAIR = Pair(id="1", prompt="Why {so}?", response_a="Because.\n", response_b="No {answer_0} idea.")


def test_the_papers_prompt_word_for_word() -> None:
    assert load_template().render(PAIR, "ab") == (
        "I am going to give you a prompt and two answers.\n"
        "The goal is to identify the better answer.\n"
        "If the prompt is a question, we want the factually correct answer.\n"
        "In a conversation, we want helpful replies that do not cause harm.\n"
        "The output format should be either 'Choice: A' or 'Choice: B' based on the selected answer and nothing else.\n"
        "\nPrompt: Why {so}?\n\nAnswer A: Because.\n\nAnswer B: No {answer_0} idea."
    )
    assert load_template().render(PAIR, "ba").endswith("\n\nAnswer A: No {answer_0} idea.\n\nAnswer B: Because.")


def test_a_persona_stands_in_front_or_where_the_template_says(tmp_path: Path) -> None:
    assert load_template().render(PAIR, "ab", "You are a nurse.").startswith("You are a nurse.\n\nI am going")
    own = tmp_path / "own.txt"
    own.write_text("As {persona}: {prompt} {answer_0} {answer_1} (Choice: A or Choice: B, {{please}})")
    assert load_template(own).render(PAIR, "ab", "a nurse").startswith("As a nurse: Why")
    assert load_template(own).render(PAIR, "ab").endswith("{please})")


def test_a_chat_reads_as_turns() -> None:
    chat = tuple(Message(role=r, content=c) for r, c in [("user", "Hi\n"), ("assistant", "Hello"), ("user", "Why?")])
    assert transcript(chat) == "User: Hi\n\nAssistant: Hello\n\nUser: Why?"
    assert transcript(chat[:1]) == "Hi"


def test_shipped_templates_pass_their_own_check(tmp_path: Path) -> None:
    # The questions about categories show no answers, or ask something else of them; no template of one's own may.
    for name in set(templates()) - {"paper-correct", "paper-distinct"}:
        copy = tmp_path / f"copy-of-{name}.txt"
        copy.write_text(load_template(name).text)
        assert load_template(copy).text == load_template(name).text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{prompt} {answer_0} Choice:", r"own.txt: no field \{answer_1\}"),
        ("{prompt} {answer_0} {answer_0} {answer_1} Choice:", r"2 times the field \{answer_0\}"),
        ("{promt} {answer_0} {answer_1} Choice:", r"unknown field \{promt\}; did you mean \{prompt\}"),
        ("{prompt} {answer_0!r} {answer_1} Choice:", r"unknown field \{answer_0\}"),
        ("{prompt} {answer_0} {answer_1} Choice: { A", "write a literal brace twice"),
        ("{prompt} {answer_0} {answer_1} Which?", "does not ask for a reply of the form 'Choice: A'"),
    ],
)
def test_a_bad_template_is_refused_on_load(tmp_path: Path, text: str, message: str) -> None:
    own = tmp_path / "own.txt"
    own.write_text(text)
    with pytest.raises(InputError, match=message):
        load_template(own)


def test_an_unknown_template_lists_the_known() -> None:
    with pytest.raises(InputError, match="no such template; give a text file or one of: paper, paper-correct"):
        load_template("papr")
