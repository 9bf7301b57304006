"""A model in this process reads and writes as it does by itself, whatever shares its batches."""

import dataclasses
import functools
import hashlib

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from dissensus.errors import InputError, JudgeError
from dissensus.judge.ask import Answer, Ask, Sampling, TooLong
from dissensus.judge.local import LocalModel
from dissensus.judge.prompt import PREFIX, load_template
from dissensus.judge.reading import verdict_probabilities
from dissensus.judge.verdict import parse_choice, parse_verdict
from dissensus.records import Pair

WORDS = "the sky is blue since air scatters short waves more than long ones do".split()


def asks(count=6, *, samples=(), template="paper"):
    """Both orders of pairs with answers of many lengths; two pairs to a prompt."""
    rng = np.random.default_rng(0)
    made = []
    for i in range(count):
        first, second = (" ".join(rng.choice(WORDS, rng.integers(1, 20))) for _ in range(2))
        prompt = f"Why is the sky blue, asked number {i // 2}" + " again" * (i // 2) + "?"
        pair = Pair(id=f"p{i}", prompt=prompt, response_a=first, response_b=second)
        for order in ("ab", "ba"):
            text = load_template(template).render(pair, order)
            key = hashlib.blake2b(text.encode(), digest_size=16).digest()
            made.append(Ask(key=key, pair=pair, order=order, prompt=text, samples=tuple(samples)))
    return made


def by_key(outcomes):
    return {outcome.ask.key: outcome for outcome in outcomes}


@functools.cache
def loaded(folder):
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def alone(folder, ask):
    """Log-probabilities behind each token, by the library alone: one prompt, no cache, no padding."""
    model, tokenizer = loaded(folder)
    if tokenizer.chat_template:
        chat = [{"role": "user", "content": ask.prompt}]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    else:
        text = tokenizer.bos_token + ask.prompt + "\n\n" if tokenizer.add_bos_token else ask.prompt + "\n\n"
    ids = tokenizer(text + PREFIX, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return model(ids).logits[0].double().log_softmax(-1), ids[0]


ARCHITECTURES = {
    "llama": {},
    "gpt_neox": {"chat": False},
    "gemma2": {"head_dim": 32, "sliding_window": 4096, "final_logit_softcapping": 5.0},
    "mistral": {"sliding_window": 64},
}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request, make_judge, tmp_path_factory):
    return make_judge(
        tmp_path_factory.mktemp(request.param), architecture=request.param, **ARCHITECTURES[request.param]
    )


@pytest.mark.parametrize(
    "settings",
    [{}, {"share": False}, {"tokens_per_batch": 1}, {"tokens_per_batch": 700}],
    ids=["shared", "padded", "one by one", "small batches"],
)
def test_readings_are_those_of_each_prompt_read_alone(folder, settings):
    model = LocalModel(str(folder), dtype="float32", device="cpu", **settings)
    asked = asks()
    answers = by_key(model.answer(asked, None))
    assert len(answers) == len(asked)
    for ask in asked:
        reading = answers[ask.key].reading
        expected, ids = alone(folder, ask)
        wanted = expected[-1][reading.tokens].numpy()
        assert np.abs(np.exp(reading.logprobs) - np.exp(wanted)).max() < 1e-5
        assert np.abs(reading.logprobs - wanted).max() < 1e-4
        steps = [float(expected[place - 1, ids[place]].exp()) for place in (-2, -1)]
        greedy = all(int(expected[place - 1].argmax()) == int(ids[place]) for place in (-2, -1))
        assert reading.forced == pytest.approx(min(steps) if greedy else 0.0, abs=1e-5)


def test_a_reading_holds_the_top_tokens_and_every_token_that_names_a_verdict(tiny_judge):
    model = LocalModel(str(tiny_judge), device="cpu")
    tokenizer = AutoTokenizer.from_pretrained(tiny_judge)
    (answer,) = model.answer(asks()[:1], None)
    reading = answer.reading
    expected, _ = alone(tiny_judge, answer.ask)
    order = expected[-1].argsort(descending=True)
    assert reading.tokens[: reading.top].tolist() == order[: reading.top].tolist()
    assert reading.top >= 20
    assert np.exp(reading.logprobs[: reading.top]).sum() >= 1 - 1e-4 - 1e-6
    assert reading.vocabulary == expected.shape[-1]
    named = {token: parse_verdict(PREFIX + tokenizer.decode(token)) for token in range(len(tokenizer))}
    listed = dict(zip(reading.tokens.tolist(), reading.verdicts, strict=True))
    assert {token: verdict for token, verdict in named.items() if verdict} == {
        token: verdict for token, verdict in listed.items() if verdict != "-"
    }
    assert len(listed) == len(reading.tokens)


def test_the_tiny_judge_answers_as_a_judge_does(tiny_judge):
    model = LocalModel(str(tiny_judge), device="cpu")
    for answer in model.answer(asks(samples=range(3)), Sampling(max_tokens=8)):
        assert set(answer.replies) <= {"Choice: A", "Choice: B"}
        assert answer.usage.completion_tokens == 4 * 3
    for answer in model.answer(asks(), None):
        assert answer.reading.is_forced(temperature=1.0, top_p=0.9)
