import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from dissensus.errors import InputError
from dissensus.files import write_json
from dissensus.records import Margin, Metric, Pair
from dissensus.reward.config import TrainConfig
from dissensus.reward.serving.model_card import MARK, write_card
from dissensus.reward.serving.reward_model import RewardModel
from dissensus.reward.training.run import train


def _trained(backbone: Path, out: Path, pairs: list[Pair], margins: list[Margin], **settings: Any) -> Path:
    config = TrainConfig(model=str(backbone), epochs=1, max_length=64, batch_size=12, precision="fp32", **settings)
    train(pairs, config, out, margins=margins, progress=False)
    return out


@pytest.fixture(scope="module")
def folder(tiny_bert: Path, more_pairs: list[Pair], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("card") / "m"
    margins = [Margin(pair_id=pair.id, margin=i % 6 / 5, n_judgments=10) for i, pair in enumerate(more_pairs)]
    return _trained(tiny_bert, out, more_pairs, margins, objective="margin")


def _front_matter(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---\n")[1])


def _change(folder: Path, **config: Any) -> None:
    content = json.loads((folder / "dissensus.json").read_text())
    content["config"].update(config)
    write_json(folder / "dissensus.json", content)


def test_the_card_says_what_the_run_did(folder: Path, tiny_bert: Path):
    card = write_card(folder).read_text()
    summary = json.loads((folder / "dissensus.json").read_text())["summary"]
    assert f"| trained on | {summary['pairs']} |" in card
    assert f"{summary['texts']} distinct texts" in card
    assert "Beyond the Binary" in card
    assert "It is unsigned" in card
    last = [json.loads(row) for row in (folder / "training.jsonl").read_text().splitlines()][-1]
    assert f"labels {last['validation_nll']:.6g}" in card
    calibration = json.loads((folder / "calibration.json").read_text())
    assert f"slope {calibration['slope']:.6g}" in card
    assert str(tiny_bert) not in card
    assert "None was fitted" not in card


def test_the_front_matter_is_what_the_hub_reads(folder: Path, tmp_path: Path):
    assert "base_model" not in _front_matter(write_card(folder).read_text())
    other = Path(shutil.copytree(folder, tmp_path / "m"))
    _change(other, model="microsoft/deberta-v3-base")
    about = _front_matter(write_card(other).read_text())
    assert about["base_model"] == "microsoft/deberta-v3-base"
    assert (about["library_name"], about["pipeline_tag"]) == ("transformers", "text-classification")
    assert "reward-model" in about["tags"]


def test_names_cannot_break_the_card(folder: Path, tmp_path: Path):
    evil = "x\n---\ntags: [y]\n# <script>alert(1)</script> | `a` [b](http://c)"
    other = Path(shutil.copytree(folder, tmp_path / "m"))
    _change(other, model=evil)
    row = Metric(model=evil, group="dataset=a|b", metric="l1", value=0.1, low=0.05, high=0.2, n=7, notes=(evil,))
    write_json(tmp_path / "scores.json", [row.model_dump()])
    card = write_card(other, tmp_path / "scores.json").read_text()
    assert "<script>" not in card
    assert r"\[b\](http://c)" in card
    assert _front_matter(card)["tags"] != ["y"]
    assert card.count("\n---\n") == 1
    assert r"| dataset=a\|b | l1 | 0.1 | 0.05 to 0.2 | 7 |" in card


def test_the_scores_are_those_of_this_model(folder: Path, tmp_path: Path):
    def scores(*rows: Metric) -> Path:
        write_json(tmp_path / "scores.json", [row.model_dump() for row in rows])
        return tmp_path / "scores.json"

    mine = Metric(model="m", group="all", metric="pearson", value=0.5, low=0.25, high=0.75, n=9)
    other = Metric(model="other", group="all", metric="pearson", value=0.875, n=9)
    less = Metric(model="m", group="all", metric="pearson", value=None, n=9, baseline="other", notes=("too few",))
    card = write_card(folder, scores(mine, other, less)).read_text()
    assert "| all | pearson | 0.5 | 0.25 to 0.75 | 9 |" in card
    assert "| all | pearson, difference to other | undefined | none | 9 |" in card
    assert "0.875" not in card
    assert "0.875" in write_card(folder, scores(other)).read_text()
    with pytest.raises(InputError, match="metrics of x, other, none of them 'm'"):
        write_card(folder, scores(other.model_copy(update={"model": "x"}), other))
    with pytest.raises(InputError, match="holds no metrics"):
        write_card(folder, scores())


def test_somebody_elses_card_stays(folder: Path, tmp_path: Path):
    other = Path(shutil.copytree(folder, tmp_path / "m"))
    card = write_card(other)
    mine = card.read_text().replace(MARK, "") + "Mine.\n"
    card.write_text(mine)
    assert write_card(other).read_text() == mine


@pytest.mark.parametrize("backbone", ["tiny_bert", "tiny_llama"])
def test_the_example_without_us_gives_our_reward(backbone, request, pairs, margins, tmp_path):
    for objective in ("mean-variance",) if backbone == "tiny_bert" else ("margin",):
        out = _trained(request.getfixturevalue(backbone), tmp_path / objective, pairs, margins, objective=objective)
        ours, plain = re.findall(r"```python\n(.*?)```", write_card(out).read_text(), flags=re.DOTALL)
        scope: dict[str, Any] = {}
        exec(plain.replace("path/to/this/folder", str(out)), scope)
        text = (scope["prompt"], scope["response"])
        expected = RewardModel.load(out).rewards([text])[0]
        assert scope["reward"] == pytest.approx(expected, abs=1e-5)
        exec(ours.replace("path/to/this/folder", str(out)), scope)
        assert scope["rewards"][0] == pytest.approx(expected, abs=1e-5)


def test_a_folder_without_our_file(tmp_path: Path):
    with pytest.raises(InputError, match=r"no dissensus\.json"):
        write_card(tmp_path)
    (tmp_path / "dissensus.json").write_text("[]")
    with pytest.raises(InputError, match="not written by this version"):
        write_card(tmp_path)
