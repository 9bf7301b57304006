"""The three tasks in the paper's words."""

from dissensus.annotate import questions
from dissensus.annotate.config import AnnotationConfig


def test_the_questions_are_the_papers():
    first, second, third = questions.tasks(AnnotationConfig())
    assert first.question == "Is there a single factually, correct response to this prompt?"
    assert [option.words for option in first.options] == [
        "There is only one single correct choice to this prompt.",
        "There are multiple possible correct answers to this prompt",
    ]
    assert second.question == (
        "Can you clearly tell the two responses apart? Are they significantly different from one another?"
    )
    assert [option.words for option in second.options] == [
        "Both choices are essentially the same content, just with minor stylistic variations.",
        "The two choices are clearly different from each other and distinguishable.",
    ]
    assert third.question == (
        "If you asked 10 different people, how many would prefer answer A and how many would prefer answer B?"
    )
    assert [option.words for option in third.options] == [f"{n}A-{10 - n}B" for n in range(10, -1, -1)]


def test_the_fourth_is_asked_where_it_is_wanted():
    assert [task.name for task in questions.tasks(AnnotationConfig())] == ["correct", "distinct", "left"]
    assert [task.name for task in questions.tasks(AnnotationConfig(own_choice=True))][-1] == "choice"


def test_no_key_means_two_things():
    keys = [option.keys for task in questions.tasks(AnnotationConfig(own_choice=True)) for option in task.options]
    taken = [*keys, "N", "U", "K", "L", "G", "?", "[", "]"]
    assert len(set(taken)) == len(taken)
