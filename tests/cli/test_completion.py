import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import get_completion_class
from click.testing import CliRunner

from dissensus.cli import VERBS, group

HEAVY = {"torch", "transformers", "numpy", "scipy", "pyarrow", "matplotlib"}


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def complete(words: str) -> list[str]:
    """Ask as the script of bash asks, and see that nothing heavy was loaded for the answer."""
    code = (
        "import atexit, json, sys; sys.argv = ['dissensus']\n"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))\n"
        "from dissensus.cli import main; main()"
    )
    asked = {"_DISSENSUS_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={**os.environ, **asked}, capture_output=True, text=True, check=False)
    assert not HEAVY & set(json.loads(done.stderr.splitlines()[-1]))
    return done.stdout.splitlines()


def test_verbs_and_options_are_completed():
    assert complete("dissensus ju") == ["plain,judge", "plain,judgments"]
    assert complete("dissensus ") == [f"plain,{verb}" for verb in VERBS]
    assert complete("dissensus judgments com") == ["plain,compare"]
    assert complete("dissensus train --obj") == ["plain,--objective"]
    assert complete("dissensus judge local p --order ") == ["plain,ab", "plain,ba", "plain,both"]


@pytest.mark.parametrize(
    "words",
    [
        "judge votes tra", "annotate tra", "train tra", "predict tra", "evaluate tra", "margin tra", "pairs tra",
        "judgments compare tra", "annotations export tra", "tables tra", "report tra", "study tra",
        "margin p --store tra", "evaluate p --predictions tra", "predict p --model tra", "annotate --db tra",
    ],
)  # fmt: skip
def test_files_are_left_to_the_shell(words: str):
    Path("train.jsonl").touch()
    *given, incomplete = words.split()
    completed = get_completion_class("bash")(group, {}, "dissensus", "").get_completions(given, incomplete)
    assert [(item.type, item.value) for item in completed] == [("file", "tra")]


def test_data_sets_and_presets_are_completed_where_no_file_begins_so():
    assert complete("dissensus pairs pri") == ["plain,prism"]
    assert complete("dissensus study pap") == ["plain,paper", "plain,paper-gold"]
    assert complete("dissensus new mine --preset re") == ["plain,real-votes"]
    Path("prizes.jsonl").touch()
    Path("papers.yaml").touch()
    assert complete("dissensus pairs pri") == ["file,pri"]
    assert complete("dissensus study pap") == ["file,pap"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_itself_gives_the_words(tmp_path: Path):
    program = tmp_path / "bin" / "dissensus"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom dissensus.cli import main\nmain()\n")
    program.chmod(0o755)
    script = """
        eval "$(dissensus completion bash)"
        COMP_WORDS=(dissensus ju) COMP_CWORD=1
        _dissensus_completion dissensus
        echo "${COMPREPLY[@]}"
    """
    there = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=there, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["judge", "judgments"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_calls_us(shell: str):
    done = CliRunner().invoke(group, ["completion", shell], catch_exceptions=False)
    assert f"_DISSENSUS_COMPLETE={shell}_complete" in done.output
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=done.output, text=True, check=True)
