from dissensus.evaluation.scores import Scores, notes
from dissensus.records import Metric


def row(model, metric="pearson", group="all", value=0.5, **fields):
    return Metric(model=model, group=group, metric=metric, value=value, n=9, **fields)


ROWS = [
    row("base"),
    row("ours"),
    row("ours", value=0.1, baseline="base"),
    row("ours", value=0.4, target="mace"),
    row("ours", "accuracy", "majority=1"),
    row("gpt", kind="judge"),
    row("one half", "l1", kind="reference"),
    row("ceiling", kind="ceiling", value=0.9),
    row("people", "fleiss_kappa", "dataset=x", kind="people", value=0.2),
]


def test_only_reward_models_are_models():
    scores = Scores(ROWS)
    assert (scores.models, scores.baseline, scores.others) == (["base", "ours"], "base", ["ours"])
    assert (scores.judges, scores.references) == (["gpt"], ["one half"])
    assert scores.groups == ["all"]
    assert scores.majorities == ["majority=1"]
    assert scores.metrics == ["pearson"]


def test_rows_are_found_by_what_they_are():
    scores = Scores(ROWS)
    assert scores.value("ours", "pearson").value == 0.5
    assert scores.value("ours", "pearson", target="mace").value == 0.4
    assert scores.difference("ours", "pearson").value == 0.1
    assert scores.value("gpt", "pearson").kind == "judge"
    assert scores.ceiling("pearson").value == 0.9
    assert scores.people("fleiss_kappa", "dataset=x").value == 0.2
    assert scores.ceiling("l1") is scores.people("fleiss_kappa") is scores.value("nobody", "l1") is None


def test_a_model_that_is_called_ceiling_stays_a_model():
    scores = Scores([row("ceiling", value=0.3), row("ceiling", kind="ceiling", value=0.9)])
    assert scores.models == ["ceiling"]
    assert scores.value("ceiling", "pearson").value == 0.3
    assert scores.ceiling("pearson").value == 0.9


def test_of_nothing_there_is_nothing():
    scores = Scores([])
    assert (scores.models, scores.groups, scores.baseline, notes(scores)) == ([], [], None, [])
