import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from dissensus.cli import group
from dissensus.errors import InputError
from dissensus.files import read_pairs
from dissensus.judges import JudgmentStore, judge_pairs
from dissensus.judges.published import read_published
from dissensus.judges.store.export import export
from dissensus.records import Pair

PAIRS = [Pair(id=f"p{i}", prompt=f"q{i}", response_a="yes", response_b="no") for i in range(3)]


def write(folder, rows, name="verdicts.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def judged(path, pairs=PAIRS, **options):
    """Each judge's answers as (pair, order, sample, choice, probability)."""
    return {
        name: [
            (j.pair_id, j.order, j.sample, j.choice, j.probability_a)
            for pair in pairs
            for j in judge.answer(judge.questions(pair))
        ]
        for name, judge in read_published(path, pairs, **options).items()
    }


def test_the_model_shown_first_gives_the_order(tmp_path):
    rows = [{"id": "p0", "model_a": "x", "model_b": "y", "judges": {"gpt": {"first=y": 1.0, "first=x": 0.5}}}]
    assert judged(write(tmp_path, rows)) == {"gpt": [("p0", "ab", 0, "tie", 0.5), ("p0", "ba", 0, "a", 1.0)]}


def test_repetitions_are_samples_and_an_aggregate_is_no_judgment(tmp_path):
    rows = [
        {"id": "p1", "judges": {"gpt": {"mean_p_a": 0.4, "AB": [0, 0.3, None], "BA": []}, "other": {"mean_p_a": 1}}}
    ]
    expected = [("p1", "ab", 0, "b", 0.0), ("p1", "ab", 1, "b", 0.3), ("p1", "ab", 2, None, None)]
    assert judged(write(tmp_path, rows)) == {"gpt": expected}


def test_an_unknown_order_is_said_to_be_unknown(tmp_path):
    said = []
    rows = [{"id": "p0", "judges": {"gpt": 1, "other": {"ab": 0}}}, {"id": "p1", "judges": {"gpt": [1, 0.5]}}]
    found = judged(write(tmp_path, rows), notice=said.append)
    assert [answer[:3] for answer in found["gpt"]] == [("p0", "ab", 0), ("p1", "ab", 0), ("p1", "ab", 1)]
    assert len(said) == 1
    assert "no order shown for gpt;" in said[0]


def test_flat_rows_in_every_format(tmp_path):
    rows = [
        {"pair_id": "p0", "judge": "gpt", "choice": "a", "probability_a": 0.75, "order": "ba", "sample": 4},
        {"pair_id": "p0", "judge": "gpt", "choice": "tie", "probability_a": None, "order": "ab", "sample": None},
        {"pair_id": "p0", "judge": "gpt", "choice": None, "probability_a": None, "order": "ab", "sample": None},
    ]
    expected = {"gpt": [("p0", "ab", 0, "tie", 0.5), ("p0", "ab", 1, None, None), ("p0", "ba", 4, "a", 0.75)]}
    assert judged(write(tmp_path, rows)) == expected
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "verdicts.parquet")
    assert judged(tmp_path / "verdicts.parquet") == expected
    lines = [",".join(rows[0]), *(",".join("" if v is None else str(v) for v in row.values()) for row in rows)]
    (tmp_path / "verdicts.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert judged(tmp_path / "verdicts.csv") == expected


@pytest.mark.parametrize(
    "values", [{"choice": "Tie"}, {"choice": "tie", "reply": "tie"}, {"choice": None, "reply": "tie"}]
)
def test_a_tie_is_read_however_it_was_written(tmp_path, values):
    rows = [{"pair_id": "p0", "judge": "gpt", "order": "ab", **values}]
    (judge,) = read_published(write(tmp_path, rows), PAIRS).values()
    assert [(j.choice, j.probability_a) for j in judge.answer(judge.questions(PAIRS[0]))] == [("tie", 0.5)]
    assert judge.name == "gpt-1dcb03c8", "the name under which stores of earlier versions have it"


def test_a_probability_alone_gives_the_choice_of_the_larger_side_and_no_choice_is_no_tie(tmp_path):
    rows = [{"id": "p0", "judge": "gpt", "probability_a": p, "order": "ab"} for p in (0.2, 0.5, 0.7)]
    rows.append({"id": "p0", "judge": "gpt", "choice": None, "order": "ab"})
    (judge,) = read_published(write(tmp_path, rows), PAIRS).values()
    told = [(j.choice, j.probability_a, j.reply) for j in judge.answer(judge.questions(PAIRS[0]))]
    assert told == [("b", 0.2, ""), ("tie", 0.5, "tie"), ("a", 0.7, ""), (None, None, "")]


def test_nulls_that_parquet_fills_in_are_no_verdicts(tmp_path):
    rows = [
        {"id": "p0", "model_a": "x", "model_b": "y", "judges": {"gpt": {"first=x": 1.0, "first=y": 0.0}}},
        {"id": "p1", "model_a": "x", "model_b": "z", "judges": {"gpt": {"first=x": 1.0, "first=z": 0.0}}},
        {"id": "p2", "model_a": "x", "model_b": "z", "judges": {"other": {"first=x": 0.0}}},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "verdicts.parquet")
    assert judged(tmp_path / "verdicts.parquet") == judged(write(tmp_path, rows))


def test_importing_twice_adds_nothing_and_a_changed_verdict_is_another_judge(tmp_path):
    rows = [{"id": f"p{i}", "judges": {"gpt": {"AB": [1, 0], "BA": [0]}}} for i in range(3)]
    with JudgmentStore(tmp_path / "judgments.db") as store:

        def made(path, pairs):
            (judge,) = read_published(path, pairs, notice=lambda _: None).values()
            return judge_pairs(pairs, judge, store, progress=False).tally.made, judge.name

        n, name = made(write(tmp_path, rows), PAIRS[:2])
        # The name does not depend on the pairs asked about, so the rest comes under the same one.
        assert (n, made(write(tmp_path, rows), PAIRS), made(write(tmp_path, rows), PAIRS)) == (6, (3, name), (0, name))
        rows[0]["judges"]["gpt"]["AB"][0] = 0
        n, other = made(write(tmp_path, rows), PAIRS)
        assert (n, other != name) == (9, True)


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet"])
def test_an_exported_judge_comes_back_as_itself(tmp_path, name):
    rows = [
        flat(choice="a", order="ab", reply="A, because", persona="a nurse"),
        flat(choice=None, order="ab", reply="neither", persona="a pilot"),
        flat(choice="tie", order="ba", persona="a nurse"),
        flat(probability_a=0.25, order="ba", persona="a pilot"),
    ]
    with JudgmentStore(tmp_path / "judgments.db") as store:
        (judge,) = read_published(write(tmp_path, rows), PAIRS).values()
        judge_pairs(PAIRS, judge, store, progress=False)
        before = {(j.order, j.sample): j for j in store.judgments()}
        assert [before[place].persona for place in sorted(before)] == ["a nurse", "a pilot"] * 2
        export(store, tmp_path / name)
        (again,) = read_published(tmp_path / name, PAIRS).values()
        assert judge_pairs(PAIRS, again, store, progress=False).tally.made == 0
        assert again.name == judge.name
        assert {(j.order, j.sample): j for j in again.answer(again.questions(PAIRS[0]))} == before


def test_a_whole_number_is_a_pair_s_name_zero_too(tmp_path):
    pairs = [Pair(id=name, prompt="q", response_a="yes", response_b="no") for name in ("0", "7")]
    rows = [{"pair_id": 0, "id": 7, "judge": "gpt", "choice": "a", "order": "ab"}]
    assert judged(write(tmp_path, rows), pairs) == {"gpt": [("0", "ab", 0, "a", None)]}


@pytest.mark.parametrize("rows", [[], [{"id": "p0", "judges": None}], [{"id": "p0", "judges": {"gpt": {"mean_p": 1}}}]])
def test_a_file_without_verdicts_says_so(tmp_path, rows):
    with pytest.raises(InputError, match=r"verdicts\.jsonl: no verdicts; expected rows of pairs with a column judges"):
        read_published(write(tmp_path, rows), PAIRS)


@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        ({"gpt": {"AB": 1}}, {"gpt": 1}, "the order shown is unknown for gpt here and was given before"),
        ({"gpt": 1}, {"gpt": {"BA": 1}}, "the order shown is given for gpt here and was unknown before"),
    ],
)
def test_verdicts_of_unknown_order_do_not_mix_with_others(tmp_path, first, then, message):
    path = write(tmp_path, [{"id": "p0", "judges": first}, {"id": "p1", "judges": then}])
    with pytest.raises(InputError, match=rf"verdicts\.jsonl:2: .*{message}; give it for all"):
        read_published(path, PAIRS)


