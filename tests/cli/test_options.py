"""Options that are made from settings."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import click
import pytest
from click.testing import CliRunner
from pydantic import Field

from dissensus.cli.options import step_command
from dissensus.errors import ConfigError, OutputError
from dissensus.settings import Argument, Option, Reads, Settings, Writes


class Sweep(Settings):
    rates: Annotated[str, Option("--sweep", metavar="RATES")] = "1e-4..1e-6"
    """Rates to try."""
    points: Annotated[int, Field(ge=2)] = 5
    """Rates in a range."""


class Cook(Settings):
    """Cook PAIRS."""

    groups: ClassVar = {"Sweep": ("sweep",)}
    pairs: Annotated[str, Reads(), Argument()]
    """A file of pairs."""
    out: Annotated[Path, Writes()]
    """What is written."""
    order: Annotated[Literal["ab", "ba"], Option(old="--which")] = "ab"
    """Which response is shown first."""
    n: Annotated[int, Field(ge=1)] = 10
    """Judgments per pair."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of the draws."""
    fast: bool = True
    """Use the fast path."""
    vote: Annotated[bool | None, Option("--vote/--no-vote", default="as the pairs say")] = None
    """Whether the label is a vote."""
    persona: tuple[str, ...] = ()
    """Who is asked."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our name and the file's."""
    sweep: Annotated[Sweep | None, Option(prefix="sweep-")] = None


def cook(*words: str) -> tuple[Settings, str]:
    """Return the settings that a command line makes, and what it prints."""
    seen: list[Settings] = []
    done = CliRunner().invoke(step_command("cook", Cook, seen.append), words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return seen[0], done.output


def test_every_kind_of_setting_is_an_option():
    words = "a.jsonl --out o.csv --order ba --n 3 --top-p 0.5 --no-fast --no-vote --persona x --persona y --columns a=b"
    settings, _ = cook(*words.split(), "--sweep", "1e-3,1e-4", "--sweep-points", "4")
    assert settings == Cook(
        pairs="a.jsonl",
        out=Path("o.csv"),
        order="ba",
        n=3,
        top_p=0.5,
        fast=False,
        vote=False,
        persona=("x", "y"),
        columns={"a": "b"},
        sweep=Sweep(rates="1e-3,1e-4", points=4),
    )
    assert cook("a.jsonl", "--out", "o.csv")[0] == Cook(pairs="a.jsonl", out=Path("o.csv"))


def test_help_shows_groups_defaults_choices_and_bounds():
    text = CliRunner().invoke(step_command("cook", Cook, lambda settings: None), ["--help"]).output
    lines = " ".join(text.split())
    for shown in (
        "PAIRS A file of pairs. [required]",
        "--out PATH What is written. [required]",
        "--order [ab|ba] Which response is shown first. [default: ab]",
        "--n N Judgments per pair. [default: 10; ≥ 1]",
        "--top-p X Of the draws. [> 0; ≤ 1]",
        "--fast / --no-fast Use the fast path. [default: on]",
        "[default: as the pairs say]",
        "Sweep: --sweep RATES Rates to try. [default: 1e-4..1e-6] --sweep-points N",
    ):
        assert shown in lines
    assert "--which" not in lines


def test_an_option_wins_over_set_and_set_over_the_file(tmp_path: Path):
    file = tmp_path / "cook.yaml"
    file.write_text("pairs: a.jsonl\nout: o.csv\nn: 1\norder: ba\nsweep: {points: 3}\ntop_p: 0.25\n")
    settings, _ = cook("--config", str(file), "--set", "n=2", "--set", "sweep.points=7", "--top-p", "0.75")
    assert settings.model_dump(include={"n", "order", "top_p"}) == {"n": 2, "order": "ba", "top_p": 0.75}
    assert settings.sweep == Sweep(points=7)  # type: ignore[attr-defined]


def test_an_old_spelling_works_and_names_the_new_one():
    settings, output = cook("a.jsonl", "--out", "o.csv", "--which", "ba")
    assert settings.order == "ba"  # type: ignore[attr-defined]
    assert "--which is now --order" in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--n 0", "--n: Input should be greater than or equal to 1 (found '0')"),
        ("--order up", "--order: Input should be 'ab' or 'ba'"),
        ("--columns a", "--columns a: expected KEY=VALUE"),
        ("--set n", "--set n: expected KEY=VALUE"),
        ("--set ordr=3", "ordr: unknown setting; did you mean 'order'?"),
        ("--set sweep.point=3", "sweep.point: unknown setting; did you mean 'points'?"),
        ("--set n=none", "--n: Input should be a valid integer"),
        ("--top-p 2", "--top-p: Input should be less than or equal to 1"),
        ("--config no.yaml", "--config no.yaml: cannot be read"),
    ],
)
def test_what_is_wrong_is_one_line(words: str, message: str):
    command = step_command("cook", Cook, lambda settings: None)
    with pytest.raises(ConfigError) as caught:
        command.main(["a.jsonl", "--out", "o.csv", *words.split()], standalone_mode=False)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("words", "missing"), [([], "Missing PAIRS"), (["a.jsonl"], "Missing option '--out'")])
def test_what_is_missing_is_named(words: list[str], missing: str):
    with pytest.raises(click.UsageError, match=missing):
        step_command("cook", Cook, lambda settings: None).main(words, standalone_mode=False)


def test_a_file_of_settings_cannot_have_a_verb_write_over_what_it_reads(tmp_path: Path):
    pairs, file = tmp_path / "a.jsonl", tmp_path / "cook.yaml"
    pairs.write_text("{}")
    file.write_text(f"pairs: {pairs}\nout: {pairs}\n")
    with pytest.raises(OutputError, match="is what PAIRS gives"):
        step_command("cook", Cook, lambda settings: None).main(["--config", str(file)], standalone_mode=False)


def test_a_result_is_printed_by_its_lines():
    class Result:
        def lines(self) -> list[str]:
            return ["served  3"]

    def run(settings: Settings, **extra: Any) -> Result:
        assert extra == {"loud": True}
        return Result()

    command = step_command("cook", Cook, run, extra=[click.Option(["--loud"], is_flag=True)])
    assert CliRunner().invoke(command, ["a.jsonl", "--out", "o.csv", "--loud"]).output == "served  3\n"
