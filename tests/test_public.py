"""What the package promises at its front door."""

import subprocess
import sys

import pytest

import dissensus


@pytest.mark.parametrize("name", dissensus.__all__)
def test_every_public_name_is_there(name: str):
    assert getattr(dissensus, name).__name__ == name


def test_the_lazy_table_and_the_list_agree():
    assert sorted(dissensus._HOME) == sorted(dissensus.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        dissensus.nothing  # noqa: B018


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
