import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from dissensus.errors import ConfigError, InputError, OutputError
from dissensus.records import Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.serving.hub import prepare, publish
from dissensus.reward.training.run import train

TOKEN = "hf_verysecret"


class Hub(ThreadingHTTPServer):
    """The few answers of the Hub that a push needs; every small file is part of the commit itself."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.status, self.private, self.said = 200, False, "because"
        self.created: list[dict[str, Any]] = []
        self.commits: list[list[dict[str, Any]]] = []
        self.tokens: set[str | None] = set()


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self._answer({"id": "org/name", "private": self.server.private})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.tokens.add(self.headers["Authorization"])
        url = f"http://{self.headers['Host']}/org/name"
        if self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            self._answer({"url": url})
        elif self.path.endswith("/preupload/main"):
            names = [file["path"] for file in json.loads(body)["files"]]
            self._answer({"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]})
        elif "/commit/main" in self.path:
            self.server.commits.append([json.loads(line) for line in body.splitlines()])
            self._answer({"success": True, "commitOid": "abc", "commitUrl": f"{url}/commit/abc"})
        else:
            self._answer({"errors": [], "warnings": []})

    def _answer(self, content: Any) -> None:
        failed = self.server.status != 200
        body = json.dumps({"error": self.server.said} if failed else content).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def folder(tiny_bert: Path, pairs: list[Pair], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("push") / "m"
    train(pairs, TrainConfig(model=str(tiny_bert), epochs=1, max_length=32), out, progress=False)
    (out / ".env").write_text("SECRET=1")
    return out


def test_the_folder_goes_up_in_one_commit(folder: Path, hub: Hub, tiny_bert: Path):
    files = prepare(folder, "org/name")
    assert publish(files, "org/name", message="First").endswith("/org/name/commit/abc")
    [commit] = hub.commits
    assert commit[0]["value"]["summary"] == "First"
    sent = {row["value"]["path"]: base64.b64decode(row["value"]["content"]) for row in commit[1:]}
    assert set(sent) == set(files.sizes) == {path.name for path in folder.iterdir()} - {".env"}
    assert sent["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert 'snapshot_download("org/name")' in sent["README.md"].decode()
    assert json.loads(sent["dissensus.json"])["config"]["model"] == tiny_bert.name
    assert str(tiny_bert) not in b"".join(sent.values()).decode("latin-1")
    assert hub.tokens == {f"Bearer {TOKEN}"}
    assert "private" not in hub.created[0] or not hub.created[0]["private"]


def test_private_is_private(folder: Path, hub: Hub):
    files = prepare(folder, "org/name")
    with pytest.raises(OutputError, match="exists and is public"):
        publish(files, "org/name", private=True)
    assert hub.commits == []
    hub.private = True
    publish(files, "org/name", private=True)
    assert len(hub.commits) == 1
    created = hub.created[-1]
    assert created.get("private") is True or created.get("visibility") == "private"


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(401, "hf auth login"), (403, "write access"), (404, "before the '/'"), (418, "because")],
)
def test_a_refusal_is_one_line_with_a_remedy(folder: Path, hub: Hub, status: int, remedy: str):
    files = prepare(folder, "org/name")
    hub.status, hub.said = status, f"because {TOKEN}"
    with pytest.raises(OutputError, match=f"org/name: the Hub answered {status}; .*{remedy}") as caught:
        publish(files, "org/name")
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_without_a_network_or_a_token(folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch):
    files = prepare(folder, "org/name")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(OutputError, match="cannot be reached"):
        publish(files, "org/name")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OutputError, match="unset HF_HUB_OFFLINE"):
        publish(files, "org/name")
    monkeypatch.setattr("dissensus.reward.serving.hub.get_token", lambda: None)
    with pytest.raises(OutputError, match="no token"):
        publish(files, "org/name")


@pytest.mark.parametrize("repo", ["name", "a/b/c", "org/na me", "org/", "-x/y", "org/a--b", ""])
def test_a_malformed_name(folder: Path, repo: str):
    with pytest.raises(ConfigError, match="is no name on the Hub; expected ORGANISATION/NAME"):
        prepare(folder, repo)


def test_a_folder_that_is_no_model(tmp_path: Path, folder: Path):
    with pytest.raises(InputError, match=r"no dissensus\.json"):
        prepare(tmp_path, "org/name")
    for name in ("dissensus.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(InputError, match="cannot load model"):
        prepare(tmp_path, "org/name")
