"""What a stranger's folder can hold, and what did not load: one line each, and no code is run."""

import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaConfig

from dissensus.errors import InputError
from dissensus.judges.local.load import load_language_model
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.text.backbone import load_backbone
from dissensus.reward.training.preflight import check_model
from dissensus.text.encoder import load_encoder
from dissensus.text.pretrained import locate

Rename = Callable[[str], str | None]


def _renamed(model: Path, folder: Path, new_name: Rename, **config: Any) -> Path:
    """Copy a model with other names of its weights (None leaves one out) and other settings."""
    shutil.copytree(model, folder)
    path = folder / "model.safetensors"
    weights = {new: weight for name, weight in load_file(path).items() if (new := new_name(name)) is not None}
    save_file(weights, path, metadata={"format": "pt"})
    _configure(folder, **config)
    return folder


def _configure(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("new_name", "message"),
    [
        (lambda name: None if name.startswith("score") else name, r"lack score\.weight; save"),
        (lambda name: name.replace("score.", "v_head."), r"lack score\.weight, and have v_head\.weight instead"),
        (lambda name: None if ".layers.1." in name else name, r"lack model\.layers\.1\.\S+, .* and \d more"),
        (lambda name: "module." + name, r"take the prefix 'module\.' off the names"),
        (lambda name: "base_model.model." + name, r"take the prefix 'base_model\.model\.' off"),
    ],
)
def test_a_reward_model_loads_whole(tiny_llama: Path, tmp_path: Path, new_name: Rename, message: str):
    with pytest.raises(InputError, match=message):
        load_backbone(str(_renamed(tiny_llama, tmp_path / "m", new_name)), new_head=False)


def test_a_new_head_is_reported_and_nothing_else_is_new(tiny_llama, tmp_path, capsys):
    headless = _renamed(tiny_llama, tmp_path / "h", lambda name: None if name.startswith("score") else name)
    load_backbone(str(headless), new_head=True)
    assert "a new head is made (score.weight)" in capsys.readouterr().err
    load_backbone(str(tiny_llama), new_head=True)
    assert "new head" not in capsys.readouterr().err
    for prefix in ("_orig_mod.", "module."):
        wrapped = _renamed(tiny_llama, tmp_path / prefix, lambda name, prefix=prefix: prefix + name)
        with pytest.raises(InputError, match="lack"):
            load_backbone(str(wrapped), new_head=True)


def test_layers_without_a_place_are_refused_and_another_task_is_not(tiny_llama: Path, tmp_path: Path):
    shorter = _renamed(tiny_llama, tmp_path / "short", lambda name: name, num_hidden_layers=1)
    for new_head in (True, False):
        with pytest.raises(InputError, match=r"have model\.layers\.1\..*no place for"):
            load_backbone(str(shorter), new_head=new_head)
    path = tiny_llama / "model.safetensors"
    other = shutil.copytree(tiny_llama, tmp_path / "both")
    save_file(load_file(path) | {"lm_head.weight": torch.zeros(2, 2)}, other / path.name, metadata={"format": "pt"})
    load_backbone(str(other), new_head=False)


def test_other_sizes_are_named(tiny_llama: Path, tmp_path: Path):
    wider = _renamed(tiny_llama, tmp_path / "m", lambda name: name, intermediate_size=40)
    with pytest.raises(InputError, match=r"do not fit: model\.layers\.0\.mlp\.\S+ is \d+x\d+ and should be \d+x\d+"):
        load_backbone(str(wider), new_head=True)
    # A head of another size is made anew in training alone.
    two = _renamed(tiny_llama, tmp_path / "two", lambda name: name, id2label={"0": "a", "1": "b"})
    load_backbone(str(two), new_head=True)
    with pytest.raises(InputError, match=r"score\.weight is 1x16 and should be 2x16"):
        load_backbone(str(two), new_head=False)


