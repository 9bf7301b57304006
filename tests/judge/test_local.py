"""A model in this process reads and writes as it does by itself, whatever shares its batches."""

import dataclasses
import functools
import hashlib
import inspect
import json
import shutil

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import AutoModelForCausalLM, AutoTokenizer, MambaConfig, MambaForCausalLM

from dissensus.errors import JudgeError
from dissensus.judges.language.choice_distribution import verdict_probabilities
from dissensus.judges.language.messages import Answer, Ask, Sampling, TooLong
from dissensus.judges.language.prompt import PREFIX, load_template
from dissensus.judges.language.verdict import parse_choice, parse_verdict
from dissensus.judges.local.transformers import LocalModel
from dissensus.records import Pair

WORDS = ["the", "sky", "is", "blue", "since", "air", "scatters", "short", "waves", "more", "than", "long", "ones", "do"]


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


@functools.cache
def alone(folder, prompt):
    """Log-probabilities behind each token, by the library alone: one prompt, no cache, no padding."""
    model, tokenizer = loaded(folder)
    if tokenizer.chat_template:
        chat = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    else:
        text = tokenizer.bos_token + prompt + "\n\n" if tokenizer.add_bos_token else prompt + "\n\n"
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
    answers = {"<|assistant|>": {"Choice": 25.0}, "Choice": {":": 25.0}, ":": {" A": 16.0, " B": 16.0}}
    settings = {"architecture": request.param, "follows": answers, **ARCHITECTURES[request.param]}
    return make_judge(tmp_path_factory.mktemp(request.param), **settings)


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
        reading = answers[ask.key].distribution
        expected, ids = alone(folder, ask.prompt)
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
    reading = answer.distribution
    expected, _ = alone(tiny_judge, answer.ask.prompt)
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


def test_layers_spread_over_all_devices_read_the_same(tiny_judge):
    one, spread = (LocalModel(str(tiny_judge), device=device).answer(asks(2), None) for device in ("cpu", "auto"))
    spread = by_key(spread)
    for answer in one:
        assert np.abs(answer.distribution.logprobs - spread[answer.ask.key].distribution.logprobs).max() < 1e-4


def test_common_beginnings_are_read_once(tiny_judge, monkeypatch):
    read = []
    for share in (True, False):
        model = LocalModel(str(tiny_judge), device="cpu", share=share)
        forward = type(model._reader).read

        def spy(reader, rows, *, forward=forward, **settings):
            read[-1] += sum(map(len, rows))
            return forward(reader, rows, **settings)

        read.append(0)
        monkeypatch.setattr(type(model._reader), "read", spy)
        list(model.answer(asks(), None))
        monkeypatch.undo()
    begins = load_template("paper").text.split("{prompt}")[0]
    instructions = len(AutoTokenizer.from_pretrained(tiny_judge)(begins).input_ids)
    assert read[0] < read[1] - (len(asks()) - 1) * instructions


SETTINGS = [
    Sampling(temperature=1.0, top_p=0.75, max_tokens=3),
    Sampling(temperature=1.5, top_p=0.8, max_tokens=3, seed=1),
]
DRAWS = 3000
MIXED = {
    "<|assistant|>": {"Choice": 25.0},
    "Choice": {":": 25.0},
    ":": {" A": 16.0, " B": 15.2, " the": 14.9, " is": 13.9, " or": 13.8, " to": 13.7, " in": 13.6},
}


@pytest.fixture(scope="module")
def mixed_judge(make_judge, tmp_path_factory):
    """Its prefix is forced, and A, B and a word that names no winner are all probable behind it."""
    return make_judge(tmp_path_factory.mktemp("mixed"), follows=MIXED, spread=0.0)


