import base64
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from safetensors.torch import load_file, save_file

from dissensus.errors import ConfigError, InputError, OutputError
from dissensus.files import read_records, write_json, write_records
from dissensus.records import Pair, Prediction
from dissensus.reward.config import TrainConfig
from dissensus.reward.model_record import RECORD_FILE, member_folder, read_record, record_content
from dissensus.reward.serving.calibration import Calibration, save_calibration
from dissensus.reward.serving.hub import prepare, publish
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.training.run import train
from dissensus.steps.predict import PredictSettings
from dissensus.steps.predict import run as predict

TOKEN = "hf_verysecret"
_COMMIT = "a" * 40


class Hub(ThreadingHTTPServer):
    """The few answers of the Hub that a push needs, and a pull of what was pushed; every small file is part of the
    commit itself."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.status, self.private, self.said = 200, False, "because"
        self.created: list[dict[str, Any]] = []
        self.commits: list[list[dict[str, Any]]] = []
        self.tokens: set[str | None] = set()

    @property
    def files(self) -> dict[str, bytes]:
        """Of the last commit."""
        rows = self.commits[-1][1:] if self.commits else []
        return {row["value"]["path"]: base64.b64decode(row["value"]["content"]) for row in rows}


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, files = self.path.partition("?")[0], self.server.files
        if "/resolve/" in path:
            content = files.get(path.split("/", 5)[5])
            self._send(404 if content is None else 200, content or b"", hashlib.sha1(content or b"").hexdigest())
        elif "/tree/" in path:
            entries = [{"type": "file", "path": name, "size": len(files[name]), "oid": _COMMIT} for name in files]
            self._answer(entries)
        else:
            self._answer({"id": "org/name", "private": self.server.private, "sha": _COMMIT})

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
        self._send(self.server.status, json.dumps({"error": self.server.said} if failed else content).encode())

    def _send(self, status: int, body: bytes, etag: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if etag:
            self.send_header("X-Repo-Commit", _COMMIT)
            self.send_header("ETag", f'"{etag}"')
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
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


def _ensemble_of(folder: Path, out: Path) -> TrainConfig:
    """Lay an ensemble out as training does: of a model, and of the same with rewards twice as large."""
    for n in (1, 2):
        member = Path(shutil.copytree(folder, member_folder(out, n)))
        weights = load_file(member / "model.safetensors")
        save_file({k: v * n if k.startswith("classifier.") else v for k, v in weights.items()}, member / "m")
        (member / "m").rename(member / "model.safetensors")
    record = read_record(folder / RECORD_FILE)
    config = record.config.model_copy(update={"members": 2, "average": "preferences"})
    write_json(out / RECORD_FILE, record_content(record.model_copy(update={"config": config})))
    return config


def test_an_ensemble_comes_back_from_the_hub_as_one_model(
    folder: Path, tiny_bert: Path, pairs: list[Pair], hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = _ensemble_of(folder, tmp_path / "m")
    fitted = Calibration(method="temperature", slope=0.5, nll_before=1.0, nll_after=0.5, pairs=3, votes=9)
    save_calibration(tmp_path / "m", fitted)
    publish(prepare(tmp_path / "m", "org/name"), "org/name")
    assert {"dissensus.json", "member-1/model.safetensors", "member-2/model.safetensors"} <= hub.files.keys()
    assert str(tiny_bert) not in b"".join(hub.files.values()).decode("latin-1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    theirs, expected = RewardModel.load("org/name"), RewardModel.load(tmp_path / "m").predict(pairs, name="name")
    assert (len(theirs.members), theirs.calibration) == (2, fitted)
    assert theirs.predict(pairs, name="name") == expected
    with pytest.raises(InputError, match="org/name is the mean of 2 models; fetch it with 'hf download org/name"):
        train(pairs, config.model_copy(update={"model": "org/name"}), tmp_path / "n", progress=False)
    # Afterwards the Hub's own cache has it.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    write_records(tmp_path / "pairs.parquet", pairs)
    asked = PredictSettings(pairs=str(tmp_path / "pairs.parquet"), model="org/name", out=tmp_path / "p.parquet")
    assert predict(asked, progress=False).predictions == 24
    assert list(read_records(tmp_path / "p.parquet", Prediction)) == expected


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
