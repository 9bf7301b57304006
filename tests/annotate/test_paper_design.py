"""The paper's test set, made by three simulated people in the app: three tasks each, and tables.

What comes out at the end is compared with what they said, worked out without the package's code.
"""

import json
import random
from collections import Counter
from statistics import fmean

import numpy as np
import pytest
from click.testing import CliRunner

from dissensus.annotate.project import verify
from dissensus.annotate.project.store import now
from dissensus.cli import group as cli
from dissensus.files import read_pairs, write_records
from dissensus.records import Pair, Prediction

from .people import make_project
from .web import Site

NAMES = ("Ada", "Grace", "Kofi")
PAIRS = 60
NOISE = {"baseline": 0.35, "margin": 0.15}
"""Of each model's predictions."""


class Person:
    """Reads the screen, thinks in the pair's terms, and answers in those of the screen."""

    def __init__(self, site, name, opinions, seed):
        self.web, self.opinions, self.draw = site.browser(name), opinions, random.Random(seed)
        self.said, self.sides = {}, Counter()

    def work(self):
        """Do what is there; returns how much that was."""
        tasks = self.web.more(want=10)
        for task in tasks:
            self.answer(task)
        return len(tasks)

    def answer(self, task):
        side, number = task["left"][0]["html"].removeprefix("<p>").split(" ")[1:3]
        self.sides[side] += 1
        correct, distinct, share = self.opinions[int(number)]
        estimate = min(10, max(0, round(10 * share + self.draw.gauss(0, 1.5))))
        correct = correct if self.draw.random() < 0.85 else {"single": "multiple", "multiple": "single"}[correct]
        distinct = distinct if self.draw.random() < 0.9 else {"yes": "no", "no": "yes"}[distinct]
        self.said[int(number)] = (correct, distinct, estimate)
        answer = {"correct": correct, "distinct": distinct, "left": estimate if side == "a" else 10 - estimate}
        assert self.web.save(task["key"], answer=answer).status_code == 200


def _predictions(opinions, name):
    draw = random.Random(name)
    shares = {n: min(1.0, max(0.0, share + draw.gauss(0, NOISE[name]))) for n, (_, _, share) in opinions.items()}
    return [
        Prediction(pair_id=f"pair-{n}", model=name, reward_a=0, reward_b=0, preference_a=s) for n, s in shares.items()
    ]


def _majority(values):
    return Counter(values).most_common(1)[0][0]  # of three, there is one


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder, people, opinions) after three people have annotated all pairs."""
    folder, draw = tmp_path_factory.mktemp("design"), random.Random(0)
    opinions = {
        n: ("single" if n % 3 else "multiple", "no" if draw.random() < 0.17 else "yes", draw.random())
        for n in range(PAIRS)
    }
    texts = [{f"response_{x}": f"Response {x} {n} ends." for x in "ab"} for n in opinions]
    given = [Pair(id=f"pair-{n}", prompt=f"Question {n}?", **text) for n, text in enumerate(texts)]
    project = make_project(folder / "annotations.db", folder, pairs=given, people=NAMES)
    project.now = now()
    site = Site(project)
    people = [Person(site, name, opinions, seed) for seed, name in enumerate(NAMES)]
    while sum(person.work() for person in people):
        pass
    assert verify.check(project.store) == []
    project.store.close()
    for name in NOISE:
        write_records(folder / f"{name}.jsonl", _predictions(opinions, name))
    return folder, people, opinions


def _run(*arguments):
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_everybody_saw_every_pair_half_of_them_either_way_and_the_export_says_what_they_said(made):
    folder, people, _ = made
    for person in people:
        assert sorted(person.said) == list(range(PAIRS))
        assert abs(person.sides["a"] - person.sides["b"]) <= 1
    out = folder / "annotated.jsonl"
    done = _run("annotations", "export", folder / "annotations.db", "--out", out)
    assert f"{PAIRS} pairs, {3 * PAIRS} answers, {PAIRS} pairs with all 3" in done
    for pair in read_pairs(out, notice=lambda _: None):
        told = [person.said[int(pair.id.split("-")[1])] for person in people]
        assert pair.category == _majority([correct for correct, _, _ in told])
        assert pair.distinct == _majority([distinct for _, distinct, _ in told])
        assert pair.votes.preference == pytest.approx(fmean(estimate for _, _, estimate in told) / 10)


def test_the_tables_are_the_papers_and_their_numbers_right(made):
    folder, people, opinions = made
    files = [option for name in NOISE for option in ("--predictions", folder / f"{name}.jsonl")]
    out = folder / "scores.json"
    arguments = ["evaluate", folder / "annotations.db", *files, "--baseline", "baseline", "--out", out]
    tables = _run(*arguments, "--resamples", 100, "--swaps", 99, "--format", "markdown")
    assert "Pearson r (higher is better)" in tables
    assert "L1 (lower is better)" in tables
    human = np.array([fmean(person.said[n][2] for person in people) / 10 for n in range(PAIRS)])
    category = np.array([_majority([person.said[n][0] for person in people]) for n in range(PAIRS)])
    rows = {
        (row["model"], row["group"], row["metric"]): row
        for row in json.loads(out.read_text())
        if row["baseline"] is None and row["target"] == "votes"
    }
    for name in NOISE:
        predicted = np.array([p.preference_a for p in _predictions(opinions, name)])
        for group in ("all", "category=single", "category=multiple"):
            chosen = np.isin(category, group.removeprefix("category=") if group != "all" else category)
            pearson = np.corrcoef(predicted[chosen], human[chosen])[0, 1]
            for metric, value in (("pearson", pearson), ("l1", np.abs(predicted[chosen] - human[chosen]).mean())):
                found = rows[name, group, metric]
                assert (found["value"], found["n"]) == (pytest.approx(value), chosen.sum())
                assert found["low"] < value < found["high"]
