"""No verb writes over what it reads: every output of every verb against every one of its inputs."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dissensus.cli import group
from dissensus.cli.options import StepCommand
from dissensus.cli.outputs import Database, NamedSource, Output, Source, Verb
from dissensus.errors import DissensusError, OutputError

NO_PATHS = """
    annotator average base_url baseline batching by calibration columns device fields host judge judge_name judge_names
    key_variable margin_sign name names objective organiser origin part personas precision preset price questions quorum
    ray_address repo report_to revision rule scale seeds set_values split sweep_rates trusted_host values votes
"""
"""Options whose text is no path. A new one is put here, or gets a type of cli/outputs.py."""


def verbs(
    command: click.Command = group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from verbs(command.get_command(context, name), (*path, name))
    else:
        yield path, command


def reads(param: click.Parameter) -> bool:
    return isinstance(param.type, Source) or (isinstance(param.type, click.Path) and not isinstance(param.type, Output))


def writes(param: click.Parameter) -> bool:
    return isinstance(param.type, Output | Database)


VERBS = dict(verbs())
CLASHES = [
    pytest.param(verb, out, source, id=f"{' '.join(verb)} {out.opts[-1]} {source.opts[-1]}")
    for verb, command in VERBS.items()
    for out in filter(writes, command.params)
    for source in command.params
    if source is not out and (reads(source) or writes(source))
]


def is_required(command: click.Command, param: click.Parameter) -> bool:
    """Whether a verb needs a parameter: those made of settings are asked for when the settings are made."""
    if not isinstance(command, StepCommand):
        return param.required
    field = command.settings.model_fields.get(str(param.name))
    return field is not None and field.is_required()


def words_for(param: click.Parameter, value: str) -> list[str]:
    if isinstance(param.type, NamedSource):
        value = f"name={value}"
    return [value] if isinstance(param, click.Argument) else [max(param.opts, key=len), value]


def invoke(verb: tuple[str, ...], given: dict[click.Parameter, str]) -> None:
    """Call a verb with these values, and with something for whatever else it must have."""
    words = list(verb)
    if verb[-1] == "combined":  # its judges are no option
        words += ["--set", "judges=[{name: committee}]"]
    for param in VERBS[verb].params:
        if param in given:
            words += words_for(param, given[param])
        elif is_required(VERBS[verb], param):
            fitting = param.type.choices[0] if isinstance(param.type, click.Choice) else "0.5"
            if getattr(param.type, "exists", False):
                fitting = "other" if param.type.dir_okay else "other.jsonl"
            words += words_for(param, fitting)
    CliRunner().invoke(group, words, catch_exceptions=False)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for folder in ("other", "folder", "folder/deep"):
        Path(folder).mkdir()
        Path(folder, "config.json").write_text("{}")
    for file in ("file.jsonl", "other.jsonl"):
        Path(file).write_text("{}")  # settings, too
    Path("linked.jsonl").symlink_to("file.jsonl")
    os.link("file.jsonl", "hard.jsonl")
    Path("elsewhere").symlink_to("folder")
    return tmp_path


def content(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(("verb", "out", "source"), CLASHES)
def test_nothing_that_is_read_is_written_over(
    place: Path, verb: tuple[str, ...], out: click.Parameter, source: click.Parameter
) -> None:
    before = content(place)
    role = out.type.role if isinstance(out.type, Output) else "store"
    tried = [("file.jsonl", same) for same in ("file.jsonl", "./other/../file.jsonl", "linked.jsonl", "hard.jsonl")]
    if role in ("file", "page", "store"):
        tried.append(("file.jsonl", "file.jsonl-wal"))
    if role in ("file", "page", "folder", "run") and not writes(source):
        inside = {"folder": "folder/deep", "run": "folder"}.get(role, "folder/deep/config.json")
        tried += [("folder", inside), ("elsewhere", inside)]
    if writes(source):  # two results that are one
        tried = [("new.jsonl", "new.jsonl"), ("new.jsonl", "other/../new.jsonl"), ("new.jsonl", "NEW.jsonl")]
    if getattr(source.type, "file_okay", True) is False:
        tried = [(read, written) for read, written in tried if not read.endswith(".jsonl")]
    if getattr(source.type, "dir_okay", True) is False:
        tried = [(read, written) for read, written in tried if read.endswith(".jsonl")]
    if role == "run":  # the folder of a run may hold what it reads
        tried = [(read, written) for read, written in tried if read in ("folder", "elsewhere")]
    for read, written in tried:
        with pytest.raises(OutputError, match=r"stays as it is; name another|is also"):
            invoke(verb, {source: read, out: written})
    assert content(place) == before


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_says_of_each_option_whether_it_is_a_path(verb: tuple[str, ...]) -> None:
    command = VERBS[verb]
    assert isinstance(command, Verb)
    assert all(isinstance(param.type, Output) for param in command.params if "--out" in param.opts)
    unknown = [
        param.name
        for param in command.params
        if (isinstance(param.type, click.types.StringParamType) or param.type.name == "TEXT")
        and str(param.name).rpartition("__")[2] not in NO_PATHS.split()
    ]
    assert not unknown, f"{' '.join(verb)}: a path that is read (Source), or no path (add it to NO_PATHS)?"


def test_there_are_verbs_and_clashes_to_try() -> None:
    assert len(VERBS) > 25
    assert len(CLASHES) > 50


@pytest.mark.parametrize(
    ("verb", "read", "written"),
    [("predict", "out.jsonl.part/000000.parquet", "out.jsonl"), ("train", "out/pairs.jsonl", "out")],
)
def test_what_is_read_does_not_lie_in_a_folder_that_is_removed(place: Path, verb: str, read: str, written: str) -> None:
    Path(read).parent.mkdir()
    Path(read).write_text("mine")
    with pytest.raises(OutputError, match="stays as it is"):
        CliRunner().invoke(group, [verb, read, "--model", "other", "--out", written], catch_exceptions=False)
    assert Path(read).read_text() == "mine"


def test_the_page_of_a_run_may_be_made_again_in_its_folder(place: Path) -> None:
    shutil.copy("file.jsonl", "folder/report.html")
    for out in ("folder/report.html", "folder/new"):
        with pytest.raises(Exception, match="folder") as caught:
            CliRunner().invoke(group, ["report", "folder", "--out", out], catch_exceptions=False)
        assert "stays as it is" not in str(caught.value), "what is in the page's way is for the report to say"


def test_names_that_are_no_paths_do_no_harm(place: Path) -> None:
    with pytest.raises(Exception, match="file"):
        CliRunner().invoke(
            group, ["pairs", "no-such-set", "--column", "file.jsonl=x", "--out", "file.jsonl"], catch_exceptions=False
        )


def test_a_folder_without_a_name_of_its_own_is_as_any_other(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine/deeper").mkdir(parents=True)
    monkeypatch.chdir("mine/deeper")
    for out, what in [(".", "deeper"), ("..", "mine"), ("../.", "mine")]:
        done = CliRunner().invoke(group, ["split", "../../file.jsonl", "--out-train", out, "--out-test", "x.jsonl"])
        assert isinstance(done.exception, DissensusError), f"{out}: {done.exception!r}"
        assert Output().convert(out, None, None).name == what
    for out, why in [("", "an empty text names no file"), ("/", "cannot be written over")]:
        done = CliRunner().invoke(group, ["margin", "../../file.jsonl", "--store", "x.db", "--out", out])
        assert done.exit_code == 2
        assert why in done.output
