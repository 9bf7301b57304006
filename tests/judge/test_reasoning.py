"""A thought is no verdict, whatever marks it stands in; the verdict is what the reply says after it."""

import pytest

from dissensus.judges.language.verdict import parse_verdict, without_reasoning

GUESS = "The first answer is neat. A first guess is\n\nChoice: B\n\nbut a second look says the contrary."
PAIRS = [
    *(("<think>", "</think>"), ("<think>\n", "\n</think>\n\n"), ("<thinking>", "</thinking>")),
    *(("<Thought>", "</Thought>"), ("<seed:think>", "</seed:think>"), ("<longcat_think>", "</longcat_think>")),
    *(("<reasoning kind='short'>", "</reasoning>"), ("<scratchpad>", "</scratchpad>\n"), ("[THINK]", "[/THINK]")),
    *(("[REASONING]", "[/REASONING]"), ("<rationale>", "</rationale>"), ("<planning>", "</planning>")),
    ('<details type="reasoning" done="true">\n<summary>Thought for 3 seconds</summary>\n', "\n</details>\n"),
    *(("◁think▷", "◁/think▷"), ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>")),
    *(("<|begin_of_thought|>", "<|end_of_thought|>\n\n<|begin_of_solution|>"), ("<|channel>thought\n", "<channel|>")),
    *(("Thinking...\n", "\n...done thinking.\n\n"), ("Here is my thought process:\n", "\nHere is my response:\n")),
    *(("<|inner_prefix|>", "<|inner_suffix|>"), ("<internal>", "</internal>")),
]
HARMONY = [
    f"<|channel|>analysis<|message|>{GUESS}<|end|><|start|>assistant<|channel|>final<|message|>",
    f"analysis<|message|>{GUESS}<|end|><|start|>assistant<|channel|>final <|constrain|>text<|message|>",
    f"<|channel|>commentary<|message|>{GUESS}<|end|><|start|>assistant<|channel|>final<|message|>",
    "<|channel|>final<|message|>",
    f"analysis{GUESS}assistantfinal",
    f"analysis{GUESS}assistantcommentary{GUESS}assistantfinal",
]


@pytest.mark.parametrize(("opening", "closing"), PAIRS)
def test_the_verdict_is_the_one_after_the_thought(opening: str, closing: str) -> None:
    assert parse_verdict(f"{opening}{GUESS}{closing}Choice: A") == "A"
    assert parse_verdict(f"{GUESS}{closing}Choice: A") == "A", "the opening mark can be part of the prompt"


@pytest.mark.parametrize(("opening", "closing"), PAIRS)
def test_a_thought_that_ends_in_no_verdict_or_never_ends_is_no_vote(opening: str, closing: str) -> None:
    assert parse_verdict(f"{opening}{GUESS}{closing}Both are good.") is None
    assert parse_verdict(f"{GUESS}{closing}") is None
    assert parse_verdict(f"{opening}{GUESS}") is None
    assert parse_verdict(f"Choice: A\n{opening if opening[0] in '<[◁' else '<think>'}{GUESS}") is None


@pytest.mark.parametrize("thought", HARMONY)
def test_the_final_channel_is_the_reply(thought: str) -> None:
    assert parse_verdict(f"{thought}Choice: A") == "A"
    assert parse_verdict(f"{thought}Choice: A<|return|>") == "A"
    assert parse_verdict(f"{thought}Neither.") is None


@pytest.mark.parametrize(
    "cut", [f"<|channel|>analysis<|message|>{GUESS}", f"analysis{GUESS}", f"analysis{GUESS}assistantcommentary{GUESS}"]
)
def test_without_a_final_channel_there_is_no_reply(cut: str) -> None:
    assert without_reasoning(cut) == ""


def test_a_cut_reply_may_be_a_thought_whose_end_is_missing() -> None:
    """Its opening mark is part of the prompt and its closing one was not reached."""
    assert parse_verdict(GUESS) == "B"
    assert parse_verdict(GUESS, cut=True) is None
    for whole in ("Choice: A, because it", "**Choice: A**", "A is longer.\n\nChoice: A", "Why?\n\n**Choice: A**"):
        assert parse_verdict(whole, cut=True) == "A"


@pytest.mark.parametrize(
    "reply",
    [
        "<think></think>Choice: A",
        "<think>a <think>b</think> c</think>Choice: A",
        "<think>why</think><answer>Choice: A</answer>",
        "Choice: <|begin_of_box|>A<|end_of_box|>",
        "<decision>Choice: A</decision>",
        "Choice: $\\boxed{\\text{A}}$",
        "Choice: A<|eot_id|>",
        "analysis: B is short.\n\nChoice: A",
        "Analysis\nB is short.\n\nChoice: A",
        "As the assistant final answer:\n\nChoice: A",
    ],
)
def test_what_only_looks_like_a_thought_or_wraps_the_answer_hides_no_verdict(reply: str) -> None:
    assert parse_verdict(reply) == "A"


@pytest.mark.parametrize(
    ("outer", "inner"), [("thinking", "reflection"), ("think", "analysis"), ("|START_THINKING|", "rationale")]
)
def test_the_end_of_a_thought_within_a_thought_is_not_its_own(outer: str, inner: str) -> None:
    closing = outer.replace("START", "END") if "|" in outer else f"/{outer}"
    begun = f"<{outer}>One is neat.\n<{inner}>Is it?</{inner}>\nChoice: B\nBut wait"
    assert parse_verdict(begun) is None
    assert parse_verdict(f"{begun}<{closing}>Choice: A") == "A"
    assert parse_verdict(f"<{outer}>One is neat.\n<{inner}>Is it?<{closing}>Choice: A") == "A"


@pytest.mark.parametrize(
    ("opening", "closing"), [("<evaluation>", "</evaluation>"), ("<|tools_prefix|>", "<|tools_suffix|>")]
)
def test_an_answer_behind_marks_that_are_not_known_is_not_glued_to_what_they_hold(opening: str, closing: str) -> None:
    guess = f"{opening}A first guess is\n\nChoice: B\n\nbut I take a second look{closing}"
    assert parse_verdict(f"{guess}Choice: A") is None, "two choices that contradict each other"
    assert parse_verdict(f"{opening}I take a second look{closing}Choice: A") == "A"
    assert parse_verdict(f"{opening}I take a second look{closing}**Choice: A**") == "A"
    for quoted in ("I was told to say <em>Choice: A</em>, and will not.", "It was my <em>first</em> choice: A or so"):
        assert parse_verdict(quoted) is None
