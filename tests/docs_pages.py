"""The blocks of the pages: commands, the outputs that stand below them, examples of files.

A block marked ``console`` shows what a terminal shows: ``$ dissensus …``, then what it prints. A line ``…`` stands for
any lines, and ``…`` within a line for any text. ``python tests/docs_pages.py PAGE.md …`` runs the commands of pages
and writes their outputs into them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import click
from click.testing import CliRunner

from dissensus.cli import group

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
EXAMPLES = DOCS / "examples"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    text: str


class Shown(NamedTuple):
    """A command as a page shows it, and the lines below it."""

    command: str
    output: list[str]


def blocks(page: Path, *languages: str) -> list[Block]:
    """List the blocks of a page, of some languages or of all."""
    found = re.findall(r"^```(\w*)[^\n]*\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return [Block(*one) for one in found if not languages or one[0] in languages]


def commands(page: Path, *languages: str) -> list[list[str]]:
    """List the commands of ``dissensus`` in a page's blocks as words, the comments behind them left out."""
    lines = (line.removeprefix("$ ") for block in blocks(page, *languages) for line in block.text.splitlines())
    return [words(line) for line in lines if line.startswith("dissensus ")]


def words(command: str) -> list[str]:
    """Split a command; what stands behind a wide gap explains it.

    >>> words("dissensus tables scores.json      prints them again")
    ['tables', 'scores.json']
    """
    return shlex.split(re.split(r"\s{2,}(?!--)", command)[0])[1:]


def shown(text: str) -> Iterator[Shown]:
    """Take a console block apart.

    >>> list(shown("$ a b\\nc\\n$ d\\n"))
    [Shown(command='a b', output=['c']), Shown(command='d', output=[])]
    """
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, *output = part.rstrip().splitlines()
        yield Shown(command, output)


def run(arguments: list[str], stand_ins: Mapping[str, str] | None = None) -> list[str]:
    """Run a command in this process: torch is loaded once. Returns the lines that stay on a terminal."""
    given = [(stand_ins or {}).get(word, word) for word in arguments]
    done = CliRunner().invoke(group, given, catch_exceptions=False)
    assert done.exit_code == 0, f"dissensus {shlex.join(given)}: {done.output}"
    return visible(done.output)


def check_options(command: list[str]) -> None:
    """Fail unless a command is one of ours, and has the options that it is given."""
    known: click.Command | None = group.get_command(click.Context(group), command[0])
    assert known is not None, f"no verb {command[0]}"
    rest = command[1:]
    if isinstance(known, click.Group):
        known = known.get_command(click.Context(known), rest[0])
        assert known is not None, f"no verb {command[0]} {rest[0]}"
    options = {option for parameter in known.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.partition("=")[0] for word in rest if word.startswith("--")}
    assert given <= options | {"--help"}, f"{' '.join(command)}: {sorted(given - options)}"


def visible(output: str) -> list[str]:
    """Leave progress out, and put ``N`` for seconds.

    >>> visible("at:  50%|##  | 1/2 [00:01<00:01, 1.2s/step]\\rTable\\n\\nseconds  3.1\\ndone in 3.1 s\\n")
    ['Table', '', 'seconds  N', 'done in N s']
    """
    lines = []
    for line in output.replace("\x1b[A", "").rstrip().split("\n"):
        left = "".join(re.sub(r"^.*\[\d\d:\d\d[^\]]*\] *", "", part) for part in line.split("\r")).rstrip()
        if left or "\r" not in line:
            lines.append(re.sub(r"^(seconds +)[\d.]+", r"\1N", re.sub(r"\b\d+(\.\d+)? s\b", "N s", left)))
    return lines


def matches(expected: list[str], found: list[str]) -> bool:
    """Tell whether an output is as shown; a line ``…`` stands for any lines.

    >>> matches(["a", "…", "d"], ["a", "b", "c", "d"]), matches(["a"], ["a", "b"])
    (True, False)
    """
    lines = visible("\n".join(expected))
    pattern = "".join("(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + "\n" for line in lines)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in found)) is not None


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[Path]:
    """Work in a folder that holds the examples."""
    before = Path.cwd()
    for file in EXAMPLES.iterdir():
        shutil.copy(file, folder)
    (folder / "docs").symlink_to(DOCS)
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)


def _write(page: Path) -> None:
    """Run the console blocks of a page and put what they print below the commands that show something."""
    text = page.read_text(encoding="utf-8")
    run(["pairs", "train.jsonl", "--out", "pairs.parquet"])
    for block in blocks(page, "", "console"):
        new = block.text
        for one in shown(block.text) if block.language == "console" else ():
            found = run(words(one.command))
            if one.output and not matches(one.output, found):
                old = "\n".join([f"$ {one.command}", *one.output])
                new = new.replace(old, "\n".join([f"$ {one.command}", *found]))
        if not block.language:
            for line in block.text.splitlines():
                if line.startswith("dissensus "):
                    run(words(line))
        text = text.replace(block.text, new)
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder, inside(Path(folder)):
            _write(ROOT / name)
