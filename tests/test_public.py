"""What the package promises at its front door."""

import subprocess
import sys
from pathlib import Path

import pytest

import dissensus


@pytest.mark.parametrize("name", dissensus.__all__)
def test_every_public_name_is_there(name: str):
    assert getattr(dissensus, name).__name__ == name


def test_the_lazy_table_and_the_list_agree():
    assert sorted(dissensus._HOME) == sorted(dissensus.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        dissensus.nothing  # noqa: B018


def test_what_a_notebook_completes_is_what_is_public():
    names = dir(dissensus)
    assert set(dissensus.__all__) <= set(names)
    assert not {"annotations", "importlib", "TYPE_CHECKING", "Any", "cli"} & set(names)
    folder = Path(dissensus.__file__).parent
    there = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    inner = {"__init__", "__main__", "cli", "event_loops"}
    assert {name for name in names if name not in dissensus.__all__} == {*there - inner, "__version__"}


def test_a_submodule_is_there_without_being_imported():
    code = "import dissensus; print(dissensus.stats.__name__, dissensus.margins.__name__, dissensus.Pair.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "dissensus.stats dissensus.margins Pair\n"
    code = "import sys, dissensus; dir(dissensus); print([m for m in sys.modules if m.startswith('dissensus.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("package", "lacking"), [("torch", {"RewardModel", "train"})])
def test_help_and_inspect_work_without_an_extra_and_what_needs_it_says_so(package: str, lacking: set[str]):
    code = (
        "import importlib.machinery, inspect, pydoc, sys\n"
        "class Without(importlib.machinery.PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, *more):\n"
        f"        return None if name.split('.')[0] == {package!r} else super().find_spec(name, *more)\n"
        "sys.meta_path = [finder for finder in sys.meta_path if finder not in Without.__mro__] + [Without]\n"
        "import dissensus\n"
        "assert 'class Pair' in pydoc.render_doc(dissensus, renderer=pydoc.plaintext)\n"
        "print(*(name for name, _ in inspect.getmembers(dissensus)))\n"
        f"from dissensus import {min(lacking)}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert {*dir(dissensus)} - {*done.stdout.split()} == lacking, done.stderr
    assert done.returncode == 1
    assert package in done.stderr.splitlines()[-1]


def test_help_needs_nothing_heavy():
    code = (
        "import sys; sys.argv = ['dissensus', '--help']\n"
        "from dissensus.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'transformers', 'numpy', 'pydantic', 'pyarrow', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "study" in done.stdout


MISSING = [("torch", "train", "train"), ("sqlalchemy", "annotations", "annotate")]


@pytest.mark.parametrize(("module", "verb", "extra"), MISSING)
def test_what_is_not_installed_is_said_with_its_extra(module: str, verb: str, extra: str, tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "p", "response_a": "a", "response_b": "b", "label": "a"}\n')
    arguments = {"train": ["p.jsonl", "--out", "m"], "annotations": ["people", "x.db"]}[verb]
    code = f"import sys; sys.modules[{module!r}] = None; sys.argv = {['dissensus', verb, *arguments]!r}\n"
    code += "from dissensus.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"dissensus: this needs {module}, which is not installed; run: pip install 'dissensus[{extra}]'"
    )
