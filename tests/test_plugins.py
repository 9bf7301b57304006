"""Extensions outside of the package are found by an entry point, or by the environment."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import dissensus as ds
from dissensus import cli
from dissensus.errors import ConfigError
from dissensus.judges.base import kinds
from dissensus.plugins import load_plugins

MODULE = """
from typing import Literal
from dissensus import cli
from dissensus.judges import Question
from dissensus.judges.base import JudgeSettings
from dissensus.records import Judgment
from dissensus.settings import Settings

class Dice(JudgeSettings):
    '''A die.'''
    name: Literal["NAME"] = "NAME"
    def open(self, pairs, material): return self
    def questions(self, pair): return [Question(pair, 0)]
    def answer(self, questions):
        for question in questions:
            yield Judgment(pair_id=question.pair.id, judge="NAME", sample=0, choice="a")

class NAMESettings(Settings):
    '''Throw a die.'''
    sides: int = 6
    '''How many.'''

def run(settings):
    print(f"{settings.sides} sides")

cli.VERBS["NAME"] = "Throw."
cli.STEPS["NAME"] = __name__
"""


@pytest.fixture(autouse=True)
def _nothing_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("VERBS", "STEPS"):
        monkeypatch.setattr(cli, name, dict(getattr(cli, name)))
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    monkeypatch.chdir(tmp_path)
    load_plugins.cache_clear()
    yield
    load_plugins.cache_clear()


def test_a_module_that_the_environment_names_brings_a_judge_and_a_verb(tmp_path, monkeypatch, pairs):
    (tmp_path / "a_plugin_of_dice.py").write_text(MODULE.replace("NAME", "Dice"))
    assert "Dice" not in kinds()
    monkeypatch.setenv("DISSENSUS_PLUGINS", " a_plugin_of_dice,")
    assert {judgment.judge for judgment in ds.judge(pairs, "Dice", progress=False)} == {"Dice"}
    run = CliRunner().invoke
    assert run(cli.group, ["Dice", "--sides", "8"]).output == "8 sides\n"
    assert "A die." in run(cli.group, ["judge", "--help"]).output
    assert load_plugins.cache_info().misses == 1


def test_a_package_names_its_modules_as_entry_points(tmp_path, monkeypatch):
    (tmp_path / "a_plugin_of_coins.py").write_text(MODULE.replace("NAME", "Coins"))
    (tmp_path / "coins-1.0.dist-info").mkdir()
    (tmp_path / "coins-1.0.dist-info" / "METADATA").write_text("Name: coins\nVersion: 1.0\n")
    (tmp_path / "coins-1.0.dist-info" / "entry_points.txt").write_text("[dissensus]\nmine = a_plugin_of_coins\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "Throw a die." in CliRunner().invoke(cli.group, ["Coins", "--help"]).output
    (tmp_path / "a_plugin_of_coins.py").write_text("import nowhere_at_all")
    monkeypatch.delitem(sys.modules, "a_plugin_of_coins")
    load_plugins.cache_clear()
    with pytest.raises(ConfigError, match=r"plugin a_plugin_of_coins of the package coins: .*; fix or uninstall it$"):
        load_plugins()


@pytest.mark.parametrize(
    "text", ["1 / 0", "raise ValueError('two\\nlines')", "import nowhere_at_all", "raise SystemExit(0)", None]
)
def test_one_that_cannot_be_imported_is_named_in_one_line(text: str | None, tmp_path, monkeypatch):
    if text is not None:
        (tmp_path / "a_broken_plugin.py").write_text(text)
    monkeypatch.setenv("DISSENSUS_PLUGINS", "a_broken_plugin")
    with pytest.raises(
        ConfigError, match=r"plugin a_broken_plugin of DISSENSUS_PLUGINS: cannot be imported \("
    ) as said:
        CliRunner().invoke(cli.group, ["tables", "--help"], catch_exceptions=False)
    assert "\n" not in str(said.value)
    with pytest.raises(ConfigError, match="plugin a_broken_plugin"):
        ds.report(tmp_path, tmp_path / "page.html")
