"""What the pages show is what happens: commands run and print what stands below them, examples in Python run.

Blocks without a language are commands, ``console`` blocks are commands with their outputs. All blocks of a page run in
one folder, in this process. Blocks marked ``text`` need a network, a server or an hour: see test_docs_text.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from dissensus.cli import group
from dissensus.files import read_pairs, write_records, write_trl
from dissensus.records import Margin, Pair, Votes
from dissensus.stats.design import sample_size

from .docs_pages import DOCS, PAGES, README, blocks, check_options, commands, inside, matches, run, shown, words

pytestmark = pytest.mark.slow

WITH_COMMANDS = [page for page in PAGES if commands(page, "", "console") and page.name != "architecture.md"]
STAND_INS = {"PAIRS": "pairs.parquet", "DIR": "model", "SCORES": "scores.json", "FILE": "predictions.jsonl"}


def _name(page: Path) -> str:
    return "README" if page == README else str(page.relative_to(DOCS))[:-3]


def _pairs() -> list[Pair]:
    return list(read_pairs("train.jsonl", notice=lambda _: None))


def _of_training() -> None:
    voted = [pair.model_copy(update={"votes": Votes(a=3, b=i % 3)}) for i, pair in enumerate(_pairs())]
    write_records("pairs.parquet", voted)
    write_records("margins.parquet", [Margin(pair_id=pair.id, margin=0.6, preference_a=0.8) for pair in voted])


def _of_evaluation() -> None:
    write_records("pairs.parquet", read_pairs("test.jsonl", notice=lambda _: None))
    run(["judge", "votes", "pairs.parquet", "--store", "judgments.db", "--quiet"])


def _of_tables() -> None:
    run(["evaluate", "test.jsonl", "--predictions", "predictions.jsonl", "--out", "scores.json"])


def _of_annotating() -> None:
    from dissensus.annotate.config import AnnotationConfig
    from dissensus.annotate.project.items import add_items
    from dissensus.annotate.project.store import AnnotationStore

    with AnnotationStore.create("annotations.db", AnnotationConfig()) as store:
        store.write(lambda c: add_items(c, _pairs()[:3]))


SETUPS: dict[str, Callable[[], object]] = {
    "training": _of_training,
    "evaluation": _of_evaluation,
    "tables": _of_tables,
    "annotating": _of_annotating,
    "judging": lambda: write_records("pairs.parquet", _pairs()[:6]),
    "cookbook/trl": lambda: write_trl("trl.jsonl", _pairs(), notice=lambda _: None),
}
"""What there is beside the examples where a page begins."""
FEWER = {"power": ("--studies", "100")}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with inside(tmp_path):
        write_records("pairs.parquet", _pairs())
        yield tmp_path


@pytest.fixture
def stand_ins(tiny_bert: Path, tiny_judge: Path) -> dict[str, str]:
    return {**STAND_INS, "MODEL": str(tiny_judge), "minilm": str(tiny_bert)}


@pytest.fixture
def few_studies(monkeypatch: pytest.MonkeyPatch):
    """Search for sizes, of which the layout alone is looked at, with the fewest studies."""
    estimate = sample_size.estimate_power
    monkeypatch.setattr(sample_size, "estimate_power", lambda *a, **given: estimate(*a, **{**given, "studies": 100}))


@pytest.mark.usefixtures("few_studies")
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=_name)
def test_the_commands_of_a_page_run_and_print_what_it_shows(page: Path, folder: Path, stand_ins: dict[str, str]):
    SETUPS.get(_name(page), lambda: None)()
    # Of the plans of power one is simulated; tests of the step have the others, smaller.
    for block in blocks(page, "", "console")[: 1 if page.stem == "power" else None]:
        for one in shown(block.text) if block.language else ():
            found = run([*words(one.command), *FEWER.get(page.stem, ())], stand_ins)
            # A power is a share of simulated studies, here of fewer: words and layout are the same all the same.
            same = matches(*(map(_layout, (one.output, found)) if page.stem == "power" else (one.output, found)))
            assert not one.output or same, "\n".join([f"$ {one.command}", *found])
        for line in block.text.splitlines() if not block.language else ():
            if line.startswith("dissensus "):
                run(_small(words(line), stand_ins["minilm"]), stand_ins)


def _layout(lines: list[str]) -> list[str]:
    return [re.sub(r"[ \d.%─]", "", line) for line in lines]


def _small(command: list[str], model: str) -> list[str]:
    return [*command, *(["--model", model, "--max-length", "32", "--overwrite"] if command[0] == "train" else [])]


@pytest.mark.parametrize("page", [README, DOCS / "evaluation.md", DOCS / "data.md"], ids=_name)
def test_the_python_of_a_page_runs(page: Path, folder: Path, tiny_bert: Path):
    for block in blocks(page, "python"):
        small = block.text.replace('objective="blend"', f'objective="blend", model="{tiny_bert}", max_length=32')
        small = small.replace("predictions.parquet", "predictions.jsonl")
        exec(compile(small, str(page), "exec"), {})


def test_every_verb_stands_on_the_page_of_verbs():
    told = {command[0] for command in _told("verbs.md")} | set(re.findall(r"`dissensus (\w+)", _text("verbs.md")))
    assert told >= set(group.list_commands(click.Context(group))) - {"completion"}


def _told(page: str) -> list[list[str]]:
    return commands(DOCS / page)


def _text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_command_and_option_exists(page: Path):
    for command in commands(page, "", "text", "console"):
        if not (command[0] == "VERB" or page.parent.name == "log"):
            check_options(command)


@pytest.mark.parametrize(("page", "lines"), [(README, 120), (DOCS / "results.md", 150)], ids=["README", "results"])
def test_a_page_is_short(page: Path, lines: int):
    assert len(page.read_text(encoding="utf-8").splitlines()) <= lines
