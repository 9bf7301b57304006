"""One process writes a result at a time; who is killed holds nothing."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dissensus.errors import OutputError
from dissensus.files.locks import sole_writer

HOLD = """
import sys, time
from dissensus.files.locks import sole_writer
with sole_writer(sys.argv[1]):
    if len(sys.argv) > 2:
        import os
        if not os.fork():
            time.sleep(10)
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(path: Path, *more: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def end(process: "subprocess.Popen[str]") -> None:
    process.communicate(timeout=30)


def test_a_second_writer_is_refused_by_name_until_the_first_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks of one run are one writer, and devices belong to nobody."""
    out = tmp_path / "new" / "model"
    process = hold(out)
    link = tmp_path / "link"
    link.symlink_to(out)
    for path in (out, tmp_path / "new" / ".." / "new" / "model", link):
        with (
            pytest.raises(OutputError, match=rf"process {process.pid} on .* is writing it; wait for it"),
            sole_writer(path),
        ):
            pass
    monkeypatch.setenv("RANK", "1")
    with sole_writer(out):
        pass
    monkeypatch.setenv("RANK", "0")
    with sole_writer("/dev/null"):
        assert not Path("/dev/.null.lock").exists()
    end(process)
    assert not out.parent.exists()  # nothing was written: nothing is left
    with sole_writer(out):
        out.write_text("mine")
    assert list(out.parent.iterdir()) == [out]


def test_a_lock_of_a_killed_process_is_taken_over_even_where_a_child_outlived_it(tmp_path: Path) -> None:
    process = hold(tmp_path / "out.jsonl", "fork")
    process.kill()
    process.wait(30)
    process.stdin.close()
    process.stdout.close()
    assert (tmp_path / ".out.jsonl.lock").exists()
    with sole_writer(tmp_path / "out.jsonl"):
        assert f"process {os.getpid()} " in (tmp_path / ".out.jsonl.lock").read_text()
    assert list(tmp_path.iterdir()) == []


def test_a_block_within_a_block_is_the_same_writer_and_lets_go_of_nothing(tmp_path: Path) -> None:
    """A verb and the function that it calls look after the same result."""
    out = tmp_path / "model"
    with sole_writer(out):
        with sole_writer(tmp_path / "." / "model"):
            pass
        other = subprocess.run(
            [sys.executable, "-c", HOLD, str(out)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert f"process {os.getpid()} " in other.stderr
        assert "is writing it" in other.stderr
    end(hold(out))
    assert list(tmp_path.iterdir()) == []


def test_on_a_full_disk_the_lock_holds_without_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with sole_writer(tmp_path / "out.jsonl"):
        assert (tmp_path / ".out.jsonl.lock").exists()
    assert list(tmp_path.iterdir()) == []
