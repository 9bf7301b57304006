"""Servers that others wrote, with their own habits: the probe tells the truth, and judgments come of them."""

from __future__ import annotations

import json
import math
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dissensus.errors import JudgeError
from dissensus.judges.job import AskingOptions
from dissensus.judges.language.choice_distribution import verdict_probabilities
from dissensus.judges.language.plan import LanguageJudge
from dissensus.judges.language.settings import ServerSettings
from dissensus.judges.local.transformers import LocalModel
from dissensus.judges.runner import ask_model
from dissensus.judges.server.capabilities import ServerProfile
from dissensus.judges.store.store import JudgmentStore
from dissensus.records import Pair

LAUNCHER = Path(__file__).resolve().parents[2] / "scripts" / "llama_server.py"
PAIRS = [Pair(id=f"p{i}", prompt=f"Is it {i}?", response_a="It is.", response_b=f"No, {i} is not.") for i in range(4)]
# One worker starts a server, and keeps what its probe found.
transformers_serve = pytest.mark.xdist_group("transformers_serve")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISSENSUS_CACHE", str(tmp_path_factory.getbasetemp() / "probes of real servers"))


def profile_of(server: Any, api: str = "chat") -> ServerProfile:
    return ServerSettings(base_url=server.base_url, model=server.model, api=api).probe()


def judge_with(server: Any, store: JudgmentStore, pairs: list[Pair] = PAIRS, **settings: Any) -> Any:
    judging = ServerSettings(base_url=server.base_url, model=server.model, **{"n": 4, **settings})
    backend, _ = judging.backend()
    judge = LanguageJudge(judging.language(), backend.identity)
    return judge, ask_model(pairs, judge, backend, store, AskingOptions(progress=False))


@transformers_serve
@pytest.mark.slow
def test_transformers_serve_ignores_n_and_log_probabilities_and_that_is_seen(transformers_server):
    profile = profile_of(transformers_server)
    assert (profile.several, profile.logprobs) == (False, 0)
    with pytest.raises(JudgeError, match="gives none; use --mode sample"):
        profile.check(exact=True)


@transformers_serve
@pytest.mark.slow
def test_transformers_serve_samples_as_it_is_told(transformers_server, tiny_judge, tmp_path):
    """Left to itself it is greedy where the model's folder asks for no sampling, and cuts off all but 50 tokens."""
    profile = profile_of(transformers_server)
    assert (profile.temperature, profile.top_p) == (True, True)
    with JudgmentStore(tmp_path / "j.db") as store:
        judge, summary = judge_with(transformers_server, store, n=20, temperature=2.0, top_p=1.0)
        judgments = list(store.judgments(judge=judge.name))
    assert (summary.tally.made, summary.tally.failed) == (80, 0)
    exact = LanguageJudge(judge.config.model_copy(update={"mode": "exact"}), judge.identity)
    expected = variance = 0.0
    asks = [ask for pair in PAIRS for ask in exact.asks(pair, set(exact.keys(pair)))]
    for outcome in LocalModel(str(tiny_judge), device="cpu").answer(asks, None):
        share = verdict_probabilities(outcome.distribution, temperature=2.0, top_p=1.0)
        expected += 10 * share.a
        variance += 10 * share.a * (1 - share.a)
    seen = sum(j.reply.startswith("Choice: A") for j in judgments)
    assert 0 < seen < len(judgments) == 80
    assert abs(seen - expected) < 4 * variance**0.5


