"""Names out of files never steer a terminal, whoever prints them."""

import io
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from tqdm import tqdm

from dissensus.cli import refuse_other_systems
from dissensus.cli.argument_names import as_options
from dissensus.cli.terminal import visible, visible_output

EVIL = "a\x1b]0;owned\x07\x1b[2J\x9b31mb\u202e\rc"


def test_whoever_prints_prints_visible_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: True)
    monkeypatch.setattr(err, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with visible_output():
        assert (sys.stdout.isatty(), sys.stderr.isatty()) == (False, True)
        click.echo(EVIL)
        sys.stdout.writelines([EVIL])
        click.echo(EVIL, err=True)
        sys.stderr.write(EVIL)
        tqdm.write(EVIL, file=sys.stderr)
        for _ in tqdm(range(2), desc=EVIL):
            pass
        assert "\x1b" not in out.getvalue() + err.getvalue()
        inner = tqdm(total=1, position=1)
        inner.close()
    assert "a\\x1b]0;owned\\x07\\x1b[2J\\x9b31mb\\u202e\\rc" in out.getvalue()
    assert err.getvalue().count("\\x1b]0;owned") >= 4
    assert "\r" in err.getvalue()  # bars still go back to where they began
    assert "\x1b[A" in err.getvalue()  # and move between lines
    assert sys.stdout is out


def test_texts_that_people_write_stay_as_they_are() -> None:
    for text in ("naïve – 日本語 🙂\tx\n", "שלום", "zero\u200dwidth\u200cjoiners"):
        assert visible(text) == text
    assert visible("half \ud83d") == "half \\ud83d"


@pytest.mark.parametrize(
    "text", [r"split='\x'/a.jsonl: no such file", "votes='a\nb'", "DataFrame(rows, columns=['a', 'b'])", "values='x'"]
)
def test_what_only_reads_like_an_argument_of_ours_stays_as_it_is(text: str) -> None:
    assert as_options(text) == text


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_column_of_a_file_cannot_write_to_the_terminal(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "pairs.csv").write_text('prompt,\x1b[31mresponse_a,"\x9b2Jresponse_b"\nq,a,b\n', encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "dissensus", "pairs", "pairs.csv", "--out", "out.jsonl"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 2
    assert b"response_b" in done.stderr
    assert not {b"\x1b", "\x9b".encode()} & {done.stderr[i : i + n] for n in (1, 2) for i in range(len(done.stderr))}


def test_another_system_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    refuse_other_systems("posix")
    with pytest.raises(SystemExit) as stopped:
        refuse_other_systems("nt")
    assert stopped.value.code == 2
    assert "on Windows, run it in WSL" in capsys.readouterr().err
