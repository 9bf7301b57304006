"""llama.cpp's files as models: found, read into plain weights, and what is wrong with one said in a line."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import import_utils

from dissensus.errors import InputError
from dissensus.judges.language.messages import Ask
from dissensus.judges.local.gguf import gguf_file
from dissensus.judges.local.load import load_language_model
from dissensus.judges.local.transformers import LocalModel
from dissensus.records import Pair

HERE = Path(__file__).resolve().parent
EMPTY = b"GGUF" + b"\3\0\0\0" + bytes(8) + b"\1" + bytes(7)
"""A file of version 3 with no tensors and one entry, which follows."""
LLAMA = EMPTY + b"\x14" + bytes(7) + b"general.architecture" + b"\x08\0\0\0" + b"\5" + bytes(7) + b"llama"


def test_a_file_is_meant_by_its_path_or_where_a_folder_has_no_other_weights(tmp_path, tiny_judge):
    file = tmp_path / "model.gguf"
    file.write_bytes(LLAMA)
    assert gguf_file(str(file)) == gguf_file(str(tmp_path)) == file
    (tmp_path / "model.safetensors").touch()
    assert gguf_file(str(tmp_path)) is None
    assert gguf_file(str(tiny_judge)) is gguf_file("owner/model-on-the-hub.gguf") is None


@pytest.mark.parametrize(
    ("names", "content", "said"),
    [
        (
            ["a-q4.gguf", "a-q8.gguf"],
            LLAMA,
            r"the folder has 2 GGUF files \(a-q4.gguf, a-q8.gguf\); give the path of one",
        ),
        (
            ["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"],
            LLAMA,
            r"a-00001-of-00002.gguf is one part of several; put",
        ),
        (["a.gguf"], b"version https://git-lfs.github.com/spec/v1\n", r"a.gguf is a pointer of Git LFS"),
        (["a.gguf"], b"something else", r"no such model: .* not a GGUF file"),
        (["a.gguf"], b"", r"no such model: "),
    ],
)
def test_what_is_wrong_with_files_is_said_in_one_line(tmp_path, names, content, said):
    for name in names:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said) as raised:
        load_language_model(str(tmp_path))
    assert str(raised.value).startswith(f"--model {tmp_path}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(importlib.util.find_spec("gguf") is not None, reason="the package gguf is installed")
def test_without_the_package_it_is_named(tmp_path):
    (tmp_path / "model.gguf").write_bytes(LLAMA)
    with pytest.raises(InputError, match=r"needs the package gguf, which is not installed; run: pip install gguf$"):
        load_language_model(str(tmp_path))


@pytest.fixture
def gguf_package(llama_python, tmp_path, monkeypatch):
    """The package, out of the environment of llama.cpp's server: it is no requirement of ours."""
    asked = "import gguf, importlib.metadata as m; print(gguf.__path__[0]); print(m.distribution('gguf')._path)"
    found = subprocess.run([llama_python, "-c", asked], check=True, capture_output=True, text=True).stdout.split("\n")
    for path in map(Path, filter(None, found)):
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.syspath_prepend(tmp_path)
    import_utils.is_gguf_available.cache_clear()
    yield
    import_utils.is_gguf_available.cache_clear()


@pytest.mark.llama_server
@pytest.mark.usefixtures("gguf_package")
def test_a_file_answers_as_the_model_that_it_was_made_of(make_judge, llama_python, tmp_path):
    source, file = make_judge(tmp_path / "model"), tmp_path / "alone" / "tiny.gguf"
    file.parent.mkdir()
    subprocess.run([llama_python, str(HERE / "tiny_gguf.py"), str(source), str(file)], check=True)
    asks = [Ask(b"k", Pair(id="p", prompt="Is it?", response_a="Yes.", response_b="No."), "ab", "Which is better?")]
    own, read = (LocalModel(str(path), device="cpu", dtype="float32") for path in (source, file))
    (wanted,), (found,) = (list(model.answer(asks, None)) for model in (own, read))
    torch.testing.assert_close(*(torch.tensor(a.distribution.logprobs[:5]) for a in (wanted, found)), atol=1e-4, rtol=0)
    assert LocalModel(str(file.parent), device="cpu").identity == read.identity, "a folder, or its file"
    loaded = load_language_model(str(file), device="cpu").model
    loaded.save_pretrained(tmp_path / "saved")
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert all(torch.equal(a, b) for a, b in zip(saved.parameters(), loaded.parameters(), strict=True))
    copy = shutil.copy(file, tmp_path / "copy.gguf")
    with copy.open("r+b") as changed:
        changed.seek(-1, 2)
        changed.write(b"\x40")
    assert LocalModel(str(copy), device="cpu").identity != read.identity
