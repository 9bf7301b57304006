"""Every command and every line of Python in the README runs as it stands, on a small population."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from dissensus.cli import group
from dissensus.files import write_records, write_trl
from dissensus.judge import HumanVotes, JudgmentStore, judge_pairs
from dissensus.records import Margin, Pair, Prediction, Votes
from dissensus.report.folder.run_reader import load_run
from dissensus.simulate import SimulationConfig, simulate

README = Path(__file__).parents[1] / "README.md"
GUIDE = README.parent / "docs" / "judging.md"
EVALUATION = README.parent / "docs" / "evaluation.md"
TABLES = README.parent / "docs" / "tables.md"
POWER = README.parent / "docs" / "power.md"
ANNOTATING = README.parent / "docs" / "annotating.md"
TRAINING = README.parent / "docs" / "training.md"
STAND_INS = {
    "SOURCE": "train.jsonl",
    "PAIRS": "pairs.parquet",
    "VALIDATION_PAIRS": "pairs.parquet",
    "BACKBONE": "minilm",
    "DIR": "model",
    "SCORES": "scores.json",
    "FILE": "predictions.parquet",
    "STUDY.yaml|PRESET": "study.yaml",
    "runs/NAME": "run",
    "RUN": "run",
    "ORGANISATION/NAME": "org/name",
}
STUDY = {
    "pairs": "train.jsonl",
    "hold_out": {"by": "group", "share": 0.3},
    "judge": {"name": "committee", "n": 3},
    "training": {"epochs": 1, "max_length": 32},
    "models": {"plain": {}},
    "baseline": "plain",
    "evaluation": {"resamples": 20, "swaps": 99},
}

pytestmark = pytest.mark.slow


def _blocks(language: str, page: Path = README) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return [text for tongue, text in blocks if tongue == language]


def _commands(page: Path = README, language: str = "") -> list[list[str]]:
    lines = [line for block in _blocks(language, page) for line in block.splitlines() if line.startswith("dissensus ")]
    commands = [re.split(r"\s{2,}(?!--)", _squeeze(line))[0] for line in lines]
    return [[STAND_INS.get(word, word) for word in shlex.split(command)] for command in commands]


def _squeeze(line: str) -> str:
    """Leave out what is optional, and keep one space after the verb; the next wide gap begins the explanation."""
    return re.sub(r"^(dissensus \w+)\s+", r"\1 ", re.sub(r"\s\[[^\]]*\]", "", line))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    population = simulate(SimulationConfig(prompts=12, responses_per_prompt=3)).pairs
    write_records(folder / "train.jsonl", population)
    write_records(folder / "test.jsonl", population[:12])
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    return folder


def _run(arguments: list[str], folder: Path) -> None:
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stderr}"


def test_the_commands_run_one_after_the_other(folder: Path, monkeypatch: pytest.MonkeyPatch):
    commands = _commands()
    assert {command[1] for command in commands} == {
        "pairs", "judge", "judgments", "margin", "train", "calibrate", "predict", "evaluate", "report", "push", "study",
        "demo", "tables", "power", "annotate", "annotations", "classify", "aggregate", "new", "completion", "split",
    }  # fmt: skip
    # The demo and the study of real votes are whole studies; make demo and the real-data tests run them.
    short = [command for command in commands if command[1] != "demo" and "real-votes" not in command]
    _run(["-m", "dissensus", *short[0][1:]], folder)
    monkeypatch.chdir(folder)
    [serving] = [command for command in short if command[1] == "annotate"]
    _serve(serving, folder)
    for command in sorted(short[1:], key=lambda command: command[1] in ("report", "tables")):
        if command is serving:
            continue
        # In this process: torch is loaded once instead of for each command.
        done = CliRunner().invoke(group, command[1:], catch_exceptions=False)
        assert done.exit_code == 0, f"{command}: {done.output}"
    assert (folder / "report.html").is_file()
    # The folder itself, with what all these commands have left in it, is one that a page can be made of.
    done = CliRunner().invoke(group, ["report", "."], catch_exceptions=False)
    assert (done.exit_code, done.stderr) == (0, "")
    loaded = load_run(Path())
    assert loaded.joined.models == ("model",)
    assert loaded.missing == ["quorum.parquet: left aside, as margins.parquet has margins too"]
    assert len(loaded.margins) == len(loaded.joined.pairs) == loaded.judged.judges[0].pairs
    assert loaded.logs["model"]


def _serve(command: list[str], folder: Path) -> None:
    """Start the app and end it once it has printed its link."""
    with subprocess.Popen([sys.executable, "-m", *command], cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert "/join#" in process.stdout.readline()
            process.terminate()
            process.wait(60)
        finally:
            process.kill()
    assert process.returncode == 0


def test_the_commands_of_the_annotating_guide_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from dissensus.annotate.config import AnnotationConfig
    from dissensus.annotate.project.assignment import add_items
    from dissensus.annotate.project.store import AnnotationStore

    monkeypatch.chdir(tmp_path)
    with AnnotationStore.create("annotations.db", AnnotationConfig()) as store:
        pairs = simulate(SimulationConfig(prompts=3, responses_per_prompt=2)).pairs
        store.write(lambda c: add_items(c, pairs))
    commands = _commands(ANNOTATING)
    assert [command[2] for command in commands] == ["invite", "people", "revoke", "agreement", "export", "import"]
    for command in commands:
        done = CliRunner().invoke(group, command[1:], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert (tmp_path / "copy.db").is_file()


def test_the_commands_of_the_judging_guide_run(folder: Path, tiny_judge: Path, monkeypatch: pytest.MonkeyPatch):
    commands = [[str(tiny_judge) if word == "MODEL" else word for word in command] for command in _commands(GUIDE)]
    assert {tuple(command[1:3]) for command in commands if command[1] == "judgments"} == {
        ("judgments", verb) for verb in ("list", "verify", "export", "compare")
    }
    guide = folder / "guide"
    guide.mkdir()
    write_records(guide / "pairs.parquet", simulate(SimulationConfig(prompts=6, responses_per_prompt=2)).pairs)
    monkeypatch.chdir(guide)
    for command in commands:
        # In this process: torch is loaded once instead of for each command.
        assert CliRunner().invoke(group, command[1:], catch_exceptions=False).exit_code == 0
    assert (guide / "hub" / "README.md").is_file()


def test_the_commands_of_the_training_guide_run(
    folder: Path, tiny_bert: Path, pairs: list[Pair], margins: list[Margin], monkeypatch: pytest.MonkeyPatch
):
    guide = folder / "training"
    guide.mkdir()
    voted = [pair.model_copy(update={"votes": Votes(a=3, b=i % 3)}) for i, pair in enumerate(pairs)]
    write_records(guide / "pairs.parquet", voted)
    write_records(guide / "margins.parquet", margins)
    monkeypatch.chdir(guide)
    commands = _commands(TRAINING) + _commands(TRAINING, "text")
    assert [command[1] for command in commands].count("train") == 5
    small = ["--model", str(tiny_bert), "--max-length", "32", "--overwrite"]
    for command in commands:
        extra = small if command[1] == "train" else []
        done = CliRunner().invoke(group, [*command[1:], *extra], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert (guide / "scores.json").is_file()


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs with votes, predictions of two models, and a store of judgments."""
    folder = tmp_path_factory.mktemp("evaluated")
    pairs = simulate(SimulationConfig(prompts=12, responses_per_prompt=3)).pairs
    write_records(folder / "pairs.parquet", pairs)
    write_records(folder / "test.jsonl", pairs)
    predictions = [
        Prediction(pair_id=p.id, model=model, reward_a=0, reward_b=0, preference_a=(i * k % 11) / 10)
        for model, k in (("bradley-terry", 3), ("blend", 7))
        for i, p in enumerate(pairs)
    ]
    write_records(folder / "predictions.parquet", predictions)
    with JudgmentStore(folder / "judgments.db") as store:
        judge_pairs(pairs, HumanVotes(pairs, label_is_a_vote=False), store, progress=False)
    return folder


