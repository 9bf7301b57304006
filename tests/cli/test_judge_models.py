"""Language models on the command line: what is told, what is refused, and what can be changed afterwards."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from click import UsageError
from click.testing import CliRunner

from dissensus.cli.judge import command as judge_command
from dissensus.cli.judgments import command as judgments_command
from dissensus.cli.options import command_of_step
from dissensus.errors import ConfigError, InputError, JudgeError
from dissensus.files import read_records, write_records
from dissensus.judges.store.store import JudgmentStore
from dissensus.records import Margin, Pair

margin_command = command_of_step("margin")

PAIRS = [Pair(id=f"p{i}", prompt=f"Is it {i}?", response_a="It is.", response_b=f"No, {i} is not.") for i in range(6)]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    write_records(tmp_path / "pairs.jsonl", PAIRS)
    return tmp_path / "pairs.jsonl"


def run(command, *arguments: object) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_read_once_and_margins_at_any_setting(pairs, tiny_judge, tmp_path):
    store, out = tmp_path / "j.db", tmp_path / "m.jsonl"
    common = ["local", pairs, "--model", tiny_judge, "--mode", "exact", "--store", store, "--quiet"]
    told = run(judge_command, *common)
    assert "judgments  12 new choice distributions, 0 already" in told
    assert "first shown wins" in told
    assert "nothing new" in run(judge_command, *common)
    run(margin_command, pairs, "--store", store, "--out", out)
    drawn = list(read_records(out, Margin))
    assert {m.n_judgments + m.n_invalid for m in drawn} == {10}
    assert all(m.margin_limit is not None for m in drawn)
    run(margin_command, pairs, "--store", store, "--out", out, "--n", 400, "--top-p", 1)
    many = list(read_records(out, Margin))
    for margin in many:
        assert margin.margin == pytest.approx(margin.margin_limit, abs=0.2)
    run(margin_command, pairs, "--store", store, "--out", out, "--votes", "limit", "--temperature", 0.01)
    # A cold judge is sure of itself in each order: it agrees with itself across orders, or contradicts itself.
    assert {round(m.margin, 6) for m in read_records(out, Margin)} <= {0.0, 1.0}
    run(margin_command, pairs, "--store", store, "--out", out, "--order", "ab")
    assert {m.n_judgments + m.n_invalid for m in read_records(out, Margin)} == {10}
    assert "ok: 13 rows verified" in run(judgments_command, "verify", "--store", store)
    listed = run(judgments_command, "list", "--store", store)
    assert "mode exact, temperature 1.0, top-p 0.9" in listed


def test_sampled_judgments_cannot_be_drawn_anew(pairs, tiny_judge, tmp_path):
    store = tmp_path / "j.db"
    told = run(judge_command, "local", pairs, "--model", tiny_judge, "--n", 4, "--store", store, "--quiet")
    assert "judgments  24 new" in told
    with pytest.raises(JudgeError, match=r"--top-p cannot be changed any more; judge with --mode exact"):
        run(margin_command, pairs, "--store", store, "--out", tmp_path / "m.jsonl", "--top-p", 0.5)
    with pytest.raises(JudgeError, match="has sampled judgments and no probabilities"):
        run(margin_command, pairs, "--store", store, "--out", tmp_path / "m.jsonl", "--votes", "limit")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ("gpt4", InputError, "no judge is called 'gpt4'; choose one of committee, votes, published"),
        ("local", UsageError, "Missing option '--model'"),
        ("local --model ./nowhere", InputError, r"--model ./nowhere: no such model"),
        ("server", ConfigError, "give one such as --base-url"),
        ("server --base-url http://127.0.0.1:9", JudgeError, r"nobody answers at .*127.0.0.1:9"),
        ("server --base-url here", InputError, "not a URL"),
        ("local --base-url http://x", UsageError, "No such option.*--base-url"),
        ("committee --top-p 0.5", UsageError, "No such option.*--top-p"),
        ("server --base-url http://x --max-cost 5", ConfigError, "without a price; give one"),
        ("server --base-url http://x --price nan/1", ConfigError, "--price: .* greater than or equal to 0"),
        ("server --base-url http://x --price cheap", ConfigError, "--price: cheap is no two prices.*such as 0.5/1.5"),
        ("local --model m --template mine", InputError, "no such template"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_remedy(pairs, tmp_path, arguments, error, message):
    name, *options = arguments.split()
    with pytest.raises(error, match=message):
        judge_command.main([name, str(pairs), "--store", str(tmp_path / "j.db"), *options], standalone_mode=False)
    assert not (tmp_path / "j.db").exists()


def test_personas_from_a_file_in_utf8_with_or_without_a_mark_take_turns(pairs, tiny_judge, tmp_path):
    personas, store = tmp_path / "people.txt", tmp_path / "j.db"
    common = ["local", pairs, "--model", tiny_judge, "--mode", "exact", "--store", store, "--quiet"]
    personas.write_bytes("You are a nurse in Köln.".encode("latin-1"))
    with pytest.raises(InputError, match=r"is not UTF-8 text .*; save it as UTF-8"):
        run(judge_command, *common, "--persona-file", personas)
    personas.write_text("You are a nurse in Köln.\n\nYou are a poet.\n", encoding="utf-8-sig")
    assert "24 new choice distributions" in run(judge_command, *common, "--persona-file", personas)
    with JudgmentStore(store) as opened:
        assert {row.persona for row in opened.distributions()} == {"You are a nurse in Köln.", "You are a poet."}
    with pytest.raises(ConfigError, match="personas repeat"):
        run(judge_command, *common, "--persona", "You.", "--persona", "You.")


def test_a_fault_in_the_last_line_shows_before_a_model_is_loaded(pairs, tmp_path):
    with pairs.open("a") as file:
        file.write('{"prompt": "q"}\n')
    with pytest.raises(InputError, match=r"pairs.jsonl:7"):
        run(judge_command, "local", pairs, "--model", "./nowhere", "--store", tmp_path / "j.db")


@pytest.mark.real_data
def test_published_verdicts_come_in_and_are_held_against_people(real_data_dir, tmp_path):
    file, store = real_data_dir / "vicuna80.jsonl.gz", tmp_path / "j.db"
    told = run(judgments_command, "import", file, "--store", store)
    assert told.count(" new, 0 already") == 5
    assert "gpt4-732afd03: 0 new, 4,467 already" in run(
        judgments_command, "import", file, "--store", store, "--judge", "gpt4"
    )
    compared = run(judgments_command, "compare", file, "--store", store, "--judge", "gpt4", "--resamples", 50)
    assert ".680 [" in compared
    assert "Variance of verdicts" in compared


def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **options: object):
    monkeypatch.setenv("DISSENSUS_CACHE", str(tmp_path / "cache"))
    file = Path(__file__).parents[1] / "judge" / "stub_server.py"
    spec = importlib.util.spec_from_file_location("stub_server", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["stub_server"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module.StubServer(module.StubOptions(**options))


def asking(pairs: Path, store: Path, url: str, *more: object) -> list[object]:
    common = ["server", pairs, "--base-url", url, "--model", "stub", "--store", store, "--quiet", "--n", 2]
    return [*common, *more]


def test_replies_that_are_all_cut_are_an_error_that_names_the_option_once(pairs, tmp_path, monkeypatch):
    store = tmp_path / "j.db"
    with serving(tmp_path, monkeypatch, reasoning=300) as stub:
        arguments = [str(argument) for argument in asking(pairs, store, stub.url)]
        result = CliRunner().invoke(judge_command, arguments)
        assert isinstance(result.exception, JudgeError)
        assert "nothing was judged: none of the" in str(result.exception)
        assert "--max-tokens" not in str(result.exception)
        assert result.stdout.count("--max-tokens") == 1
        assert "replies ended at 16 tokens" in result.stdout
        told = run(judge_command, *asking(pairs, store, stub.url, "--max-tokens", 400))
        assert "--max-tokens" not in told
    listed = run(judgments_command, "list", "--store", store)
    assert "at most 16 tokens" in listed
    assert "at most 400 tokens" in listed


def test_what_is_refused_is_named_with_its_reason_and_is_no_error(tmp_path, monkeypatch):
    flagged = PAIRS[0].model_copy(update={"id": "flagged", "prompt": "something flagged"})
    write_records(tmp_path / "pairs.jsonl", [flagged, *PAIRS])
    pairs, store = tmp_path / "pairs.jsonl", tmp_path / "j.db"
    with serving(tmp_path, monkeypatch, flags="azure") as stub:
        told = run(judge_command, *asking(pairs, store, stub.url))
        assert "refused    2 by the server: flagged (status 400: the prompt was filtered)" in told
        again = run(judge_command, *asking(pairs, store, stub.url))
        assert "judgments  0 new, 12 already in" in again
        assert "2 of them in an earlier run (--ask-refused asks again)" in again
        once_more = run(judge_command, *asking(pairs, store, stub.url, "--ask-refused"))
        assert "in an earlier run" not in once_more
    assert "refused, 0 lost" in run(judgments_command, "list", "--store", store)


def test_a_sampling_that_cannot_be_had_names_the_option_to_change(pairs, tmp_path, monkeypatch):
    with serving(tmp_path, monkeypatch, takes="reasoning") as stub:
        with pytest.raises(JudgeError, match="takes no top_p but 1; give --top-p 1"):
            run(judge_command, *asking(pairs, tmp_path / "j.db", stub.url, "--max-tokens", 500))
        run(judge_command, *asking(pairs, tmp_path / "j.db", stub.url, "--max-tokens", 500, "--top-p", 1))
