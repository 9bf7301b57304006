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
def test_whatever_decides_the_answers_is_part_of_the_identity(tiny_judge, tmp_path, change):
    copy = shutil.copytree(tiny_judge, tmp_path / "copy")
    if change == "weights":
        model = AutoModelForCausalLM.from_pretrained(copy)
        model.get_output_embeddings().weight.data[0, 0] += 1
        model.save_pretrained(copy)
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


def test_a_missing_model_and_a_classifier_are_no_judge(tmp_path, tiny_bert, tiny_llama):
    with pytest.raises(InputError, match=r"--model .*nowhere: no such model: .* give a folder"):
        load(tmp_path / "nowhere")
    for folder, name in ((tiny_bert, "Bert"), (tiny_llama, "Llama")):
        with pytest.raises(InputError, match=rf"not a causal language model \({name}ForSequenceClassification\)"):
            load(folder)


def test_a_folder_without_weights_or_without_those_of_the_head_is_refused(tiny_llama, tmp_path):
    folder = shutil.copytree(tiny_llama, tmp_path / "headless")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["LlamaForCausalLM"]}))
    with pytest.raises(InputError, match=r"its weights lack lm_head.weight"):
        load(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"no weights"):
        load(folder)
