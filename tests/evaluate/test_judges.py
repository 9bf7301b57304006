import numpy as np
import pytest

from dissensus.errors import EvaluationError
from dissensus.evaluation.judges import decompose, score_judges
from dissensus.evaluation.resample import Resampling
from dissensus.evaluation.tables.judge_tables import component_table, judge_tables
from dissensus.evaluation.tables.render import terminal_table
from dissensus.files import read_pairs
from dissensus.judges import JudgmentStore, judge_pairs
from dissensus.judges.published import read_published
from dissensus.judgment_margins import margins_from_judgments
from dissensus.records import Judgment

NONE = Resampling(n=0)


def judgment(pair_id, choice, order="ab", sample=0, judge="j", **fields):
    return Judgment(pair_id=pair_id, judge=judge, sample=sample, order=order, choice=choice, **fields)


def test_a_reply_without_winner_is_no_verdict_and_a_tie_is_one_half():
    assert judgment("p", "a", probability_a=0.2).value == 1
    assert judgment("p", "tie").value == 0.5
    assert judgment("p", None, probability_a=0.9, reply="Choice: both").value is None


def test_a_judge_worked_by_hand(make_pair):
    pairs = [make_pair("p0", 8), make_pair("p1", 2), make_pair("p2", 5), make_pair("p3", None)]
    judgments = [
        judgment("p0", "a"),
        judgment("p0", "b", "ba"),  # flips: preference 1/2
        judgment("p1", "b"),
        judgment("p1", "tie", "ba"),  # preference 1/4
        judgment("p2", "a"),
        judgment("p2", None, "ba"),  # invalid: the other order stands alone
        judgment("p3", "a"),
        judgment("p3", "a", "ba"),
    ]
    (score,) = score_judges(pairs, judgments, NONE)
    assert (score.pairs, score.judgments, score.invalid, score.ties) == (4, 8, 1 / 8, 1 / 8)
    assert (score.compared, score.flips.value) == (2, 0.5)
    assert score.changes.value == pytest.approx(2 / 3)
    assert score.first.value == pytest.approx((1 + (0 + 0.5) / 2 + 0.5) / 3)
    assert (score.people.pairs, score.people.human_ties) == (3, 1)
    assert score.people.agreement.value == pytest.approx((0.5 + 1) / 2)
    assert score.people.l1.value == pytest.approx((0.3 + 0.05 + 0.5) / 3)
    assert score.people.pearson.value == pytest.approx(np.corrcoef([0.5, 0.25, 1], [0.8, 0.2, 0.5])[0, 1])


def test_more_replies_in_one_order_bring_no_position_bias(make_pair):
    pairs = [make_pair("p", 10)]
    judgments = [judgment("p", "a", sample=i) for i in range(9)] + [judgment("p", "b", "ba")]
    (score,) = score_judges(pairs, judgments, NONE)
    (margin,) = margins_from_judgments(judgments, ["p"])
    assert 1 - score.people.l1.value == margin.preference_a == 0.5


def test_one_judgment_that_says_how_probable_it_is_states_a_share_and_members_of_a_committee_vote(make_pair):
    pairs = [make_pair("p", 8), make_pair("q", 3)]
    rows = [judgment("p", "a"), judgment("q", "b")]
    stated = [row.model_copy(update={"probability_a": p}) for row, p in zip(rows, (0.8, 0.3), strict=True)]
    assert score_judges(pairs, stated, NONE)[0].people.l1.value == pytest.approx(0)
    twice = [row.model_copy(update={"sample": i}) for row in stated for i in (0, 1)]
    assert score_judges(pairs, twice, NONE)[0].people.l1.value == pytest.approx((0.2 + 0.3) / 2)


def test_without_votes_the_order_and_the_variance_are_still_known(make_pair):
    pairs = [make_pair(f"p{i}") for i in range(8)]
    judgments = [
        judgment(p.id, "a" if o == "ab" else "b", o, judge=j) for p in pairs for o in ("ab", "ba") for j in "xy"
    ]
    scores = score_judges(pairs, judgments)
    assert [score.judge for score in scores] == ["x", "y"]
    for score in scores:
        assert score.people is None
        assert (score.flips.value, score.first.value, score.first.low) == (1, 1, 1)
    pair, judge, order, repetition = decompose(pairs, judgments)
    assert (pair.value, judge.value, order.share) == (0, pytest.approx(0), pytest.approx(1))
    assert (repetition.raw, repetition.merged) == (None, "order")
    assert judge.random == pytest.approx(-0.25)
    assert len(judge_tables(scores)) == 1
    assert "without replication: repetition in order" in terminal_table(
        component_table([pair, judge, order, repetition])
    )


def test_a_prompt_that_fills_a_megabyte_is_no_trouble_to_a_judge(make_pair, peak_memory):
    pairs = [make_pair(f"p{i}", group="x" * 1_000_000 if i == 0 else f"g{i}") for i in range(60)]
    judgments = [Judgment(pair_id=pair.id, judge="j", sample=0, choice="a") for pair in pairs]
    assert peak_memory(lambda: score_judges(pairs, judgments, Resampling(n=5))) < 20_000_000


