"""Real servers on 127.0.0.1, with a tiny model made on the spot."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from dissensus.judges.store.store import JudgmentStore

HERE = Path(__file__).resolve().parent


sys.path.append(str(HERE))  # its helpers: tests are no packages


class RealServer(NamedTuple):
    base_url: str
    model: str
    source: Path
    """The folder that its weights are from."""


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@contextmanager
def serving(command: list[str], url: str, log: Path) -> Iterator[None]:
    """Start a server, wait until it answers anything at all, and end it by its own process id."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(log.parent), "OMP_NUM_THREADS": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
    try:
        deadline = time.monotonic() + 90
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not serve: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/models", timeout=5).close()
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="session")
def chatty_judge(make_judge: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that begins its reply with another word than the prefix."""
    chatty = {"<|assistant|>": {" the": 24.0, "Choice": 22.0}, "Choice": {":": 25.0}, ":": {" A": 16.0, " B": 15.0}}
    return make_judge(tmp_path_factory.mktemp("chatty"), follows=chatty, spread=0.0)


@pytest.fixture(scope="session")
def transformers_server(tiny_judge: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """`transformers serve`, which ignores n and logprobs."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/v1"
    program = Path(sys.executable).with_name("transformers")
    command = [str(program), "serve", str(tiny_judge), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with serving(command, url, tmp_path_factory.mktemp("transformers") / "serve.log"):
        yield RealServer(url, str(tiny_judge), tiny_judge)


@pytest.fixture(scope="session")
def llama_python() -> str:
    """An interpreter with llama.cpp's server (xllamacpp) and gguf."""
    named = os.environ.get("DISSENSUS_LLAMA_PYTHON") or str(HERE.parents[1] / ".llama-venv" / "bin" / "python")
    tried = [named, "-c", "import gguf, xllamacpp"]
    if not Path(named).is_file() or subprocess.run(tried, capture_output=True, check=False).returncode:
        pytest.skip("no llama.cpp; get it with scripts/install-llama-server, or set DISSENSUS_LLAMA_PYTHON")
    return named


@pytest.fixture(scope="session")
def llama_server(
    make_judge: Callable[..., Path], llama_python: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealServer]:
    """llama.cpp's own server, and in the folder ``model`` what its file was made of."""
    folder = tmp_path_factory.mktemp("llama")
    source = make_judge(folder / "model")
    subprocess.run([llama_python, str(HERE / "tiny_gguf.py"), str(source), str(folder / "tiny.gguf")], check=True)
    launcher, port = HERE.parents[1] / "scripts" / "llama_server.py", free_port()
    url = f"http://127.0.0.1:{port}/v1"
    command = [llama_python, str(launcher), str(folder / "tiny.gguf"), "--port", str(port)]
    with serving([*command, "--context", "2048", "--threads", "1"], url, folder / "serve.log"):
        yield RealServer(url, "tiny.gguf", source)


@pytest.fixture(scope="session")
def new_schema(postgres_server: Callable[[], str]) -> Callable[[], str]:
    """``new_schema()``: the URL of an empty place for a store in PostgreSQL."""
    url, numbers = postgres_server(), itertools.count(1)
    return lambda: f"{url}&schema=s{next(numbers)}"


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a store may be made: a file, or where a test is marked with ``on_both`` in PostgreSQL, too."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return tmp_path / "judgments.db"
    return str(request.getfixturevalue("new_schema")())


@pytest.fixture
def store(place: Path | str) -> Iterator[JudgmentStore]:
    with JudgmentStore(place) as opened:
        yield opened


@pytest.fixture
def no_long_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dissensus.judges.server.concurrency.backoff", lambda failures, generator: 0.01)
