"""The paper's test set, made by three simulated people in the real app: 150 pairs, three tasks, tables and a report.

150 pairs of answers of chatbots, each with the votes of three real people. The simulated people's opinions are drawn
from those votes. What comes out at the end is compared with what they said, worked out without the package's code.
"""

import http.client
import json
import random
from collections import Counter
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from click.testing import CliRunner

from dissensus.annotate.project import verify
from dissensus.annotate.project.store import now
from dissensus.cli import group
from dissensus.files import read_pairs, write_records
from dissensus.records import Pair, Prediction

from .live import served
from .people import make_project

pytestmark = [pytest.mark.real_data, pytest.mark.slow]
NAMES = ("Ada", "Grace", "Kofi")
MARK = "Response {} of pair {}."


def _marked(number, pair):
    """The pair, each response beginning with which it is: what a simulated reader reads."""
    texts = {f"response_{x}": f"{MARK.format(x, number)}\n\n{getattr(pair, f'response_{x}')}" for x in "ab"}
    return Pair.model_validate({**pair.model_dump(exclude={"votes", "label"}), **texts, "id": f"pair-{number}"})


class Person:
    """Reads the screen, thinks in the pair's terms, and answers in those of the screen, over real HTTP."""

    def __init__(self, name, origin, opinions, seed):
        self.name, self.opinions, self.draw = name, opinions, random.Random(seed)
        self.said, self.sides = {}, Counter()
        self.web = http.client.HTTPConnection(origin.removeprefix("http://"))
        self.headers = {"Origin": origin, "Content-Type": "application/json"}

    def ask(self, path, body):
        self.web.request("POST", path, json.dumps(body), self.headers)
        reply = self.web.getresponse()
        content = json.loads(reply.read())
        assert reply.status == 200, content
        if cookie := reply.getheader("set-cookie"):
            self.headers["Cookie"] = cookie.split(";")[0]
        return content

    def work(self):
        """Do what is there; returns how much that was."""
        tasks = self.ask("/api/tasks", {"have": [], "want": 10})["tasks"]
        for task in tasks:
            self.answer(task)
        return len(tasks)

    def answer(self, task):
        words = task["left"][0]["html"].removeprefix("<p>").split(" ")
        a_is_left, number = words[1] == "a", int(words[4].split(".")[0])
        self.sides["ab" if a_is_left else "ba"] += 1
        correct, distinct, share = self.opinions[number]
        estimate = min(10, max(0, round(10 * share + self.draw.gauss(0, 1.5))))
        correct = correct if self.draw.random() < 0.85 else {"single": "multiple", "multiple": "single"}[correct]
        distinct = distinct if self.draw.random() < 0.9 else {"yes": "no", "no": "yes"}[distinct]
        self.said[number] = (correct, distinct, estimate)
        left = estimate if a_is_left else 10 - estimate
        answer = {"correct": correct, "distinct": distinct, "left": left, "note": "", "seconds": 20}
        act = {"id": f"{self.name}-{number:05}", "base": 0, "kind": "answer", "answer": answer, "reason": ""}
        self.ask(f"/api/tasks/{task['key']}/revisions", act)


def _opinions(pairs):
    draw = random.Random(0)
    return {
        number: (
            "single" if pair.category in ("math", "coding", "fermi") else "multiple",
            "no" if draw.random() < 0.17 else "yes",  # as many as in the paper
            pair.votes.preference,
        )
        for number, pair in enumerate(pairs)
    }


def _predictions(opinions, name, noise):
    draw = random.Random(name)
    shares = {n: min(1.0, max(0.0, share + draw.gauss(0, noise))) for n, (_, _, share) in opinions.items()}
    return [
        Prediction(pair_id=f"pair-{n}", model=name, reward_a=0, reward_b=0, preference_a=s) for n, s in shares.items()
    ]


def _row(rows, **wanted):
    [row] = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return row


def _majority(values):
    return Counter(values).most_common(1)[0][0]  # of three, there is one