@pytest.mark.parametrize("kind", ["token", "padding"])
def test_tokens_beyond_the_table_are_refused(tiny_llama: Path, tmp_path: Path, kind: str):
    """Also a padding token that was added, with no row for it: the table cannot even be made."""
    folder = shutil.copytree(tiny_llama, tmp_path / "m")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if kind == "token":
        tokenizer.add_tokens(["<new>"])
    else:
        tokenizer.add_special_tokens({"pad_token": "<new>"})
    tokenizer.save_pretrained(folder)
    with pytest.raises(InputError, match=r"1 tokens more than its table .*'<new>'.*resize_token_embeddings"):
        load_backbone(str(folder), new_head=kind == "padding")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_pointers_of_git_lfs_are_no_files(tiny_llama: Path, tmp_path: Path, name: str):
    folder = shutil.copytree(tiny_llama, tmp_path / "m")
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 9\n")
    with pytest.raises(InputError, match=rf"{re.escape(name)} is a pointer of Git LFS, .* 'git lfs pull'"):
        load_backbone(str(folder), new_head=False)
    with pytest.raises(InputError, match="is a pointer of Git LFS"):
        check_model(str(folder))


def test_a_folder_without_a_tokenizer_or_a_classifier_says_so(tiny_llama: Path, tmp_path: Path):
    folder = shutil.copytree(tiny_llama, tmp_path / "m")
    _configure(folder, model_type="mamba")
    with pytest.raises(InputError, match="transformers has no AutoModelForSequenceClassification for MambaConfig;"):
        load_backbone(str(folder), new_head=True)
    _configure(folder, model_type="llama")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(InputError, match="it has no tokenizer that can be read"):
        load_backbone(str(folder), new_head=False)


def test_adapters_alone_are_no_model(tiny_llama: Path, tmp_path: Path):
    folder = shutil.copytree(tiny_llama, tmp_path / "m")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tiny_llama)}))
    with pytest.raises(InputError, match=r"holds adapters .* merge_and_unload"):
        load_backbone(str(folder), new_head=False)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"holds adapters .* merge_and_unload"):
        check_model(str(folder))


CODE = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\nPath({where!r}).touch()\n"


@pytest.mark.parametrize("kind", ["reward", "train", "judge", "encoder", "known"])
def test_code_in_a_folder_is_never_run_nor_asked_about(tiny_llama, tiny_judge, tiny_bert, tmp_path, monkeypatch, kind):
    source = {"judge": tiny_judge, "encoder": tiny_bert}.get(kind, tiny_llama)
    folder = shutil.copytree(source, tmp_path / "m")
    for name in ("configuration_own", "modeling_own", "tokenization_own"):
        (folder / f"{name}.py").write_text(CODE.format(where=str(tmp_path / "ran")))
    classes = ("AutoModelForSequenceClassification", "AutoModelForCausalLM", "AutoModel")
    own = {"auto_map": {"AutoConfig": "configuration_own.C", **dict.fromkeys(classes, "modeling_own.M")}}
    _configure(folder, **own, **({} if kind == "known" else {"model_type": "own"}))
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 20))
    load = {
        "judge": lambda: load_language_model(str(folder), device="cpu"),
        "encoder": lambda: load_encoder(str(folder), cache=tmp_path).features([("a", "b")], progress=False),
        "train": lambda: load_backbone(str(folder), new_head=True),
    }.get(kind, lambda: load_backbone(str(folder), new_head=False))
    if kind == "known":
        load()  # An architecture that transformers has needs no code of the folder's.
    else:
        with pytest.raises(InputError, match="needs code that comes with it, and such code is never run"):
            load()
    assert sys.stdin.read() == "y\n" * 20
    assert not (tmp_path / "ran").exists()


