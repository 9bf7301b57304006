"""The app as a process: started, killed, ended, and refusing to be seen by strangers."""

import contextlib
import http.client
import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from dissensus.annotate.config import AnnotationConfig, Listening
from dissensus.annotate.project.store import AnnotationStore, now
from dissensus.annotate.web.serve import check, open_socket
from dissensus.cli import group
from dissensus.errors import InputError, OutputError
from dissensus.files import write_records
from dissensus.steps.annotate import AnnotateSettings, open_app

from .live import served
from .people import make_pairs


class Running:
    """``dissensus annotate`` on a free port."""

    def __init__(self, folder, *arguments):
        self.log = (folder / "log").open("w+")
        # A suite that runs in the background hands SIGINT down as ignored; a terminal does not.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dissensus", "annotate", *arguments, "--port", "0"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.link = self.process.stdout.readline().strip()
        for _ in range(500):
            try:
                with urllib.request.urlopen(f"{self.link.split('/join#')[0]}/healthz", timeout=10) as reply:
                    assert json.load(reply) == {"status": "ok"}
                    return
            except OSError:
                time.sleep(0.01)
        raise AssertionError("it does not answer")

    def end(self, number):
        self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        self.log.seek(0)
        return code, self.log.read()

    def close(self):
        """End it for good, whatever came before."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


@pytest.fixture
def run(tmp_path):
    """``run(*arguments)``: the app, which is gone when the test is over."""
    with contextlib.ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(contextlib.closing(Running(tmp_path, *arguments)))


@pytest.fixture
def pairs(tmp_path):
    write_records(tmp_path / "pairs.jsonl", make_pairs(5))
    return tmp_path


def test_it_is_started_killed_ended_and_started_again(pairs, run):
    app = run("pairs.jsonl", "--db", "a.db", "--no-practice")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/join#[\w-]{43}", app.link)
    _, told = app.end(signal.SIGKILL)
    assert "5 pairs added" in told
    assert app.link.split("#")[1] not in told
    for number, code, words in ((signal.SIGTERM, 0, "0 pairs added, 5 were there already"), (signal.SIGINT, 130, "")):
        found, told = run("pairs.jsonl", "--db", "a.db").end(number)
        assert found == code, told
        assert words in told
        assert "Traceback" not in told


def test_the_demo_needs_nothing_and_leaves_nothing():
    settings = AnnotateSettings(demo=True, listening=Listening(port=0))
    with open_app(settings) as app:
        assert list(app.links) == ["Organiser", "Ada", "Grace", "Kofi"]
        assert app.lines()[1].startswith(f"Ada: {app.hosts.origin}/join#")
        folder = Path(app.store.name).parent
        assert folder.exists()
    assert not folder.exists()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
def test_it_does_tls_itself(open_project, tmp_path):
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    make += ["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=127.0.0.1"]
    make += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    listening = Listening(port=0, tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")
    project = open_project()
    with served(project, listening) as origin:
        assert origin.startswith("https://127.0.0.1:")
        trusted = ssl.create_default_context(cafile=tmp_path / "cert.pem")
        web = http.client.HTTPSConnection(origin.removeprefix("https://"), context=trusted)
        headers = {"Origin": origin, "Content-Type": "application/json"}
        project.now = now()
        web.request("POST", "/api/session", json.dumps({"token": project.invite("Ada")}), headers)
        reply = web.getresponse()
        assert reply.status == 200
        cookie = reply.getheader("set-cookie")
        assert cookie.startswith("__Host-dissensus=")
        assert "Secure" in cookie
        assert reply.getheader("strict-transport-security")
        web.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "lab.example"])
def test_strangers_see_nothing_without_tls(host, tmp_path):
    with pytest.raises(InputError, match="without TLS"):
        check(Listening(host=host))
    check(Listening(host=host, trusted_host="lab.example"))
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.touch()
    with pytest.raises(InputError, match="go together"):
        check(Listening(host=host, tls_cert=certificate))
    with pytest.raises(InputError, match="no such file"):
        check(Listening(host=host, tls_cert=certificate, tls_key=key))
    key.touch()
    check(Listening(host=host, tls_cert=certificate, tls_key=key))
    for own in ("127.0.0.1", "localhost", "127.0.0.7"):  # this machine is no stranger
        check(Listening(host=own))


def test_a_port_that_is_taken_is_said_so_and_no_project_is_made(pairs):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OutputError, match=rf"127.0.0.1:{port}: cannot listen there .* another --port"):
            open_socket(Listening(port=port))
        arguments = ["annotate", str(pairs / "pairs.jsonl"), "--db", str(pairs / "a.db"), "--port", str(port)]
        assert isinstance(CliRunner().invoke(group, arguments).exception, OutputError)
    assert not (pairs / "a.db").exists()


def _fails(*arguments):
    done = CliRunner().invoke(group, ["annotate", "--port", "0", *arguments])
    assert isinstance(done.exception, InputError), done.output
    return str(done.exception)


def test_what_is_wrong_is_said_with_its_remedy(pairs, monkeypatch):
    monkeypatch.chdir(pairs)
    assert "--db is missing" in _fails("pairs.jsonl")
    assert "name the PAIRS" in _fails("--db", "a.db")
    assert "no such file" in _fails("missing.jsonl", "--db", "a.db")
    assert not (pairs / "a.db").exists()
    AnnotationStore.create("a.db", AnnotationConfig()).close()
    assert "was settled when the project was made (3)" in _fails("pairs.jsonl", "--db", "a.db", "--annotators", "5")
    (pairs / "bad.md").write_bytes(b"\xff")
    assert "is not UTF-8" in _fails("pairs.jsonl", "--db", "b.db", "--guide", "bad.md")