def test_few_prompts_give_no_interval(make_pair):
    pairs = [make_pair(f"p{i}", i % 10, prompt=f"prompt {i % 4}") for i in range(20)]
    (score,) = score_judges(pairs, [judgment(p.id, "a", o) for p in pairs for o in ("ab", "ba")])
    assert score.first.value == 0.5
    assert score.first.low is None


def test_judgments_given_twice_or_of_unknown_pairs_are_refused(make_pair):
    with pytest.raises(EvaluationError, match="sample 0 of judge 'j' on pair 'p' is given twice"):
        score_judges([make_pair("p")], [judgment("p", "a"), judgment("p", "b")])
    with pytest.raises(EvaluationError, match="the pair is not among the 1 pairs"):
        score_judges([make_pair("p")], [judgment("q", "a")])
    with pytest.raises(EvaluationError, match="no judgments"):
        decompose([make_pair("p")], [])
    with pytest.raises(EvaluationError, match="nothing to decompose"):
        decompose([make_pair("p")], [judgment("p", None)])
    with pytest.raises(ValueError, match="level"):
        Resampling(level=1)


def test_tables_name_judges_without_digests_where_that_is_enough(make_pair):
    pairs = [make_pair("p", 7)]
    names = ["gpt-0123abcd", "llama-0123abcd", "llama-4567abcd"]
    scores = score_judges(pairs, [judgment("p", "a", judge=name) for name in names], NONE)
    people, order = judge_tables(scores)
    assert [row[0] for row in people.rows] == ["gpt", "llama-0123abcd", "llama-4567abcd"]
    assert order.rows[0][-3:] == ("—", "—", "—")


def test_tables_fit_a_terminal(make_pair):
    rng = np.random.default_rng(0)
    pairs = [make_pair(f"p{i}", int(rng.integers(0, 11))) for i in range(40)]
    name = "a-judge-with-quite-a-long-name-0123abcd"
    judgments = [judgment(p.id, rng.choice(["a", "b"]), o, judge=name) for p in pairs for o in ("ab", "ba")]
    for table in judge_tables(score_judges(pairs, judgments, Resampling(n=50))):
        assert terminal_table(table).count("─\n") == 1
        assert max(map(len, terminal_table(table).splitlines())) <= 120


@pytest.fixture(scope="module")
def published(real_data_dir, tmp_path_factory):
    def read(name):
        path = real_data_dir / f"{name}.jsonl.gz"
        pairs = list(read_pairs(path, notice=lambda _: None))
        with JudgmentStore(tmp_path_factory.mktemp("published") / "judgments.db") as store:
            for judge in read_published(path, pairs, notice=lambda _: None).values():
                judge_pairs(pairs, judge, store, progress=False)
            return pairs, list(store.judgments(pairs=pairs))

    return read


@pytest.mark.real_data
def test_gpt4_flips_and_prefers_what_it_sees_first_and_agrees_as_a_person_does(published):
    pairs, judgments = published("vicuna80")
    scores = {score.judge[:-9]: score for score in score_judges(pairs, judgments, Resampling(n=60))}
    gpt4 = scores["gpt4"]
    # Counted from the file by other means: 860 of 2,227 verdicts change, 456 of 1,728 winners flip.
    assert (gpt4.pairs, gpt4.judgments, gpt4.compared) == (2240, 4467, 1728)
    assert (gpt4.flips.value, gpt4.changes.value) == pytest.approx((456 / 1728, 860 / 2227))
    assert gpt4.first.value == pytest.approx(0.6293, abs=1e-4)
    assert gpt4.first.low > 0.5 > scores["claude"].first.high
    # Of 2,240 pairs 232 split people evenly; 4,661 of 6,720 voters face two others who have a majority.
    assert gpt4.people.human_ties == 232
    assert gpt4.people.agreement.value == pytest.approx(1364.5 / 2008)
    assert gpt4.people.person.value == pytest.approx(3087.5 / 4661)
    assert gpt4.people.l1.value == pytest.approx(0.297842, abs=1e-6)


@pytest.mark.real_data
def test_a_jury_that_repeats_itself_has_all_four_components(published):
    pairs, judgments = published("llm_jury")
    components = {c.level: c for c in decompose(pairs, judgments, Resampling(n=60))}
    assert [c.units for c in components.values()] == [168, 1512, 3022, 9044]
    assert not any(c.merged for c in components.values())
    assert sum(c.share for c in components.values()) == pytest.approx(1)
    # The noise is the pooled variance within cells, by definition.
    cells = {}
    for j in judgments:
        cells.setdefault((j.pair_id, j.judge, j.order), []).append(j.value)
    squares = sum(len(y) * np.var(y) for y in cells.values())
    assert components["repetition"].value == pytest.approx(squares / sum(len(y) - 1 for y in cells.values()))
    assert components["pair"].raw.low > components["judge"].raw.high
