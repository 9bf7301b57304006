import os
import random
import re
import resource
import signal
import subprocess
import sys
import textwrap

import pytest

from dissensus.errors import OutputError
from dissensus.files import atomic_path, write_json, write_records, write_text
from dissensus.records import Pair


@pytest.fixture
def full_disk():
    """No file grows beyond 20,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[0][1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before[0])
    signal.signal(signal.SIGXFSZ, before[1])


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.parquet", "out.csv", "out.json"])
def test_a_full_disk_leaves_the_older_file_and_nothing_else(tmp_path, name):
    target = tmp_path / name
    target.write_text("older")
    texts = (str(random.Random(i).getrandbits(2000)) for i in range(9000))
    pairs = (Pair(id=str(i), prompt="p", response_a=text, response_b="b") for i, text in enumerate(texts))
    with pytest.raises(OutputError, match=f"{re.escape(str(target))}: disk full.*free space and run again"):
        write_records(target, pairs)
    assert target.read_text() == "older"
    assert list(tmp_path.iterdir()) == [target]


def test_a_killed_writer_leaves_nothing_under_the_final_name(tmp_path):
    script = textwrap.dedent("""
        import sys, time
        from dissensus.files import atomic_path
        with atomic_path(sys.argv[1]) as path:
            path.write_text("half")
            print("half", flush=True)
            time.sleep(60)
    """)
    target = tmp_path / "out.txt"
    with subprocess.Popen([sys.executable, "-c", script, target], stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"half\n"
        child.send_signal(signal.SIGKILL)
    assert not target.exists()


def test_any_error_in_the_body_removes_the_temporary_file(tmp_path):
    def stopped():
        with atomic_path(tmp_path / "x") as path:
            path.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_made_and_a_link_is_written_through(tmp_path):
    write_text(tmp_path / "new" / "real.txt", "one")
    (tmp_path / "link").symlink_to(tmp_path / "new" / "real.txt")
    write_text(tmp_path / "link", "two\r\n")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "new" / "real.txt").read_bytes() == b"two\r\n"


def test_a_new_file_has_the_permissions_that_open_would_give(tmp_path):
    write_text(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_pipe_or_folder_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for target in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OutputError, match="not a plain file"):
            write_text(target, "x")
    assert (tmp_path / "pipe").is_fifo()


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"cannot write \(Not a directory\)|cannot write \(File exists\)"):
        write_text(tmp_path / "file" / "x", "x")


def test_json_refuses_nan_and_keeps_the_older_file(tmp_path):
    write_json(tmp_path / "x.json", {"a": [1]})
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", float("nan"))
    assert (tmp_path / "x.json").read_text() == '{\n  "a": [\n    1\n  ]\n}\n'