def test_the_commands_of_the_evaluation_guides_run(evaluated: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(evaluated)
    commands = _commands(EVALUATION) + _commands(TABLES)
    assert [command[1] for command in commands] == ["evaluate", *["tables"] * 4]
    for command in commands:
        done = CliRunner().invoke(group, command[1:], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert "bradley-terry" in done.stdout
    [example] = _blocks("python", EVALUATION)
    exec(compile(example, str(EVALUATION), "exec"), {})


def test_the_commands_of_the_power_guide_print_what_it_shows():
    shown = _blocks("text", POWER)
    commands = _commands(POWER)
    assert len(commands) == len(shown) == 4
    for command, output in zip(commands, shown, strict=True):
        done = CliRunner().invoke(group, command[1:], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        # Another processor may round otherwise, and turn a study or two: words and layout are the same all the same.
        assert re.sub(r"[ \d.%─]", "", done.stdout) == re.sub(r"[ \d.%─]", "", output)


DOCS = README.parent / "docs"
COVERED = {"judging", "evaluation", "tables", "power", "annotating", "training"}
"""Guides whose commands have tests of their own, above."""


@pytest.mark.parametrize("page", ["index", "data", "aggregation", "categories", "cookbook/trl", "cookbook/your-data"])
def test_the_commands_of_the_other_pages_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    population = simulate(SimulationConfig(prompts=10, responses_per_prompt=3)).pairs
    write_records("train.jsonl", population)
    write_records("pairs.parquet", population)
    write_records("test.jsonl", population[:12])
    write_trl("trl.jsonl", population, notice=lambda _: None)
    commands = _commands(DOCS / f"{page}.md")
    assert commands
    for command in commands:
        small = ["--epochs", "1", "--max-length", "32"] if command[1] == "train" else []
        done = CliRunner().invoke(group, [*command[1:], *small], catch_exceptions=False)
        assert done.exit_code == 0, f"{command}: {done.output}"


def test_every_page_with_commands_has_a_test_and_every_other_command_exists():
    """Blocks marked text need a network, a server or an hour: their verbs and options must be there all the same."""
    tested = {"index", "data", "aggregation", "categories", "cookbook/trl", "cookbook/your-data"} | COVERED
    pages = {str(page.relative_to(DOCS))[:-3]: page for page in DOCS.rglob("*.md")}
    for name, page in pages.items():
        if name not in ("results", "architecture"):
            assert name in tested or not _commands(page), f"{name}.md has commands that no test runs"
        for language in ("", "text"):
            for command in _commands(page, language):
                _check_options(command)


def _check_options(command: list[str]) -> None:
    known: click.Command | None = group.get_command(click.Context(group), command[1])
    assert known is not None, f"no verb {command[1]}"
    rest = command[2:]
    if isinstance(known, click.Group):
        known = known.get_command(click.Context(known), rest[0])
        assert known is not None, f"no verb {command[1]} {rest[0]}"
    options = {option for parameter in known.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.partition("=")[0] for word in rest if word.startswith("--")}
    assert given <= options | {"--help"}, f"{' '.join(command)}: {sorted(given - options)}"


def test_the_python_example_runs(folder: Path):
    [example] = _blocks("python")
    (folder / "example.py").write_text(
        example.replace('"model"', '"python-model"').replace("judgments.db", "python.db")
    )
    _run(["example.py"], folder)