@pytest.mark.parametrize("sampling", SETTINGS, ids=lambda s: f"T={s.temperature}-p={s.top_p}")
def test_votes_from_a_reading_are_distributed_as_sampled_replies(mixed_judge, sampling):
    model = LocalModel(str(mixed_judge), device="cpu")
    ask = dataclasses.replace(asks(1)[1], prompt="Which is better?")
    (exact,) = model.answer([ask], None)
    assert exact.distribution.is_forced(temperature=sampling.temperature, top_p=sampling.top_p)
    p = verdict_probabilities(exact.distribution, temperature=sampling.temperature, top_p=sampling.top_p)
    assert p.error == 0
    (sampled,) = model.answer([dataclasses.replace(ask, samples=tuple(range(DRAWS)))], sampling)
    ours, library = counts(sampled.replies, ask.order), counts(generated(mixed_judge, ask, sampling), ask.order)
    # In order ba what is shown as B is the pair's a.
    expected = np.array([p.b, p.a, p.none])
    assert chi_squared(ours, expected) > 1e-3
    assert chi_squared(library, expected) > 1e-3
    raw = verdict_probabilities(exact.distribution, temperature=1.0, top_p=1.0)
    labels = np.array([raw.b, raw.a]) / (raw.a + raw.b)
    for wrong in ([raw.b, raw.a, raw.none], [*labels, 0.0]):
        # Without top-p or temperature; top-p over A and B first. Both keep the two labels, and lose "no winner".
        assert chi_squared(ours, np.array(wrong)) < 1e-6
        assert chi_squared(library, np.array(wrong)) < 1e-6


def counts(replies, order):
    choices = [parse_choice(reply, order=order) for reply in replies]
    return np.array([choices.count(choice) for choice in ("a", "b", None)])


def chi_squared(counts, expected):
    possible = expected > 1e-12
    if counts[~possible].any():
        return 0.0
    return float(stats.chisquare(counts[possible], expected[possible] / expected.sum() * counts.sum()).pvalue)


def generated(folder, ask, sampling):
    """Replies by the library's own sampling."""
    model, tokenizer = loaded(folder)
    chat = [{"role": "user", "content": ask.prompt}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    torch.manual_seed(1)
    written = model.generate(
        **ids,
        do_sample=True,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=0,
        max_new_tokens=sampling.max_tokens,
        num_return_sequences=DRAWS,
    )
    return tokenizer.batch_decode(written[:, ids["input_ids"].shape[1] :], skip_special_tokens=True)


def test_a_recurrent_model_reads_and_writes_each_prompt_by_itself(tmp_path, tiny_judge):
    tokenizer = AutoTokenizer.from_pretrained(tiny_judge)
    config = MambaConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, state_size=8, eos_token_id=2)
    torch.manual_seed(0)
    MambaForCausalLM(config).save_pretrained(tmp_path / "mamba")
    tokenizer.save_pretrained(tmp_path / "mamba")
    model = LocalModel(str(tmp_path / "mamba"), device="cpu")
    for answer in model.answer(asks(2), None):
        expected, _ = alone(tmp_path / "mamba", answer.ask.prompt)
        assert np.abs(answer.distribution.logprobs - expected[-1][answer.distribution.tokens].numpy()).max() < 1e-4
    sampling = Sampling(max_tokens=3)
    whole, part = (by_key(model.answer(asks(2, samples=numbers), sampling)) for numbers in (range(4), (1, 3)))
    assert all(part[key].replies == answer.replies[1::2] for key, answer in whole.items())


def test_a_prefix_that_is_not_sure_is_certified_at_its_probability_and_one_that_is_unlikely_not_at_all(
    chatty_judge, make_judge, tmp_path
):
    often = {"<|assistant|>": {"Choice": 18.0, " the": 16.0}, "Choice": {":": 25.0}, ":": {" A": 16.0, " B": 16.0}}
    likely = make_judge(tmp_path, follows=often, spread=0.0)
    for folder, forced, top_p in ((likely, 1 / (1 + np.exp(-2)), 0.99), (chatty_judge, 0.0, 0.5)):
        for answer in LocalModel(str(folder), device="cpu").answer(asks(2), None):
            assert answer.distribution.forced == pytest.approx(forced, abs=0.1 if forced else 0.0)
            assert not answer.distribution.is_forced(temperature=1.0, top_p=top_p)


def test_replies_do_not_depend_on_what_is_sampled_beside_them(tiny_judge):
    sampling = Sampling(temperature=2.0, top_p=1.0, seed=3, max_tokens=5)
    asked = asks(samples=range(4))
    together = by_key(LocalModel(str(tiny_judge), device="cpu").answer(asked, sampling))
    model = LocalModel(str(tiny_judge), device="cpu", tokens_per_batch=1, share=False)
    for ask in asked:
        (whole,) = model.answer([ask], sampling)
        (part,) = model.answer([dataclasses.replace(ask, samples=(2, 3))], sampling)
        assert together[ask.key].replies == whole.replies
        assert part.replies == whole.replies[2:]
    assert len({reply for answer in together.values() for reply in answer.replies}) > 2
    (other,) = model.answer([asked[0]], dataclasses.replace(sampling, seed=4))
    assert other.replies != together[asked[0].key].replies


