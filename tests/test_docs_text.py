"""The commands of the pages that need a network, a server or an accelerator run with a stand-in for it."""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
from pathlib import Path

import pytest

from dissensus.files import write_records
from dissensus.records import Prediction
from dissensus.simulate import SimulationConfig, simulate
from dissensus.sources import open_source

from .docs_pages import DOCS, PAGES, commands, run

TESTS = Path(__file__).parent
SETS = TESTS / "sources" / "fixtures"
ELSEWHERE = {
    "results.md": "the commands of long runs whose figures it reports",
    "training.md": "below, with a small backbone",
    "demo": "make demo",
    "study real-votes": "tests/study, with real data",
    "study paper": "tests/study: its dry run and its parts; the whole needs the Hub and accelerators",
    "study mine.yaml --out": "the template's study is run by tests/study",
    "postgresql://": "tests/annotate and tests/judge/test_postgres.py",
    "--trusted-host": "tests/annotate/test_serve.py",
    "push": "tests/cli/test_push.py",
    "--calibrate": "tests/cli/test_margin.py",
}
"""Beginning, or part, of commands that are run elsewhere → where."""
COMMANDS = [
    (page.name, command)
    for page in PAGES
    for command in commands(page, "text")
    if page.name not in ELSEWHERE and page.parent.name != "log"
    if not any(part in shlex.join(command) for part in ELSEWHERE if part[-3:] != ".md")
]

pytestmark = pytest.mark.slow


def _load(path: Path):
    name = f"docs_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def world(tmp_path: Path, tiny_judge: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with every file that the pages speak of."""
    monkeypatch.chdir(tmp_path)
    population = simulate(SimulationConfig(prompts=4, responses_per_prompt=3)).pairs
    for name in ("pairs.jsonl", "pairs.parquet"):
        write_records(name, population)
    for name in ("train.jsonl", "test.jsonl"):
        Path(name).write_bytes((DOCS / "examples" / name).read_bytes())
    write_records(
        "predictions.parquet",
        [Prediction(pair_id=i, model="m", reward_a=0, reward_b=0, preference_a=0.4) for i in ("1", "r1")],
    )
    opened = open_source("prism", root=SETS, notice=lambda _: None)
    write_records("prism.parquet", [pair for pair, _ in opened])
    write_records("people.parquet", opened.report.annotators)
    genders = {one.attributes["gender"] for one in opened.report.annotators if "gender" in one.attributes}
    Path("shares.yaml").write_text("".join(f"{json.dumps(name)}: 0.5\n" for name in sorted(genders)))
    _judge_with_personas(tiny_judge)
    _annotated()
    run(["new", "mine"])
    return tmp_path


def _judge_with_personas(model: Path) -> None:
    Path("personas.txt").write_text("You are a nurse.\nYou are a cook.\n")
    Path("weights.yaml").write_text("You are a nurse.: 2\nYou are a cook.: 1\n")
    run(["judge", "local", "pairs.parquet", "--model", str(model), "--mode", "exact", "--n", "4",
         "--persona-file", "personas.txt", "--store", "judgments.db", "--quiet"])  # fmt: skip


def _annotated() -> None:
    """What Label Studio and Argilla export, each with two people's answers to one pair."""
    foreign = _load(TESTS / "annotate" / "test_foreign.py")
    people = [foreign._annotation(number, number, foreign._pick("left")) for number in (1, 2)]
    task = foreign._task(1, people, response_a="Yes.", response_b="No.")
    Path("export.json").write_text(json.dumps([task]))
    argilla = _load(TESTS / "annotate" / "test_argilla.py")
    answers = {"estimate": {"u3": 3, "u8": 8}, "correct": {"u3": "Yes"}}
    Path("records.json").write_text(json.dumps([argilla._flat(answers)]))


def test_every_exception_is_one():
    """A part of a command that no page has any more would leave others out unseen."""
    lines = [shlex.join(command) for page in PAGES for command in commands(page, "text")]
    names = {page.name for page in PAGES}
    assert all(part in names or any(part in line for line in lines) for part in ELSEWHERE)
    assert len(COMMANDS) >= 20


def test_the_commands_run_with_a_stand_in(world: Path, tiny_judge: Path, monkeypatch: pytest.MonkeyPatch):
    import uvicorn

    monkeypatch.setattr(uvicorn.Server, "run", lambda _, sockets: None)
    monkeypatch.setattr("dissensus.annotate.web.serve.end_on_sigterm", lambda: None)
    stub = _load(TESTS / "judge" / "stub_server.py")
    # Annotations are looked at once all of them are there.
    late = sorted(COMMANDS, key=lambda found: found[1][0] in ("evaluate", "classify"))
    with stub.StubServer(stub.StubOptions()) as server:
        for page, command in late:
            found = run(_fitted(command, page, server.url, str(tiny_judge)))
            assert command[0] != "annotate" or any("/join#" in line for line in found)
    made = ("helpful.parquet", "strengths.parquet", "m.parquet", "classified.jsonl", "scores.json")
    assert all(Path(name).stat().st_size for name in made)


def _fitted(command: list[str], page: str, url: str, model: str) -> list[str]:
    stand_ins = {
        "PAIRS": "pairs.parquet",
        "MODEL": model,
        "MIRROR": str(SETS),
        "helpsteer2@COMMIT": "helpsteer2",
        "http://127.0.0.1:8000/v1": url,
        "vllm": "local",
        # Each page begins with none; what people say in categories.md is in the pairs' own categories here.
        "annotations.db": "pairs.parquet" if page == "categories.md" else f"{page}.db",
    }
    if command[0] in ("judge", "classify"):
        stand_ins["judgments.db"] = f"{page}.judgments.db"  # the store of the personas has one judge
    fitted = [model if word.startswith("meta-llama/") else stand_ins.get(word, word) for word in command]
    if command[0] == "pairs" and "--from" not in fitted:
        fitted += ["--from", str(SETS)]
    return fitted if command[0] != "annotate" else [*fitted, "--port", "0"]


def test_the_commands_of_training_run(tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    run(["pairs", str(DOCS / "examples" / "train.jsonl"), "--out", "pairs.parquet"])
    names = {
        "PAIRS": "pairs.parquet",
        "VALIDATION_PAIRS": "pairs.parquet",
        "OTHER_PAIRS": "pairs.parquet",
        "BACKBONE": str(tiny_bert),
        "DIR": "model",
        "FILE": "predictions.parquet",
    }
    for command in commands(DOCS / "training.md", "text"):
        if command[0] == "push":
            continue
        small = {
            "--model": str(tiny_bert),
            "--max-length": "32",
            "--epochs": "1",
            "--members": "1",
            "--overwrite": None,
        }
        taken = {*command, *(["--epochs"] if "--choose" in command else [])}  # what a command says, or chooses, stands
        left = small.items() if command[0] == "train" else ()
        added = [word for name, value in left if name not in taken for word in (name, value) if word]
        run([*command, *added], names)
    assert Path("scores.json").is_file()
