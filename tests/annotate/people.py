"""A project with people in it, and what they do, by the functions that the app calls."""

import itertools
import random
from dataclasses import dataclass, field

from click.testing import CliRunner

from dissensus.annotate.config import AnnotationConfig
from dissensus.annotate.project import access, adjudication, answers, assignment
from dissensus.annotate.project.answers import Submission
from dissensus.annotate.project.items import add_items
from dissensus.annotate.project.sides import KnownAnswer, Said
from dissensus.annotate.project.store import AnnotationStore
from dissensus.cli import group
from dissensus.records import Pair

START = 1_800_000_000_000
"""A time, in milliseconds."""


def annotations(*arguments):
    """What ``dissensus annotations …`` prints; raises what it refuses with."""
    return CliRunner().invoke(group, ["annotations", *map(str, arguments)], catch_exceptions=False)


def make_pairs(n):
    return [
        Pair(
            id=f"p{i}", prompt=f"Question {i}?", response_a=f"One {i}.", response_b=f"Two {i}.", dataset="SOURCE-CANARY"
        )
        for i in range(n)
    ]


PRACTICE = Pair(id="practice", prompt="How many?", response_a="Two.", response_b="Three.")
KNOWN = {"practice": KnownAnswer(correct="single", distinct="yes", estimates=(9, 10), because="There are two.")}


@dataclass
class Project:
    """A store, the people in it, and a clock that stands still unless it is moved."""

    store: AnnotationStore
    database: str
    secret: object
    now: int = START
    people: dict = field(default_factory=dict)
    annotators: list = field(default_factory=list)
    acts: object = field(default_factory=itertools.count)

    @property
    def config(self):
        return self.store.config

    def write(self, work):
        return self.store.write(work)

    def read(self, work):
        return self.store.read(work)

    def sql(self, query, *values):
        """The rows of a query."""
        return self.read(lambda c: c.exec_driver_sql(query, values).all())

    def add(self, name, role="annotator"):
        self.people[name] = self.write(lambda c: access.add_person(c, name, role, self.now)).id
        self.annotators += [name] if role == "annotator" else []
        return self.people[name]

    def invite(self, name):
        return self.write(lambda c: access.invite(c, self.store, self.people[name], self.now))

    def lease(self, name, want=1, have=()):
        return self.write(
            lambda c: assignment.lease(
                c, self.config, self.store.seed, self.people[name], want=want, have=have, now=self.now
            )
        )

    def submit(self, name, key, said=None, *, base=0, kind="answer", id=None, reason=""):
        act = Submission(id or f"act-{next(self.acts):08}", base, kind, said, reason)
        return self.write(lambda c: answers.submit(c, self.people[name], key, act, self.now, self.config))

    def answer(self, name, key, estimate=5, **rest):
        return self.submit(name, key, said(estimate), **rest)

    def decide(self, name, item_key, decision, base=0):
        act = f"decision-{next(self.acts):08}"
        return self.write(lambda c: adjudication.decide(c, self.people[name], item_key, act, base, decision, self.now))


def said(estimate=5, correct="multiple", distinct="yes", **rest):
    return Said(correct=correct, distinct=distinct, estimate=estimate, **rest)


def make_project(database, folder, *, pairs=6, people=("Ada", "Grace", "Kofi"), practice=False, **settings):
    """A project in a database that does not exist yet."""
    secret = folder / "secret"
    config = AnnotationConfig(practice=practice, **settings)
    project = Project(AnnotationStore.create(database, config, secret=secret), str(database), secret)
    if practice:
        project.write(lambda c: add_items(c, [PRACTICE], KNOWN))
    given = make_pairs(pairs) if isinstance(pairs, int) else pairs
    project.write(lambda c: add_items(c, given))
    for name in people:
        project.add(name)
    return project


def fill(project, seed=0, share=0.9):
    """Let people answer most pairs, with opinions that agree more often than not."""
    draw = random.Random(seed)
    truth = {}
    for name in project.annotators:
        while tasks := project.lease(name, want=25).tasks:
            for task in tasks:
                true = truth.setdefault(task.item_id, (draw.random() < 0.7, draw.random() < 0.8, draw.randint(1, 9)))
                _say(project, name, task, true, draw, share)
    return truth


def _say(project, name, task, true, draw, share):
    project.now += draw.randint(15_000, 90_000)
    if draw.random() > share:
        project.submit(name, task.key, kind="skip", reason=draw.choice(["broken", "another language"]))
        return
    several, differ, estimate = true
    answer = Said(
        correct="multiple" if several != (draw.random() < 0.1) else "single",
        distinct="yes" if differ != (draw.random() < 0.15) else "no",
        estimate=min(10, max(0, round(draw.gauss(estimate, 1.5)))),
        choice=draw.choice(["a", "b", "tie"]) if project.config.own_choice else None,
        note=draw.choice(["", "", "", "Hard to say."]),
        seconds=draw.uniform(10, 80),
    )
    project.submit(name, task.key, answer)
