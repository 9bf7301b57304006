"""A verb is added in one place: a step, and its line in the list of verbs."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pytest
from click.testing import CliRunner

from dissensus import cli
from dissensus.records import Pair
from dissensus.settings import Argument, Reads, Settings


class CountSettings(Settings):
    """Count PAIRS."""

    pairs: Annotated[str, Reads(), Argument()]
    """What is counted."""
    by: str = "row"
    """What one is."""


class _Result:
    def __init__(self, count: int) -> None:
        self.count = count

    def lines(self) -> list[str]:
        return [f"pairs  {self.count}"]


def _run(settings: CountSettings) -> _Result:
    from dissensus.sources import read_pairs

    return _Result(sum(1 for _ in read_pairs(settings.pairs)))


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> None:
    step = ModuleType("dissensus.steps.count")
    step.CountSettings, step.run = CountSettings, _run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, step.__name__, step)
    monkeypatch.setitem(cli.VERBS, "count", "Count pairs.")


@pytest.mark.usefixtures("count")
def test_a_new_step_is_a_verb_with_options_help_and_a_file_of_settings(tmp_path: Path, pairs: list[Pair]):
    from dissensus.files import write_records

    file, config = tmp_path / "pairs.jsonl", tmp_path / "count.yaml"
    write_records(file, pairs)
    config.write_text(f"pairs: {file}\n")
    run = CliRunner().invoke
    assert run(cli.group, ["count", str(file)]).output == f"pairs  {len(pairs)}\n"
    assert run(cli.group, ["count", "--config", str(config)]).output == f"pairs  {len(pairs)}\n"
    assert "--by TEXT What one is. [default: row]" in " ".join(run(cli.group, ["count", "--help"]).output.split())
    assert "count Count pairs." in " ".join(run(cli.group, ["--help"]).output.split())
