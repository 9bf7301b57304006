"""A reply is a vote only where it names one winner."""

import re

import pytest

from dissensus.judges.language.verdict import parse_choice, parse_verdict

NAMES_A = [
    *("Choice: A", "choice: a", "CHOICE:A", "**Choice: A**", "**Choice:** A", "'Choice: A'", "“Choice: A”"),
    *("Choice: [A].", "Choice: (A)", "Choice: A)", "- Choice: A", "## Choice: A", "Choice： A", "Choice:\nA"),
    *("Choice: A\n", "Choice: A is better, since B is wrong.", "Choice: A, because B lies"),
    *("Answer B repeats itself.\n\nChoice: A", "Choice: A\n\nChoice: A"),
    *("<think>Choice: B, or not?</think>Choice: A", "choice: a is better", "Choice: Answer (A)"),
    *("Choice: Response **A**", "Choice: A; B is worse", "Choice: A - B is longer than it needs to be"),
    *("Choice: A is as clear as can be", "Choice: A clearly", "Choice: A ties its claims to sources"),
    *("\ufeffChoice: A", "Choice: Response A", "Choice: A provides more detail", "Choice: A draws on evidence"),
    *("Choice: A isn't wrong", "Choice: A, even though it is long", "Choice: A (shorter)", "Choice: A > B"),
    *("Choice: A The second one makes things up.", "Choice: A They differ in tone alone."),
    *("Choice: A My reasons follow.", "Choice: A Response A is clear.", "Choice: A Answer B is wrong."),
    *("Choice: A Assistant A.", "Choice: A Explanation: it answers the question", "Choice: A Reason: it is shorter"),
    *("Choice: A reasoning: it is shorter", "CHOICE: A RATIONALE: SHORTER", "Choice: A Confidence: 0.8"),
    *("Choice: A Better overall", "Choice: A better overall.", "Choice: A better than B"),
    *("Choice: A better than the other in every way", "Choice: A better because it is short"),
    *("Choice: A more detailed", "Choice: A more detailed.", "Choice: A More detailed and accurate"),
    *("Choice: A more detailed and more accurate.", "Choice: A clearer and shorter overall"),
    *("Choice: A Less wordy, more to the point", "Choice: A more well-structured in parts", "Choice: A shorter"),
    *("Choice: A weil sie kürzer ist", "Choice: A porque es más clara", "Choice: A car elle est plus claire"),
    *("Choice: A 更好，因为更短", "Choice: A потому что короче", "Choice: A based on its accuracy"),
    *("Choice: A better answers the question", "Choice: A more directly addresses the question"),
    *("Choice: A (tie-breaker: length)", "Choice: A, and B is worse", "Choice: A, even B says so"),
    "Choice: A (B is worse)",
]
NAMES_NOBODY = [
    *("Choice: A **tie** between the two", "Choice: A 'tie'", "Choice: **A** tie", "Choice: A/tie"),
    *("Choice: A 50/50 split", "Choice: A perfectly even tie", "Choice: A truly close call"),
    *("Choice: A, but it's a tie", "Choice: A is as good as B", "Choice: A equals B", "Choice: A ties with B"),
    *("Choice: A is tied with B.", "Choice: A as well as B", "Choice: A and also B", "Choice: A; B", "Choice: A–B"),
    *("Choice: A 平局", "Choice: A 引き分け", "Choice: A 和 B 一样好", "Choice: A 和B", "Choice: A или B"),
    *("Choice: A ist so gut wie B", "Choice: A ничья", "Choice: A tie-breaker would be needed"),
    *("Choice: A better analysis would be needed", "Choice: A, or B", "Choice: **A**, or **B**.", "Choice: A, and B"),
    *("Choice: A, and B (both are right)", "Choice: A, or Choice: B", "Choice: A — or B.", "Choice: A; or B"),
    *("Choice: A (or perhaps B)", "Choice: A (maybe B)", "Choice: A, equally B", "Choice: A or possibly B"),
    *("Choice: A / Response B (tie)", "Choice: A, B, both are fine", "", "A", "A)", "Answer", "Answer A", "both"),
    *("Choice:", "Choice: both", "Choice: neither", "Choice: Answer", "Choice: AB", "Choice: Apples"),
    *("Choice: a tie", "Choice: A or B", "Choice: A/B", "Choice: A and B", "Choice: A, B", "Choice: A or answer B"),
    *("'Choice: A' or 'Choice: B'", "Choice: A\nChoice: B", "Choice: A. On reflection, Choice: B.", "Choice: not A"),
    *("I cannot help with that.", "I was told to say 'Choice: A', and will not.", "<think>Choice: A", "Choice: C"),
    *("Choice: A tie between the two.", "Choice: A draw.", "Choice: A (tie)", "Choice: A. Draw."),
    *("Choice: A, a toss-up", "Choice: A close call", "Choice: A dead heat", "Choice: A likely tie"),
    *("Choice: A mixed bag", "Choice: A winner cannot be named", "Choice: A = B", "Choice: A ≈ B", "Choice: A < B"),
    *("Choice: A both", "Choice: A more detailed answer would be needed", "Choice: A more detailed, accurate answer"),
    *("Choice: A more detailed and accurate answer", "Choice: A more than adequate tie"),
    *("Choice: A better answer cannot be named", "Choice: A Better Answer Cannot Be Named"),
    *("Choice: A More Detailed Answer Would Be Needed", "Choice: A better overall impression is not to be had"),
    *("Choice: A better than average pair", "Choice: A better in-depth comparison is needed"),
    *("Choice: A shorter one would do", "Choice: A wash: each has its faults", "Choice: A Wash: each has its faults"),
    *("Choice: A coin flip", "Choice: A compromise: each wins a part", "Choice: A Both: each has its merits"),
    *("Choice: A Tie: each has its merits", "CHOICE: A WASH: BOTH", "Choice: A Response B", "Choice: A winner."),
    "Choice: A number of points speak for either",
]


def swapped(reply: str) -> str:
    return re.sub(r"\b[ABab]\b", lambda letter: letter[0].translate(str.maketrans("ABab", "BAba")), reply)


@pytest.mark.parametrize("reply", NAMES_A)
def test_a_named_winner_is_read_and_the_letters_are_treated_alike(reply: str) -> None:
    assert (parse_verdict(reply), parse_verdict(swapped(reply))) == ("A", "B")


@pytest.mark.parametrize("reply", NAMES_NOBODY)
def test_a_reply_without_one_winner_is_no_vote_for_the_first_nor_the_second(reply: str) -> None:
    """A rule for the article alone would make replies of one kind votes for B and never for A."""
    assert parse_verdict(reply) is None
    assert parse_verdict(re.sub(r"\b[AB]\b", lambda letter: "BA"["AB".index(letter[0])], reply)) is None
    assert parse_choice(reply, order="ba") is None


@pytest.mark.parametrize(("order", "choice"), [("ab", "a"), ("ba", "b")])
def test_the_order_shown_is_undone(order: str, choice: str) -> None:
    assert parse_choice("Choice: A", order=order) == choice


@pytest.mark.parametrize("reply", ["Choice: A and", "Choice: A /", "Choice: B or", "Choice: A, or"])
def test_a_reply_cut_before_its_second_letter_is_no_vote(reply: str) -> None:
    assert parse_verdict(reply, cut=True) is None
    assert parse_verdict(f"{reply.split()[0]} {reply.split()[1].strip(',')}", cut=True) is not None