def test_verdicts_on_other_pairs_are_told(tmp_path):
    said = []
    rows = [{"id": name, "judges": {"gpt": {"AB": 1}}} for name in ("p0", "q7")]
    assert judged(write(tmp_path, rows), notice=said.append) == {"gpt": [("p0", "ab", 0, "a", 1.0)]}
    assert "1 verdicts are on pairs that were not given" in said[0]
    with pytest.raises(InputError, match=r"2 verdicts, none of them on one of the 1 pairs; give the pairs"):
        read_published(tmp_path / "verdicts.jsonl", PAIRS[1:2])


def test_a_pair_without_an_id_is_known_by_its_texts(tmp_path):
    texts = {"prompt": "Why?", "response_a": "So.", "response_b": "No."}
    rows = [texts | {"judges": {"gpt": {"AB": 1}}}]
    pairs = list(read_pairs(write(tmp_path, rows), notice=lambda _: None))
    assert judged(tmp_path / "verdicts.jsonl", pairs) == {"gpt": [(pairs[0].id, "ab", 0, "a", 1.0)]}


def flat(**values):
    return {"pair_id": "p0", "judge": "gpt"} | values


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "p0", "verdict": "a"}, "expected a pair with a column judges.*found id, verdict"),
        ({"id": "p0", "judges": [1]}, "judges is a list; expected an object"),
        ({"id": "p0", "judges": {"gpt": {"AB": 7}}}, r"judges.gpt is a number \(7\); expected the probability of a"),
        ({"id": "p0", "judges": {"gpt": {"AB": True}}}, "judges.gpt is a boolean"),
        ({"id": "p0", "judges": {"gpt": {"swapped": 1}}}, "the key 'swapped'; expected first=MODEL, AB, BA"),
        ({"id": "p0", "judges": {"gpt": {"first=x": 1}}}, "the key 'first=x', but model_a is null"),
        ({"id": "p0", "prompt": "q0", "response_a": "no", "response_b": "yes", "judges": {}}, "'p0' has other texts"),
        (flat(), "neither choice nor probability_a"),
        (flat(choice="A"), r"choice is text \('A'\); expected a, b, tie"),
        (flat(choice="tie", probability_a=0.9), "a tie beside a probability_a of 0.9"),
        (flat(choice=None, probability_a=0.9), "choice is null beside a probability_a of 0.9"),
        (flat(choice="a", order="first"), r"order is text \('first'\); expected ab, ba"),
        (flat(choice="a", order=["ab"]), "order is a list; expected ab, ba"),
        (flat(choice="a", sample=-1), r"sample is a number \(-1\)"),
        (flat(choice="a", sample=2**63), "sample is a number"),
        (flat(choice="a", sample="inf"), r"sample is text \('inf'\)"),
        (flat(choice="a", sample="nan"), r"sample is text \('nan'\)"),
        (flat(choice="a", judge=""), "judge is empty"),
        ({"id": "p0", "judges": {"": {"AB": 1}}}, "a judge's name is empty"),
        ({"id": "p0", "judges": {"\ud800": {"AB": 1}}}, "a judge's name holds half a character"),
        ({"id": "p1", "judges": {"gpt": {"AB": 0}}}, "verdicts of gpt on pair 'p1' in order ab are there already"),
        (flat(choice="a", pair_id=None), "pair_id is empty"),
    ],
)
def test_a_row_that_is_not_understood_is_named_with_its_line(tmp_path, row, message):
    path = write(tmp_path, [{"id": "p1", "judges": {"gpt": {"AB": 1}}}, row])
    with pytest.raises(InputError, match=rf"verdicts.jsonl:2: .*{message}.*; fix the row"):
        read_published(path, PAIRS)