BROKEN: dict[str, Callable[[Path], object]] = {
    "config is no JSON": lambda folder: (folder / "config.json").write_text("{"),
    "config is a list": lambda folder: (folder / "config.json").write_text("[]"),
    "config is empty": lambda folder: (folder / "config.json").write_text(""),
    "config is no text": lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe\x00"),
    "config says nothing": lambda folder: (folder / "config.json").write_text("{}"),
    "no config": lambda folder: (folder / "config.json").unlink(),
    "unknown type": lambda folder: _configure(folder, model_type="nobody-knows"),
    "sizes are words": lambda folder: _configure(folder, hidden_size="wide"),
    "sizes are negative": lambda folder: _configure(folder, hidden_size=-4),
    "no heads": lambda folder: _configure(folder, num_attention_heads=0),
    "padding beyond the table": lambda folder: _configure(folder, pad_token_id=10**6, vocab_size=5),
    "labels are a word": lambda folder: _configure(folder, id2label="x"),
    "quantised": lambda folder: _configure(folder, quantization_config={"quant_method": "gptq", "bits": 4}),
    "weights are missing": lambda folder: (folder / "model.safetensors").unlink(),
    "weights are cut": lambda folder: (folder / "model.safetensors").write_bytes(
        (folder / "model.safetensors").read_bytes()[:500]
    ),
    "weights are empty": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "a shard is missing": lambda folder: _without_a_shard(folder),
    "tokenizer is no JSON": lambda folder: (folder / "tokenizer.json").write_text("{"),
    "tokenizer is another thing": lambda folder: (folder / "tokenizer.json").write_text('{"model": 3}'),
    "tokenizer settings are a list": lambda folder: (folder / "tokenizer_config.json").write_text("[]"),
    "a pickle": lambda folder: _pickled(folder),
}


def _without_a_shard(folder: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="4KB")
    sorted(folder.glob("*.safetensors"))[1].unlink()


class _Runs:
    def __reduce__(self) -> Any:
        return print, ("a pickle was run",)


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"score.weight": _Runs()}, folder / "pytorch_model.bin")


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_folder_is_one_line(tiny_llama: Path, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]):
    folder = shutil.copytree(tiny_llama, tmp_path / "m")
    BROKEN[what](folder)
    for new_head in (False, True):
        with pytest.raises(InputError) as error:
            load_backbone(str(folder), new_head=new_head)
        assert str(error.value).startswith(f"cannot load model '{folder}': ")
        assert "\n" not in str(error.value)
    assert "a pickle was run" not in capsys.readouterr().out


def test_a_model_is_looked_for_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="it is a file"):
        locate(str(tmp_path / "file"))
    for name in ("./nowhere", "a/b/c", "two words", "~/model"):
        with pytest.raises(InputError, match="no such folder"):
            locate(name)
    asked = []

    def away(url: str, **_: Any) -> None:
        asked.append(url)
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", away)
    with pytest.raises(InputError, match="the Hub cannot be reached, and its cache has no such model"):
        load_backbone("no-such/model", new_head=False)
    assert len(asked) == 1
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: str(tmp_path / "file"))
    assert locate("no-such/model") == {"trust_remote_code": False, "local_files_only": True}


def test_positions_that_are_made_for_decide_the_window(tiny_llama: Path, tmp_path: Path):
    assert RewardModel.load(tiny_llama, device="cpu").encoding.max_length == 64
    folder = shutil.copytree(tiny_llama, tmp_path / "m")
    _configure(folder, max_position_embeddings=LlamaConfig().max_position_embeddings * 8)
    assert RewardModel.load(folder, device="cpu").encoding.max_length == 8192
    assert RewardModel.load(folder, device="cpu", max_length=20).encoding.max_length == 20
    with pytest.raises(InputError, match="at least 8"):
        RewardModel.load(folder, device="cpu", max_length=3)


def test_a_name_that_no_file_can_have_is_one_line(tmp_path: Path):
    for name in ("m" * 300, "a\0b"):
        for look in (check_model, load_encoder, lambda name: load_backbone(name, new_head=False)):
            with pytest.raises(InputError, match=r"^(cannot load model '|[^:]*: no such encoder)"):
                look(name)


def test_an_encoder_reads_as_much_as_it_has_positions_for(tiny_bert: Path, tmp_path: Path):
    encoder = load_encoder(str(tiny_bert), cache=tmp_path, max_length=256)
    rows = [("good " * 100 + "why " * 80, "yes"), ("bad " * 100 + "why " * 80, "yes"), ("why", "yes")]
    features = encoder.features(rows, progress=False)
    assert (features[0] == features[1]).all()
    assert (features[0] != features[2]).any()
