"""Servers that others wrote, with their own habits: the probe tells the truth, and judgments come of them."""

from __future__ import annotations

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


@pytest.mark.llama_server
def test_llama_cpp_python_gives_raw_log_probabilities_and_ignores_n_and_prefill(llama_server):
    profile = profile_of(llama_server)
    assert (profile.several, profile.prefill, profile.raw, profile.plan) == (False, False, True, "greedy")
    assert profile.neutral == {"top_k": 0, "repeat_penalty": 1.0, "min_p": 0.0}
    assert (profile.temperature, profile.top_p) == (True, True)
    completions = profile_of(llama_server, "completions")
    assert (completions.prefill, completions.raw, completions.logprobs) == (True, True, 20)


@pytest.mark.llama_server
def test_readings_of_llama_cpp_python_agree_with_transformers(llama_server, tmp_path):
    """One model in two programs, through a server and in this process."""
    with JudgmentStore(tmp_path / "j.db") as store:
        judge, summary = judge_with(llama_server, store, mode="exact")
        assert (summary.mode, summary.tally.made) == ("exact", 8)
        served = {(r.pair_id, r.order): r.distribution for r in store.distributions(judge=judge.name)}
    local = LocalModel(str(Path(llama_server.model).parent / "model"), device="cpu")
    asks = [ask for pair in PAIRS for ask in judge.asks(pair, set(judge.keys(pair)))]
    for outcome in local.answer(asks, None):
        ours = verdict_probabilities(outcome.distribution, temperature=1.0, top_p=1.0)
        theirs = verdict_probabilities(served[outcome.ask.pair.id, outcome.ask.order], temperature=1.0, top_p=1.0)
        np.testing.assert_allclose([theirs.a, theirs.b], [ours.a, ours.b], atol=2e-3)


@pytest.mark.llama_server
def test_llama_cpp_python_names_a_prompt_that_is_too_long(llama_server, tmp_path):
    long = Pair(id="long", prompt="Why? " * 3000, response_a="Yes.", response_b="No.")
    with JudgmentStore(tmp_path / "j.db") as store:
        _, summary = judge_with(llama_server, store, [*PAIRS, long])
        assert (summary.tally.made, summary.tally.too_long) == (16, 4)
        assert summary.tally.too_long_pairs[0].startswith("long (")
        assert "2,048" in summary.tally.too_long_pairs[0]