@pytest.fixture(scope="module")
def made(real_data_dir, tmp_path_factory):
    """(folder, people, opinions) after three people have annotated 150 pairs."""
    folder = tmp_path_factory.mktemp("design")
    every = list(read_pairs(real_data_dir / "vicuna80.jsonl.gz", notice=lambda _: None))
    pairs = random.Random(25).sample(every, 150)
    opinions = _opinions(pairs)
    given = [_marked(number, pair) for number, pair in enumerate(pairs)]
    project = make_project(folder / "annotations.db", folder, pairs=given, people=NAMES)
    project.now = now()
    with served(project) as origin:
        people = [Person(name, origin, opinions, seed) for seed, name in enumerate(NAMES)]
        for person in people:
            person.ask("/api/session", {"token": project.invite(person.name)})
        while sum(person.work() for person in people):
            pass
        for person in people:
            person.web.close()
    assert verify.check(project.store) == []
    project.store.close()
    for name, noise in (("baseline", 0.35), ("margin", 0.15)):
        write_records(folder / f"{name}.jsonl", _predictions(opinions, name, noise))
    return folder, people, opinions


def _run(*arguments):
    done = CliRunner().invoke(group, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def test_everybody_saw_every_pair_half_of_them_either_way(made):
    _, people, _ = made
    for person in people:
        assert sorted(person.said) == list(range(150))
        assert abs(person.sides["ab"] - person.sides["ba"]) <= 1


def test_the_export_says_what_they_said(made):
    folder, people, _ = made
    out = folder / "annotated.jsonl"
    assert (
        "150 pairs, 450 answers, 150 pairs with all 3"
        in _run("annotations", "export", folder / "annotations.db", "--out", out).stdout
    )
    for pair in read_pairs(out, notice=lambda _: None):
        number = int(pair.id.split("-")[1])
        told = [person.said[number] for person in people]
        assert pair.category == _majority([correct for correct, _, _ in told])
        assert pair.distinct == _majority([distinct for _, distinct, _ in told])
        assert pair.votes.preference == pytest.approx(fmean(estimate for _, _, estimate in told) / 10)


def test_the_tables_are_the_papers_and_their_numbers_right(made):
    folder, people, opinions = made
    files = [option for name in ("baseline", "margin") for option in ("--predictions", folder / f"{name}.jsonl")]
    run = folder / "run"
    arguments = ["evaluate", folder / "annotations.db", *files, "--baseline", "baseline", "--out", run / "scores.json"]
    tables = _run(*arguments, "--resamples", 200, "--swaps", 999, "--format", "markdown").stdout
    assert "Pearson r (higher is better)" in tables
    assert "L1 (lower is better)" in tables
    human = np.array([fmean(person.said[n][2] for person in people) / 10 for n in range(150)])
    category = np.array([_majority([person.said[n][0] for person in people]) for n in range(150)])
    rows = json.loads((run / "scores.json").read_text())
    for name, noise in (("baseline", 0.35), ("margin", 0.15)):
        predicted = np.array([p.preference_a for p in _predictions(opinions, name, noise)])
        for group_name in ("all", "category=single", "category=multiple"):
            chosen = np.isin(category, group_name.removeprefix("category=") if group_name != "all" else category)
            expected = {
                "pearson": np.corrcoef(predicted[chosen], human[chosen])[0, 1],
                "l1": np.abs(predicted[chosen] - human[chosen]).mean(),
            }
            for metric, value in expected.items():
                row = _row(rows, model=name, group=group_name, metric=metric, baseline=None, target="votes")
                assert row["value"] == pytest.approx(value), (name, group_name, metric)
                assert row["n"] == chosen.sum()
                assert row["low"] < value < row["high"]
    page = Path(_run("report", run).stdout.strip()).read_text(encoding="utf-8")
    best = _row(rows, model="margin", group="all", metric="pearson", baseline=None, target="votes")["value"]
    assert "test pairs" in page
    assert f"{best:.3f}".lstrip("0") in page