def ask_llama(server: Any, **settings: Any) -> Any:
    """The choice that a reply which was begun gets, or what is said where the request is refused.

    Where half a character was drawn it has no log-probabilities, and is asked for again.
    """
    chat = [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "Choice:"}]
    body = {"messages": chat, "max_tokens": 1, "logprobs": True, "top_logprobs": 500, "top_p": 1.0, **settings}
    request = urllib.request.Request(f"{server.base_url}/chat/completions", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    try:
        for _ in range(20):
            with urllib.request.urlopen(request, timeout=60) as answer:
                (choice,) = json.load(answer)["choices"]
            if "logprobs" in choice:
                return choice
    except urllib.error.HTTPError as error:
        return json.load(error)["error"]["message"]
    raise AssertionError("no log-probabilities")


def told_by(choice: Any) -> dict[int, float]:
    """Log-probabilities (or probabilities after sampling steps) of the first token, by its number."""
    first = choice["logprobs"]["content"][0]
    return {one["id"]: one.get("logprob", one.get("prob")) for one in first.get("top_logprobs", first.get("top_probs"))}


@pytest.mark.llama_server
def test_llama_cpp_is_found_out_by_the_probe(llama_server):
    profile = profile_of(llama_server)
    assert (profile.several, profile.logprobs, profile.raw, profile.plan) == (False, 20, True, "greedy")
    assert (profile.temperature, profile.top_p, profile.prefill, profile.context) == (True, True, True, 2048)
    assert profile.neutral["samplers"] == ["temperature", "top_p"]
    assert "samplers temperature and then top_p" in profile.describe()
    completions = profile_of(llama_server, "completions")
    assert (completions.prefill, completions.raw, completions.logprobs) == (True, True, 20)


@pytest.mark.llama_server
def test_llama_cpp_tells_log_probabilities_before_all_sampling_steps(llama_server):
    plain = told_by(ask_llama(llama_server, temperature=1.0))
    for settings in ({"temperature": 0.0}, {"temperature": 3.0}, {"top_p": 0.1, "top_k": 2, "repeat_penalty": 2.0}):
        told = told_by(ask_llama(llama_server, **settings))
        assert told == pytest.approx(plain, abs=1e-4)
    assert sum(map(math.exp, plain.values())) == pytest.approx(1, abs=1e-6), "of as many tokens as one asks for"


@pytest.mark.llama_server
def test_llama_cpp_samples_with_temperature_before_top_p_as_it_is_sent(llama_server):
    """The distribution that it draws from, held against that of exact; in its own order top-p comes first."""
    neutral = profile_of(llama_server).neutral
    p = np.exp(np.array(list(told_by(ask_llama(llama_server)).values())) / 3.0)
    p = np.sort(p / p.sum())[::-1]
    kept = p[: int((np.cumsum(p) < 0.7).sum()) + 1]
    sampling = {"temperature": 3.0, "top_p": 0.7, "post_sampling_probs": True}
    drawn = [value for value in told_by(ask_llama(llama_server, **sampling, **neutral)).values() if value > 0]
    np.testing.assert_allclose(drawn, kept / kept.sum(), atol=1e-4)
    own = [value for value in told_by(ask_llama(llama_server, **sampling)).values() if value > 0]
    assert len(own) < len(drawn)


@pytest.mark.llama_server
def test_llama_cpp_goes_on_with_any_reply_that_was_begun_and_repeats_it(llama_server):
    """Flags or not: what comes back begins with what was sent, and log-probabilities are those of what is new."""
    told = []
    for flags in ({}, {"continue_final_message": False}, {"add_generation_prompt": False}):
        choice = ask_llama(llama_server, temperature=0.0, **flags)
        assert choice["message"]["content"].startswith("Choice: ")
        assert [step["token"] for step in choice["logprobs"]["content"]] in ([" A"], [" B"])
        told.append(told_by(choice))
    assert all(one == pytest.approx(told[0], abs=1e-4) for one in told)
    assert "1 <= value <= 1" in ask_llama(llama_server, n=2), "as many replies at once as --parallel"


@pytest.mark.llama_server
def test_probabilities_of_llama_cpp_agree_with_transformers(llama_server, tmp_path):
    """One model in two programs, through a server and in this process."""
    with JudgmentStore(tmp_path / "j.db") as store:
        judge, summary = judge_with(llama_server, store, mode="exact")
        assert (summary.mode, summary.tally.made) == ("exact", 8)
        served = {(r.pair_id, r.order): r.distribution for r in store.distributions(judge=judge.name)}
    local = LocalModel(str(llama_server.source), device="cpu")
    asks = [ask for pair in PAIRS for ask in judge.asks(pair, set(judge.keys(pair)))]
    for outcome in local.answer(asks, None):
        ours = verdict_probabilities(outcome.distribution, temperature=1.0, top_p=1.0)
        theirs = verdict_probabilities(served[outcome.ask.pair.id, outcome.ask.order], temperature=1.0, top_p=1.0)
        np.testing.assert_allclose([theirs.a, theirs.b], [ours.a, ours.b], atol=2e-3)


@pytest.mark.llama_server
def test_what_llama_cpp_cannot_serve_is_said_in_a_line(llama_python, tmp_path):
    (tmp_path / "bad.gguf").write_text("no model")
    for name, said in (("bad.gguf", "no model that it can read, or port 9 is taken"), ("none.gguf", "no such file")):
        command = [llama_python, str(LAUNCHER), str(tmp_path / name), "--port", "9"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.llama_server
def test_llama_cpp_names_a_prompt_that_is_too_long(llama_server, tmp_path):
    long = Pair(id="long", prompt="Why? " * 3000, response_a="Yes.", response_b="No.")
    with JudgmentStore(tmp_path / "j.db") as store:
        _, summary = judge_with(llama_server, store, [*PAIRS, long])
        assert (summary.tally.made, summary.tally.too_long) == (16, 4)
        assert summary.tally.too_long_pairs[0].startswith("long (")
        assert "2,048" in summary.tally.too_long_pairs[0]
