"""A judge that is asked what share of people prefers a response, instead of which one is better."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from judge_helpers import PAIRS, QUIET, FakeServer, asked, judge_of
from stub_server import StubOptions, StubServer

from dissensus.cli.judge import command
from dissensus.errors import ConfigError
from dissensus.files import write_records
from dissensus.judges.base import parse_settings
from dissensus.judges.language.prompt import load_template
from dissensus.judges.language.share import parse_share
from dissensus.judges.runner import ask_model
from dissensus.judges.store.query import Recall
from dissensus.judges.store.store import JudgmentStore
from dissensus.judges.store.verify import verify
from dissensus.steps.margin import make_margins


@pytest.mark.parametrize(
    ("reply", "percent"),
    [
        *(("Share: 70", 70), ("70", 70), ("70%", 70), (" **Share:** 70 %.\n", 70), ("share：`5`", 5), ("[0]", 0)),
        *(("Share: 100.0", 100), ("72.5", 72.5), ("Share: 0.7%", 0.7), ("1", 1), ("Share: 100", 100), ("0", 0)),
        *(("Of 10 people 6 care about warmth.\n\nShare: 60", 60), ("<think>3 of 4? Share: 1</think>Share: 75", 75)),
        ("Share: 70\n\nAnswer A is the warmer one.", 70),
        # out of range, a fraction that may be a percentage, several numbers, words: nothing is guessed or clipped
        *((reply, None) for reply in ("Share: 101", "-5", "Share: -5", "−5", "100.1", "1000", "1e2", "+70", "007")),
        *((reply, None) for reply in ("0.7", "Share: 0.7", "1.0", ".7", "70,5", "7/10", "70/100", "7 out of 10")),
        *((reply, None) for reply in ("60-70", "60–70", "70 or 80", "Share: 70 30", "Share: 70\nShare: 30", "70\n30")),
        *((reply, None) for reply in ("Share: 70\nAnswer B: 30", "A: 70\nB: 30", "Share A: 70", "Share: 70 prefer B")),
        *((reply, None) for reply in ("", "Share:", "Share: N", "seventy", "Share: all", "nan", "Choice: A", "٧٠")),
        *((reply, None) for reply in ("<think>Share: 70", "I would say 70", "Share: about 70", "70 percent", "$70")),
    ],
)
def test_a_share_is_one_number_from_0_to_100_and_nothing_else(reply: str, percent: float | None) -> None:
    assert parse_share(reply) == percent


@pytest.mark.parametrize(
    ("reply", "percent"),
    [("Share: 7", None), ("Share: 70.", None), ("70", None), ("70%", 70), ("Share: 70\n\nSince", 70)],
)
def test_a_reply_that_was_cut_may_lack_a_digit(reply: str, percent: float | None) -> None:
    assert parse_share(reply, cut=True) == percent
    assert parse_share(f"Reasons.\n{reply}", cut=True) is None


class Saying(FakeServer):
    """Says the same whatever is shown, and now and then nothing that is a share."""

    def replies(self, ask):
        return tuple("Share: 70" if sample % 5 else "Share: 7 of 10" for sample in ask.samples)


def test_the_order_is_undone_the_reply_is_kept_and_the_store_is_right(store):
    judge = judge_of(template="share", n=10)
    summary = ask_model(PAIRS, judge, Saying(), store, QUIET)
    assert summary.tally.invalid == 2 * len(PAIRS)
    found = list(store.judgments(judge=judge.name))
    said = {(j.order, j.reply, j.choice, j.probability_a) for j in found}
    assert said == {
        *((order, "Share: 7 of 10", None, None) for order in ("ab", "ba")),
        ("ab", "Share: 70", "a", 0.7),
        ("ba", "Share: 70", "b", 0.3),
    }
    assert summary.bias.first == 1
    assert verify(store).problems == []
    store.connection.execute("UPDATE judgments SET probability_a = 0.9, checksum = NULL WHERE choice = 'a'")
    assert "the reply 'Share: 70' is not a" in verify(store).problems[0]
    assert judge.name != judge_of(n=10).name


def test_shares_come_from_a_server_under_personas_too(store):
    judge = judge_of(template="share", n=4, personas=("You are a nurse.", "You are a poet."))
    with StubServer(StubOptions()) as stub:
        asked(stub, PAIRS[:5], store, judge=judge)
    found = list(store.judgments(judge=judge.name))
    assert len(found) == 20
    made = make_margins(Recall(store, judge.name, PAIRS[:5]), [pair.id for pair in PAIRS[:5]], votes="limit")
    for margin in made.margins:
        shares = {
            order: [j.probability_a for j in found if (j.pair_id, j.order) == (margin.pair_id, order)]
            for order in ("ab", "ba")
        }
        assert margin.preference_a == pytest.approx(np.mean([np.mean(shares["ab"]), np.mean(shares["ba"])]))
    for one in found:
        shown = float(one.reply.removeprefix("Share: ").removesuffix("%")) / 100
        assert one.probability_a == pytest.approx(shown if one.order == "ab" else 1 - shown)


def test_a_model_in_this_process_is_asked_for_shares(make_judge, tmp_path):
    ends = {digit: {"0": 25.0} for digit in "73"}
    model = make_judge(
        tmp_path / "m", follows={"<|assistant|>": {"7": 16.0, "3": 16.0}, **ends, "0": {"<|end|>": 25.0}}
    )
    write_records(tmp_path / "pairs.jsonl", PAIRS[:6])
    arguments = ["local", tmp_path / "pairs.jsonl", "--model", model, "--template", "share", "--n", 4, "--quiet"]
    arguments += ["--store", tmp_path / "j.db"]
    result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert "judgments  24 new" in result.stdout
    with JudgmentStore(tmp_path / "j.db") as opened:
        said = {(j.reply, j.order): j.probability_a for j in opened.judgments()}
    assert said.items() <= {("70", "ab"): 0.7, ("70", "ba"): 0.3, ("30", "ab"): 0.3, ("30", "ba"): 0.7}.items()
    with pytest.raises(ConfigError, match=r"--template share: asks for a share, .* use --mode sample"):
        command.main([*map(str, arguments), "--mode", "exact"], standalone_mode=False)


def test_a_template_of_ones_own_asks_for_shares_and_margins_are_made_of_their_mean(tmp_path):
    own = tmp_path / "own.txt"
    own.write_text("{prompt} {answer_0} {answer_1} Of 100 people? Reply 'Share: N'.")
    assert load_template(own).read("Share: 25", "ba") == ("a", 0.75)
    kinds = [parse_settings({"name": "local", "model": "m", "template": t}).vote_kind() for t in (str(own), "paper")]
    assert kinds == ["limit", "drawn"]
    own.write_text("{prompt} {answer_0} {answer_1} Your share: of the words. Reply 'Choice: A' or 'Choice: B'.")
    assert not load_template(own).asks_for_shares
