"""The package against R (lme4, psych, boot, survey, glm): the same from the same data."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from . import r_figures

ORACLES = Path(__file__).resolve().parents[2] / "bench" / "oracles"


@pytest.fixture(scope="module")
def ours():
    return r_figures.ours()


@pytest.mark.parametrize("name", r_figures.FIGURES)
def test_the_package_finds_what_r_prints(ours, name):
    assert abs(ours[r_figures.SAME.get(name, name)] - float(r_figures.FIGURES[name])) <= r_figures.room(name)


def test_without_r_the_script_says_what_to_install(monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("make_oracles", ORACLES / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["make.py"])
    assert make.main() == 2
    assert "there is no Rscript here" in capsys.readouterr().err
