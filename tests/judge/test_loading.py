"""Which model it is, and what cannot be one."""

import json
import shutil

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from dissensus.errors import InputError
from dissensus.judges.local.load import context_of
from dissensus.judges.local.transformers import LocalModel


def load(folder, **settings):
    return LocalModel(str(folder), device="cpu", **settings)


def test_a_model_that_is_copied_or_moved_is_the_same(tiny_judge, tmp_path):
    copy = shutil.copytree(tiny_judge, tmp_path / "elsewhere")
    (copy / "README.md").write_text("notes")
    assert load(copy).identity == load(tiny_judge).identity
    assert str(tmp_path) not in json.dumps(load(copy).identity)


@pytest.mark.parametrize("change", ["weights", "config", "tokenizer", "template"])
def test_whatever_decides_the_answers_is_part_of_the_identity(tiny_judge, make_judge, tmp_path, change):
    copy = shutil.copytree(tiny_judge, tmp_path / "copy")
    if change == "weights":
        other = make_judge(tmp_path / "other", seed=5)
        shutil.copy(other / "model.safetensors", copy)
    elif change == "config":
        (copy / "config.json").write_text((copy / "config.json").read_text().replace("1e-06", "1e-05"))
    elif change == "tokenizer":
        tokenizer = AutoTokenizer.from_pretrained(copy)
        tokenizer.add_tokens(["better"])
        tokenizer.save_pretrained(copy)
    else:
        template = copy / "chat_template.jinja"
        template.write_text("Judge!" + template.read_text())
    assert load(copy).identity != load(tiny_judge).identity


def test_precision_is_part_of_the_identity(tiny_judge):
    assert load(tiny_judge).identity["dtype"] == "float32"
    assert load(tiny_judge, dtype="bfloat16").identity["dtype"] == "bfloat16"


@pytest.mark.parametrize("saved", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("native", [True, False])
def test_what_a_processor_emulates_is_computed_in_float32(tiny_judge, tmp_path, monkeypatch, capsys, saved, native):
    folder = shutil.copytree(tiny_judge, tmp_path / "half")
    AutoModelForCausalLM.from_pretrained(tiny_judge, dtype=saved).save_pretrained(folder)
    monkeypatch.setattr("dissensus.judges.local.load.has_bfloat16", lambda device: native)
    assert load(folder).identity["dtype"] == (str(saved).removeprefix("torch.") if native else "float32")
    assert ("emulates" in capsys.readouterr().err) == (not native)
    assert load(folder, dtype="bfloat16").identity["dtype"] == "bfloat16", "what was asked for stands"


def test_the_context_is_the_tighter_of_model_and_tokenizer(tiny_judge):
    config, tokenizer = AutoConfig.from_pretrained(tiny_judge), AutoTokenizer.from_pretrained(tiny_judge)
    assert context_of(config, tokenizer) == 8192
    tokenizer.model_max_length = 4096
    assert context_of(config, tokenizer) == 4096
    assert load(tiny_judge).context == 8192


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(InputError, match=r"--model .*nowhere: no such model: .* give a folder"):
        load(tmp_path / "nowhere")


def test_a_classifier_is_no_judge(tiny_bert, tiny_llama):
    with pytest.raises(InputError, match=r"not a causal language model \(BertForSequenceClassification\)"):
        load(tiny_bert)
    with pytest.raises(InputError, match=r"not a causal language model \(LlamaForSequenceClassification\)"):
        load(tiny_llama)


def test_weights_without_a_language_model_head_are_refused(tiny_llama, tmp_path):
    folder = shutil.copytree(tiny_llama, tmp_path / "headless")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["LlamaForCausalLM"]}))
    with pytest.raises(InputError, match=r"its weights lack lm_head.weight"):
        load(folder)


def test_a_folder_without_weights_is_refused(tiny_judge, tmp_path):
    folder = shutil.copytree(tiny_judge, tmp_path / "empty")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"no weights"):
        load(folder)
