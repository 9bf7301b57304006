import pytest

from dissensus.errors import InputError
from dissensus.judges import JudgmentStore, Question, judge_pairs
from dissensus.judges.progress_display import Display, Tally
from dissensus.records import Judgment, Pair

PAIRS = [Pair(id=f"p{i}", prompt="q", response_a=f"yes {i}", response_b="no") for i in range(5)]


class Counting:
    """Asks every pair in both orders, and answers all but the questions of ``fails``."""

    def __init__(self, n: int = 4, fails: tuple[str, ...] = (), stop_after: int | None = None) -> None:
        self.name = "counting-00000001"
        self.n, self.fails, self.stop_after = n, fails, stop_after
        self.asked: list[Question] = []

    def questions(self, pair):
        return [Question(pair, sample, ("ab", "ba")[sample % 2]) for sample in range(self.n)]

    def answer(self, questions):
        self.asked += questions
        for done, question in enumerate(reversed(questions)):
            if done == self.stop_after:
                raise KeyboardInterrupt
            if question.pair.id not in self.fails:
                yield Judgment(
                    pair_id=question.pair.id,
                    judge=self.name,
                    sample=question.sample,
                    order=question.order,
                    choice=None if question.sample == 3 else "a",
                )


@pytest.fixture
def store(tmp_path):
    with JudgmentStore(tmp_path / "judgments.db") as opened:
        yield opened


def test_every_question_is_answered_and_counted_and_none_is_asked_again(store):
    first = judge_pairs(PAIRS, Counting(), store, progress=False).tally
    assert (first.made, first.reused, first.invalid, first.failed) == (20, 0, 5, 0)
    asked = {(p.id, s, "ab" if s % 2 == 0 else "ba") for p in PAIRS for s in range(4)}
    assert {(j.pair_id, j.sample, j.order) for j in store.judgments()} == asked
    again = Counting()
    summary = judge_pairs(PAIRS[::-1], again, store, progress=False)
    assert (summary.tally.made, summary.tally.reused, again.asked) == (0, 20, [])


def test_only_what_is_missing_is_asked(store):
    judge_pairs(PAIRS[:3], Counting(2), store, progress=False)
    judge = Counting(3)
    summary = judge_pairs(PAIRS, judge, store, progress=False)
    assert (summary.tally.made, summary.tally.reused) == (9, 6)
    assert {(q.pair.id, q.sample) for q in judge.asked} == {("p0", 2), ("p1", 2), ("p2", 2)} | {
        (name, sample) for name in ("p3", "p4") for sample in range(3)
    }


def test_a_question_that_failed_is_asked_again(store):
    first = judge_pairs(PAIRS, Counting(fails=("p1",)), store, progress=False)
    assert (first.tally.made, first.tally.failed) == (16, 4)
    second = Counting()
    assert judge_pairs(PAIRS, second, store, progress=False).tally.made == 4
    assert {question.pair.id for question in second.asked} == {"p1"}


def test_a_run_that_is_stopped_goes_on_where_it_was(store):
    with pytest.raises(KeyboardInterrupt):
        judge_pairs(PAIRS, Counting(stop_after=10), store, progress=False)
    assert judge_pairs(PAIRS, Counting(), store, progress=False).tally.reused == 10


def test_two_pairs_of_one_id_are_refused(store):
    with pytest.raises(InputError, match="'p0' comes twice"):
        judge_pairs([PAIRS[0], PAIRS[1], PAIRS[0].model_copy()], Counting(), store, progress=False)


def test_the_rate_is_that_of_answers_without_what_comes_before_the_first(monkeypatch, capsys):
    tally = Tally(100, reused=10)
    with Display(tally, "counting", progress=True) as display:
        for tally.made, clock in ((10, 1000.0), (30, 1010.0)):
            monkeypatch.setattr(display._bar, "_time", lambda clock=clock: clock)
            display.update()
    assert "<00:30,  2.00judgment/s" in capsys.readouterr().err
