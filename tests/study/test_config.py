import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dissensus.errors import ConfigError
from dissensus.study.config import load_study, presets, scales

STUDY: dict[str, Any] = {
    "pairs": "pairs.jsonl",
    "training": {"epochs": 3},
    "models": {"plain": {"objective": "bradley-terry"}, "margin": {"objective": "margin", "epochs": 1}},
    "baseline": "plain",
}


def _write(tmp_path: Path, changes: dict[str, Any]) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**STUDY, **changes}, sort_keys=False))
    return path


def test_models_share_the_training_settings_and_may_differ(tmp_path: Path):
    config = load_study(_write(tmp_path, {}))
    assert (config.models["plain"].epochs, config.models["margin"].epochs) == (3, 1)


def test_a_study_declares_its_primary_metrics(tmp_path: Path):
    assert load_study(_write(tmp_path, {})).evaluation.primary == ("pearson_within", "l1")
    for primary in (["brier"], "brier"):
        assert load_study(_write(tmp_path, {"evaluation": {"primary": primary}})).evaluation.primary == ("brier",)


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_a_valid_study(name: str):
    config = load_study(name)
    assert config.baseline in {*config.models, *config.pretrained}
    for scale in scales(name):
        assert load_study(name, scale=scale).copies == "simulated"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seedz": [1]}, "seedz: unknown setting; did you mean 'seeds'"),
        (
            {"models": {"plain": {"objctive": "margin"}}},
            r"models\.plain\.objctive: unknown setting; did you mean 'objective'",
        ),
        (
            {"models": {"plain": {"objective": "hinge"}}},
            "models.plain.objective: Input should be 'bradley-terry', .*found 'hinge'",
        ),
        ({"judge": {"name": "committee", "members": 3}}, "judge.members: unknown setting"),
        ({"baseline": "other"}, r"baseline 'other' is none of the models \(plain, margin\)"),
        ({"hold_out": {"by": "group", "count": 2, "share": 0.1}}, "hold_out: give one of count, share and names"),
        ({"models": {"../x": {}}, "baseline": "../x"}, "cannot name a folder"),
        ({"simulation": {"prompts": 3}}, "'simulation' belongs to 'pairs: simulated'"),
        ({"seeds": [1, 1]}, "seeds repeat"),
        (
            {"evaluation": {"primary": ["ece"]}},
            "evaluation.primary: primary metrics: 'ece' is no metric whose .*choose among pearson_within, .*l1, brier",
        ),
        ({"evaluation": {"primary": 1}}, "evaluation.primary: "),
        ({"evaluation": {"primary": []}}, "evaluation.primary: primary metrics: none is named; choose among"),
        ({"judges": {"committee": {"name": "committee", "m": 10}}}, r"judges\.committee\.m: unknown setting"),
        (
            {"judge": {"name": "server", "model": "m", "max_cost": 5}},
            "judge: max_cost: nothing costs anything without a price",
        ),
        ({"test_judges": [{"name": "votes"}]}, "people's votes are what judges are compared with"),
        (
            {"out_of_domain": {"x": {"pairs": "x.jsonl", "colums": {}}}},
            r"out_of_domain\.x\.colums: unknown setting; did you mean 'columns'",
        ),
        ({"judge": {"name": "votess"}}, r"judge: no judge is called 'votess'; did you mean 'votes'\?"),
        ({"judge": {"name": "x"}}, "no judge is called 'x'; choose one of committee, votes"),
        (
            {"categories": {"name": "judge", "judge": {"name": "local", "modell": "m"}}},
            r"categories\.judge\.modell: unknown setting; did you mean 'model'\?",
        ),
        ({"test_judges": [{"name": "store", "store": "j.db", "votes": "limit"}]}, "'votes' is about margins"),
        ({"training": {"epochs": 0}}, r"models\.plain\.epochs|training\.epochs"),
    ],
)
def test_a_wrong_setting_is_named_with_its_remedy(tmp_path: Path, changes: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        load_study(_write(tmp_path, changes))
    assert "\n" not in str(caught.value)
    assert "study.yaml" in str(caught.value)


def test_a_scale_of_a_study_of_ones_own(tmp_path: Path):
    with pytest.raises(ConfigError, match="no scale 'small'; only presets that come with the package have some"):
        load_study(_write(tmp_path, {}), scale="small")


def test_a_study_that_is_not_there():
    with pytest.raises(ConfigError, match="no study 'papr'; give a YAML file or one of: demo"):
        load_study("papr")
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        load_study("nowhere.yaml")


def test_broken_yaml_names_its_line(tmp_path: Path):
    path = tmp_path / "study.yaml"
    path.write_text("pairs: [\n")
    with pytest.raises(ConfigError, match=r"study\.yaml: not YAML .*line"):
        load_study(path)


def test_the_study_in_the_guide_is_valid_and_knows_every_preset(tmp_path: Path):
    guide = (Path(__file__).parents[2] / "docs" / "studies.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", guide, flags=re.M | re.S)
    for folds in (False, True):  # which stand instead of hold_out
        shown = [block for block in blocks if "cross_validate:" not in block or folds]
        text = "\n".join(shown).replace("hold_out:", "# hold_out:" if folds else "hold_out:")
        (tmp_path / "study.yaml").write_text(text)
        study = load_study(tmp_path / "study.yaml")
        assert study.baseline == "bradley-terry"
        assert (study.cross_validate is not None) == folds
    assert all(f"| `{name}` |" in guide for name in presets())
