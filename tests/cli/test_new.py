from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from dissensus.cli import group
from dissensus.errors import ConfigError, InputError, OutputError
from dissensus.files import write_records
from dissensus.records import Pair, Votes
from dissensus.reward.config import TrainConfig
from dissensus.study import StudyConfig, load_study
from dissensus.study.config import preset_text


def new(*arguments: str) -> str:
    done = CliRunner().invoke(group, ["new", *arguments], standalone_mode=False, catch_exceptions=False)
    return done.output


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_setting_is_there_with_words_and_the_study_is_valid():
    assert "dissensus study mine.yaml --dry-run" in new("mine")
    text = Path("mine.yaml").read_text(encoding="utf-8")
    assert load_study("mine.yaml").baseline == "bradley-terry"
    lines = text.splitlines()
    for name in StudyConfig.model_fields:
        [at] = [i for i, line in enumerate(lines) if line.startswith((f"{name}:", f"# {name}:"))]
        assert lines[at - 1].startswith("# "), f"{name} is not explained"
    assert all(f"  # {name}: " in text for name in TrainConfig.model_fields)


def test_what_is_commented_out_is_the_default():
    new("mine")
    lines = Path("mine.yaml").read_text(encoding="utf-8").splitlines()
    one_line = [
        line[2:] for line in lines if line.startswith("# ") and line.split(":")[0][2:] in StudyConfig.model_fields
    ]
    for line in one_line:
        [(name, value)] = yaml.safe_load(line).items()
        default = StudyConfig.model_fields[name].get_default(call_default_factory=True)
        if value is not None and not hasattr(default, "model_dump"):
            assert value == (list(default) if isinstance(default, tuple) else default)


def test_nothing_is_written_over_and_presets_can_begin_one():
    new("mine", "--preset", "paper")
    assert Path("mine.yaml").read_text(encoding="utf-8") == preset_text("paper")
    with pytest.raises(OutputError, match="is not written over"):
        new("mine")
    with pytest.raises(ConfigError, match="no preset 'papr'; choose one of: demo, objectives, paper"):
        new("other", "--preset", "papr")


@pytest.mark.slow
def test_it_runs_as_written_but_for_pairs_and_models(tiny_bert: Path):
    new("mine")
    text = Path("mine.yaml").read_text(encoding="utf-8").replace("model: minilm", f"model: {tiny_bert}")
    small = text.replace("name: committee", f"name: committee\n  encoder: {tiny_bert}").replace(
        "length: 256", "length: 32"
    )
    Path("mine.yaml").write_text(small, encoding="utf-8")
    pairs = [
        Pair(id=f"{i}-{j}", prompt=f"p {i}", response_a="good", response_b=f"bad {j}", votes=Votes(a=3, b=j))
        for i in range(20)
        for j in range(2)
    ]
    write_records("pairs.jsonl", pairs)
    done = CliRunner().invoke(group, ["study", "mine.yaml", "--out", "run"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert Path("run/report.html").is_file()


@pytest.mark.parametrize("name", ["", ".", "folder/"])
def test_a_name_that_is_none_makes_no_file(name: str):
    with pytest.raises(InputError, match="names no file; give a name"):
        new(name)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("ddp", {"distributed_type": "MULTI_GPU"}),
        ("fsdp2", {"FSDP_VERSION": 2, "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"}),
        ("zero3", {"zero_stage": 3, "zero3_save_16bit_model": True}),
    ],
)
def test_a_file_for_accelerate_is_read_by_accelerate(kind: str, expected: dict[str, object]):
    config_args = pytest.importorskip("accelerate.commands.config.config_args")
    assert "accelerate launch --config_file nodes.yaml -m dissensus train" in new("nodes", "--accelerate", kind)
    found = config_args.load_config_from_file("nodes.yaml")
    parts = {**found.deepspeed_config, **{name.upper(): value for name, value in found.fsdp_config.items()}}
    assert {"distributed_type": found.distributed_type.value, **parts}.items() >= expected.items()


def test_a_file_for_accelerate_is_no_study():
    with pytest.raises(InputError, match="give one of them"):
        new("mine", "--accelerate", "ddp", "--preset", "paper")
    new("mine", "--accelerate", "ddp")
    with pytest.raises(OutputError, match="not written over"):
        new("mine", "--accelerate", "ddp")
