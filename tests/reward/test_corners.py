"""Corners in which reward trainers go wrong without a word."""

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

from dissensus.errors import InputError, TrainingError
from dissensus.records import Pair
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.text.backbone import load_backbone
from dissensus.reward.text.encode import Encoding
from dissensus.reward.training.run import train
from dissensus.reward.training.trainer import PairTrainer

from .tiny_config import log_of, tiny_config

WORDS = ["the", "a", "good", "bad", "answer", "question", "why", "how", "long", "short"]
_config = functools.partial(tiny_config, epochs=1, learning_rate=1e-3, logging_steps=1)
both_backbones = pytest.mark.parametrize("backbone", ["tiny_bert", "tiny_llama"])


def _retokenized(backbone: Path, folder: Path, **changes: Any) -> Path:
    """Copy a backbone with other settings of its tokenizer."""
    shutil.copytree(backbone, folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))
    return folder


def _agree_alone_and_together(folder: Path, pairs: list[Pair]) -> None:
    model = RewardModel.load(folder)
    texts = [(pair.prompt, response) for pair in pairs[:8] for response in (pair.response_a, pair.response_b)]
    alone = [model.rewards([text])[0] for text in texts]
    np.testing.assert_allclose(model.rewards(texts), alone, atol=1e-5)
    assert len(set(np.round(alone, 5))) > 3


@pytest.mark.parametrize("changes", [{"pad_token": "</s>"}, {"pad_token": None, "eos_token": None}])
def test_padding_that_is_the_end_of_text_or_the_unknown_token(tiny_llama, pairs, tmp_path, changes):
    backbone = _retokenized(tiny_llama, tmp_path / "b", **changes)
    train(pairs, _config(backbone), tmp_path / "m", progress=False)
    _agree_alone_and_together(tmp_path / "m", pairs)


def test_the_end_of_text_token_as_padding_is_no_token_to_read_a_reward_from(tiny_llama: Path, tmp_path: Path):
    backbone = _retokenized(tiny_llama, tmp_path / "b", pad_token="</s>")
    model = RewardModel.load(backbone)
    [text] = model.encoding.encode([("why", "good")])
    assert text.input_ids[-1] != model.tokenizer.pad_token_id
    theirs = AutoModelForSequenceClassification.from_pretrained(backbone, pad_token_id=model.tokenizer.pad_token_id)
    whole = torch.tensor([[*text.input_ids, model.tokenizer.eos_token_id]])
    assert model.rewards([("why", "good")])[0] == pytest.approx(theirs.eval()(whole).logits.item(), abs=1e-6)


@both_backbones
def test_a_tokenizer_that_pads_on_the_left(backbone, request, pairs, tmp_path):
    folder = request.getfixturevalue(backbone)
    left = _retokenized(folder, tmp_path / "left", padding_side="left")
    texts = [(pair.prompt, pair.response_a) for pair in pairs]
    np.testing.assert_array_equal(RewardModel.load(left).rewards(texts), RewardModel.load(folder).rewards(texts))


def test_a_tokenizer_with_nothing_to_pad_with_is_refused(tiny_llama: Path, tmp_path: Path):
    backbone = _retokenized(tiny_llama, tmp_path / "b", pad_token=None, eos_token=None, unk_token=None)
    with pytest.raises(InputError, match="neither a padding nor an unknown nor an end-of-text token"):
        load_backbone(str(backbone), new_head=False)


@pytest.mark.parametrize("template", [None, "<s>{% for m in messages %} {{ m['content'] }} </s>{% endfor %}"])
def test_one_begin_of_text_token(template: str | None):
    """A tokenizer that begins every text with <s>, also the second of a pair, as Llama's does."""
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<unk>", "<s>", "</s>", *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 2)]
    )
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=template, **names)
    [text] = Encoding(tokenizer, 32).encode([("why", "good answer")])
    assert text.input_ids.count(tokenizer.bos_token_id) == 1
    assert text.input_ids[0] == tokenizer.bos_token_id
    assert text.input_ids[-1] == tokenizer.eos_token_id