def test_a_sample_that_is_there_twice_is_refused(tmp_path):
    path = write(tmp_path, [flat(choice="a", sample=0), flat(choice="b", sample=0)])
    with pytest.raises(InputError, match=r"verdicts\.jsonl:2: sample 0 of gpt on pair 'p0' in order ab is there twice"):
        read_published(path, PAIRS)


COUNTS = {
    "vicuna80": {"gpt4": 4467, "claude": 960, "gpt35": 960, "bard": 960, "vicuna-13b": 960},
    "pandalm": {"gpt-3.5-turbo": 822, "pandalm-7b": 839},
    "llm_jury": {
        **{"claude-3-haiku-20240307": 1007, "claude-3-opus-20240229": 1008, "claude-3-sonnet-20240229": 1007},
        **{"gemini-pro": 1006, "gpt-3.5-turbo-0125": 986, "gpt-3.5-turbo-1106": 1006},
        **{"gpt-4-0125-preview": 1008, "gpt-4-0613": 1008, "gpt-4-1106-preview": 1008},
    },
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", COUNTS)
def test_every_published_verdict_is_read_once(real_data_dir, name):
    path = real_data_dir / f"{name}.jsonl.gz"
    pairs = list(read_pairs(path, notice=lambda _: None))
    judges = read_published(path, pairs, notice=lambda _: None)
    assert {short: sum(len(judge.questions(pair)) for pair in pairs) for short, judge in judges.items()} == COUNTS[name]


@pytest.mark.real_data
def test_the_mean_of_each_jury_member_s_verdicts_is_the_published_aggregate(real_data_dir):
    path = real_data_dir / "llm_jury.jsonl.gz"
    pairs = list(read_pairs(path, notice=lambda _: None))
    judges = read_published(path, pairs)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        published = {row["id"]: row["judges"] for row in map(json.loads, file)}
    for short, judge in judges.items():
        for pair in pairs:
            mean = np.mean([j.probability_a for j in judge.answer(judge.questions(pair))])
            assert mean == pytest.approx(published[pair.id][short]["mean_p_a"], abs=1e-4)


def test_verdicts_without_texts_ask_for_the_pairs_by_an_option_that_is_there(tmp_path):
    path = write(tmp_path, [{"pair_id": "p0", "judge": "gpt", "order": "ab", "choice": "a"}])
    command = ["judgments", "import", str(path), "--store", str(tmp_path / "judgments.db")]
    with pytest.raises(InputError, match="name the pairs with --pairs"):
        CliRunner().invoke(group, command, catch_exceptions=False)
    assert not (tmp_path / "judgments.db").exists()
