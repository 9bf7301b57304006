"""vLLM's interface (0.33), played by a stand-in on transformers: what it is asked, and what is made of its answers."""

import dataclasses
import hashlib
import importlib.machinery
import sys
import types

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from dissensus.errors import MissingDependencyError
from dissensus.judges.language.choice_distribution import verdict_probabilities
from dissensus.judges.language.messages import Ask, Sampling, TooLong
from dissensus.judges.language.prompt import load_template
from dissensus.judges.local.transformers import LocalModel
from dissensus.judges.local.vllm import VllmModel
from dissensus.records import Pair


@dataclasses.dataclass
class SamplingParams:
    """The fields of vllm.SamplingParams that are used, with its defaults."""

    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    max_tokens: int | None = 16
    logprobs: int | None = None
    detokenize: bool = True


@dataclasses.dataclass
class Logprob:
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


class LLM:
    """Writes token by token with transformers; log-probabilities are raw, as vLLM's are."""

    made: list["LLM"] = []  # noqa: RUF012

    def __init__(self, model, *, revision, dtype, generation_config, logprobs_mode, enable_prefix_caching, **settings):
        assert (generation_config, logprobs_mode, enable_prefix_caching) == ("vllm", "raw_logprobs", True)
        self.model = AutoModelForCausalLM.from_pretrained(model).eval()
        self.model_config = types.SimpleNamespace(dtype=torch.float32)
        self.asked: list[SamplingParams] = []
        LLM.made.append(self)

    def generate(self, prompts, sampling_params=None, *, use_tqdm=True):
        assert use_tqdm is False
        self.asked += sampling_params
        return [self._write(p["prompt_token_ids"], s) for p, s in zip(prompts, sampling_params, strict=True)]

    def _write(self, ids, params):
        generator = np.random.default_rng(params.seed)
        written, seen = [], []
        while len(written) < params.max_tokens and self.model.generation_config.eos_token_id not in written:
            with torch.no_grad():
                raw = self.model(torch.tensor([[*ids, *written]])).logits[0, -1].double().log_softmax(-1)
            token = int(raw.argmax()) if params.temperature == 0 else self._draw(raw, params, generator)
            best = raw.topk(params.logprobs or 1).indices.tolist()
            seen.append({t: Logprob(float(raw[t]), rank) for rank, t in enumerate(dict.fromkeys([token, *best]), 1)})
            written.append(token)
        logprobs = seen if params.logprobs is not None else None
        ended = "stop" if self.model.generation_config.eos_token_id in written else "length"
        output = types.SimpleNamespace(token_ids=written, logprobs=logprobs, finish_reason=ended)
        return types.SimpleNamespace(outputs=[output])

    def _draw(self, raw, params, generator):
        scaled = (raw / params.temperature).softmax(-1)
        order = scaled.argsort(descending=True)
        kept = order[: int((scaled[order].cumsum(0) < params.top_p).sum()) + 1]
        return int(generator.choice(kept.numpy(), p=(scaled[kept] / scaled[kept].sum()).numpy()))


@pytest.fixture
def vllm(monkeypatch):
    module = types.ModuleType("vllm")
    module.__spec__ = importlib.machinery.ModuleSpec("vllm", None)
    module.LLM, module.SamplingParams = LLM, SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", module)
    LLM.made.clear()
    return LLM


def asks(samples=()):
    made = []
    for i in range(4):
        pair = Pair(id=f"p{i}", prompt="Why?", response_a="since " * (i + 1), response_b=f"it is {i}")
        for order in ("ab", "ba"):
            text = load_template("paper").render(pair, order)
            key = hashlib.blake2b(text.encode(), digest_size=16).digest()
            made.append(Ask(key=key, pair=pair, order=order, prompt=text, samples=tuple(samples)))
    return made


def test_readings_are_those_of_the_local_backend(vllm, tiny_judge):
    read = LocalModel(str(tiny_judge), device="cpu").answer(asks(), None)
    local = {answer.ask.key: answer.distribution for answer in read}
    model = VllmModel(str(tiny_judge))
    for answer in model.answer(asks(), None):
        ours, theirs = answer.distribution, local[answer.ask.key]
        assert ours.tokens.tolist() == theirs.tokens[:20].tolist()
        assert ours.verdicts == theirs.verdicts[:20]
        assert np.abs(np.exp(ours.logprobs) - np.exp(theirs.logprobs[:20])).max() < 1e-5
        assert ours.forced == pytest.approx(theirs.forced, abs=1e-5)
        assert (ours.top, ours.vocabulary, ours.labels_complete) == (20, theirs.vocabulary, False)
        assert verdict_probabilities(ours, temperature=1.0, top_p=0.9).error == 0
    assert all(params.temperature == 0 and params.logprobs == 20 for params in vllm.made[0].asked)


def test_a_model_that_chats_first_is_led_to_the_prefix_and_not_certified(vllm, chatty_judge):
    for answer in VllmModel(str(chatty_judge)).answer(asks()[:2], None):
        assert answer.distribution.forced == 0
        assert answer.distribution.verdicts[:2] == "AB"


def test_replies_depend_on_the_seed_the_ask_and_their_number_alone(vllm, tiny_judge):
    sampling = Sampling(temperature=1.2, top_p=0.95, seed=3, max_tokens=5)
    model = VllmModel(str(tiny_judge))
    whole = {answer.ask.key: answer for answer in model.answer(asks(range(4))[:4], sampling)}
    for ask in asks((2, 3))[:4]:
        (part,) = model.answer([ask], sampling)
        assert part.replies == whole[ask.key].replies[2:]
        assert whole[ask.key].usage.completion_tokens == 4 * 4
    replies = [reply for answer in whole.values() for reply in answer.replies]
    assert set(replies) == {"Choice: A", "Choice: B"}
    sent = vllm.made[0].asked
    assert {(p.n, p.temperature, p.top_p, p.top_k, p.min_p, p.repetition_penalty) for p in sent} == {
        (1, 1.2, 0.95, 0, 0.0, 1.0)
    }
    assert len({p.seed for p in sent}) == 4 * 4


def test_a_prompt_over_the_context_is_named(vllm, tiny_judge):
    (outcome,) = VllmModel(str(tiny_judge), max_model_len=20).answer(asks()[:1], None)
    assert isinstance(outcome, TooLong)
    assert outcome.limit == 20 < outcome.tokens


def test_without_vllm_the_extra_is_named(tiny_judge, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'dissensus\[vllm\]'"):
        VllmModel(str(tiny_judge))
