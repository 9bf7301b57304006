"""The three tasks in the paper's words, the practice round, the guide and the demo."""

from dissensus.annotate import questions
from dissensus.annotate.config import AnnotationConfig
from dissensus.annotate.practice import demo_pairs, guide, practice_pairs
from dissensus.records import plain_text

QUESTIONS = {
    "Is there a single factually, correct response to this prompt?": [
        "There is only one single correct choice to this prompt.",
        "There are multiple possible correct answers to this prompt",
    ],
    "Can you clearly tell the two responses apart? Are they significantly different from one another?": [
        "Both choices are essentially the same content, just with minor stylistic variations.",
        "The two choices are clearly different from each other and distinguishable.",
    ],
    "If you asked 10 different people, how many would prefer answer A and how many would prefer answer B?": [
        f"{n}A-{10 - n}B" for n in range(10, -1, -1)
    ],
}


def test_the_questions_are_the_papers_and_a_fourth_where_it_is_wanted():
    asked = questions.tasks(AnnotationConfig())
    assert {task.question: [option.words for option in task.options] for task in asked} == QUESTIONS
    more = questions.tasks(AnnotationConfig(own_choice=True))
    assert [task.name for task in more] == ["correct", "distinct", "left", "choice"]
    keys = [option.keys for task in more for option in task.options]
    taken = [*keys, "N", "U", "K", "L", "G", "?", "[", "]"]
    assert len(set(taken)) == len(taken)  # no key means two things


def test_practice_covers_every_answer():
    pairs, known = practice_pairs()
    assert [pair.id for pair in pairs] == list(known)
    assert {answer.correct for answer in known.values()} == {"single", "multiple"}
    assert {answer.distinct for answer in known.values()} == {"yes", "no"}
    spans = [answer.estimates for answer in known.values()]
    assert all(least <= most for least, most in spans)
    assert any(least >= 8 for least, _ in spans)
    assert any(least <= 5 <= most for least, most in spans)
    for answer in known.values():  # sides are drawn
        for side in ("left", "right one", "Answer A", "answer A", "first answer"):
            assert side not in answer.because


def test_the_demo_has_texts_of_many_kinds():
    pairs = demo_pairs()
    texts = [plain_text(pair.response_a) + plain_text(pair.response_b) for pair in pairs]
    assert len({pair.id for pair in pairs}) == len(pairs) >= 10
    assert any("```" in text for text in texts)
    assert any("|---|" in text for text in texts)
    assert any(not isinstance(pair.prompt, str) for pair in pairs)
    assert any("\u0600" <= letter <= "\u06ff" for text in texts for letter in text)
    assert max(map(len, texts)) > 1000


def test_a_guide_of_ones_own_takes_the_place_of_ours():
    assert "How to annotate" in guide("")
    assert guide("# Mine\n\n<script>x</script>") == "<h4>Mine</h4>\n<p>&lt;script&gt;x&lt;/script&gt;</p>\n"