def test_a_tokenizer_that_loses_line_breaks_is_told(tiny_bert, pairs, tmp_path, capfd):
    """DeBERTa-v3's tokenizer reads every run of white space as one space."""
    broken = [pairs[0].model_copy(update={"prompt": "why\n\nhow"}), *pairs[1:]]
    train(broken, _config(tiny_bert), tmp_path / "m", progress=False)
    assert "reads line breaks as spaces" in capfd.readouterr().err
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "\n", " ", *"ab"])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    for normalizer, loses in ((None, False), (normalizers.Replace("\n", " "), True)):
        if normalizer:
            backend.normalizer = normalizer
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")
        assert Encoding(tokenizer, 32).loses_newlines() == loses


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@both_backbones
def test_a_half_precision_checkpoint(backbone, dtype, request, pairs, tmp_path):
    folder = request.getfixturevalue(backbone)
    half = AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype)
    half.save_pretrained(tmp_path / "half")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "half")
    train(pairs, _config(tmp_path / "half", precision="bf16"), tmp_path / "m", progress=False)
    model = RewardModel.load(tmp_path / "m")
    assert {parameter.dtype for parameter in model.model.parameters()} == {torch.float32}
    assert np.isfinite(model.rewards([(pair.prompt, pair.response_a) for pair in pairs])).all()


def test_identical_responses_are_predicted_even(tiny_bert: Path, pairs: list[Pair], tmp_path: Path):
    same = [pair.model_copy(update={"response_b": pair.response_a}) for pair in pairs]
    train(same, _config(tiny_bert), tmp_path / "m", progress=False)
    assert {row.preference_a for row in RewardModel.load(tmp_path / "m").predict(same, name="m")} == {0.5}
    # Nothing can be learnt from them: every gradient is zero, and decay alone moves the weights.
    assert log_of(tmp_path / "m")[0]["nll"] == pytest.approx(np.log(2))


@both_backbones
def test_responses_of_one_token_prompts_longer_than_the_window_and_a_last_batch_of_one_pair(
    backbone, request, pairs, tmp_path
):
    short = [
        pair.model_copy(update={"prompt": "why how " * 40, "response_a": "good", "response_b": WORDS[i % 10]})
        for i, pair in enumerate(pairs[:17])
    ]
    summary = train(short, _config(request.getfixturevalue(backbone)), tmp_path / "m", progress=False)
    assert summary.texts_truncated == summary.texts
    assert summary.steps == 3
    assert all(np.isfinite(row["loss"]) for row in log_of(tmp_path / "m"))
    model = RewardModel.load(tmp_path / "m")
    encoded = model.encoding.encode([(short[0].prompt, "good")])
    assert encoded.lengths.tolist() == [32]
    assert model.tokenizer.convert_tokens_to_ids("good") in encoded[0].input_ids
    _agree_alone_and_together(tmp_path / "m", short)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_an_overflow_names_its_pairs_and_keeps_the_checkpoint_before(tiny_bert, pairs, tmp_path, monkeypatch, where):
    config = _config(tiny_bert, logging_steps=2, checkpoint_steps=2, epochs=2)
    served: list[list[str]] = []
    inner = PairTrainer.training_step

    def overflows(self: PairTrainer, model: Any, inputs: Any, *args: Any) -> Any:
        served.append([pairs[i].id for i in inputs["indices"]])
        loss = inner(self, model, inputs, *args)
        if len(served) == 5 and where == "gradient":
            next(model.parameters()).grad[0, 0] = float("inf")
        if len(served) == 5 and where == "loss":
            loss = loss * float("inf")
            self._steps[-1] = (loss, inputs["indices"])
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(PairTrainer, "training_step", overflows)
        with pytest.raises(TrainingError, match="at step 5") as error:
            train(pairs, config, tmp_path / "m", progress=False)
    assert ", ".join(served[4][:3]) + " and 5 more" in str(error.value)
    [checkpoint] = (tmp_path / "m.part").glob("checkpoint-*")
    assert checkpoint.name == "checkpoint-4"
    assert train(pairs, config, tmp_path / "m", progress=False).resumed_from == 4