def test_defaults_of_the_model_do_not_leak_into_sampling(tiny_judge, tmp_path):
    folder = shutil.copytree(tiny_judge, tmp_path / "model")
    defaults = {"do_sample": True, "temperature": 0.05, "top_p": 0.1, "top_k": 1, "repetition_penalty": 5.0}
    more = {"min_new_tokens": 12, "suppress_tokens": [5], "bad_words_ids": [[6]], "no_repeat_ngram_size": 1}
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | defaults | more))
    sampling = Sampling(temperature=1.0, top_p=1.0)
    asked = asks(2, samples=range(20))
    plain, changed = (by_key(LocalModel(str(f), device="cpu").answer(asked, sampling)) for f in (tiny_judge, folder))
    assert {key: answer.replies for key, answer in plain.items()} == {k: a.replies for k, a in changed.items()}


def test_all_end_of_text_tokens_of_the_model_end_a_reply(tiny_judge, tmp_path):
    folder = shutil.copytree(tiny_judge, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    path = folder / "generation_config.json"
    stops = [tokenizer.eos_token_id, *tokenizer(" A", add_special_tokens=False)["input_ids"]]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": stops}))
    for answer in LocalModel(str(folder), device="cpu").answer(asks(2, samples=range(5)), Sampling()):
        assert all(reply in ("Choice: A", "Choice: B") for reply in answer.replies)
        assert answer.usage.completion_tokens == sum(3 if reply.endswith("A") else 4 for reply in answer.replies)


def test_a_prompt_over_the_context_is_named_and_not_cut(tiny_judge, tmp_path):
    asked = asks(1)
    (fits,) = LocalModel(str(tiny_judge), device="cpu").answer(asked[:1], None)
    need = fits.usage.prompt_tokens
    config = shutil.copytree(tiny_judge, tmp_path / "short") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": need}))
    exact = LocalModel(str(config.parent), device="cpu")
    assert exact.context == need
    assert isinstance(next(exact.answer(asked[:1], None)), Answer)
    longer = dataclasses.replace(asked[0], prompt=asked[0].prompt + " the")
    assert list(exact.answer([longer], None)) == [TooLong(longer, need + 1, need)]
    wants_more = dataclasses.replace(asked[0], samples=(0,))
    assert list(exact.answer([wants_more], Sampling(max_tokens=3))) == [TooLong(wants_more, need + 1, need)]


@pytest.mark.parametrize("sampling", [None, Sampling(max_tokens=4)])
def test_weights_that_are_no_numbers_give_no_votes(tiny_judge, sampling):
    judge = LocalModel(str(tiny_judge), device="cpu")
    torch.nn.init.constant_(judge._loaded.model.get_output_embeddings().weight, torch.nan)
    with pytest.raises(JudgeError, match="probabilities are not numbers"):
        list(judge.answer(asks(1, samples=[0]), sampling))


def test_the_tokenizer_of_another_model_is_told(tiny_judge):
    judge = LocalModel(str(tiny_judge), device="cpu")
    judge._loaded.model.resize_token_embeddings(60)
    with pytest.raises(JudgeError, match="table of embeddings has 60 rows; give the model's own tokenizer"):
        list(judge.answer(asks(1), None))


def test_when_memory_runs_out_the_batch_is_halved_and_nothing_is_lost(tiny_judge, monkeypatch):
    model = LocalModel(str(tiny_judge), device="cpu", share=False)
    forward = model._loaded.model.forward

    def small_memory(*args, **settings):
        if settings["input_ids"].numel() > 400:
            raise torch.OutOfMemoryError("out of memory")
        return forward(*args, **settings)

    expected = by_key(model.answer(asks(), None))
    monkeypatch.setattr(model._loaded.model, "forward", small_memory)
    model._reader._accepts = set(inspect.signature(forward).parameters)
    found = by_key(model.answer(asks(), None))
    assert found.keys() == expected.keys()
    assert model.tokens_per_batch <= 600
    with pytest.raises(JudgeError, match=r"a prompt of \d+ tokens does not fit"):
        list(model.answer([dataclasses.replace(asks(1)[0], prompt="the " * 500)], None))
