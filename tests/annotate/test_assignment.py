"""Exactly k different people for each pair, whoever comes and goes; sides balanced, orders of one's own."""

import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from dissensus.annotate.project import access, verify
from dissensus.annotate.project.items import add_items
from dissensus.annotate.project.schema import assignments, items
from dissensus.errors import InputError
from dissensus.records import Pair

from .people import make_pairs, said

MINUTE = 60_000


class Schedule:
    """Annotators who join, work, vanish, come back late and leave, as a random source says."""

    def __init__(self, project, draw, people):
        self.project, self.draw = project, draw
        self.names = [f"Person {i}" for i in range(people)]
        self.held = {}

    def run(self, steps):
        for _ in range(steps):
            self.project.now += self.draw.randint(0, 4 * MINUTE)
            name = self.draw.choice(self.names)
            if name not in self.project.people:
                self.project.add(name)
                self.held[name] = []
            self.act(name)

    def act(self, name):
        what = self.draw.choices(["work", "vanish", "skip", "undo", "leave"], [12, 2, 1, 1, 0.3])[0]
        if what == "leave" and len(self.active()) > 5:
            self.project.write(lambda c: access.revoke(c, self.project.people[name], self.project.now))
            self.held.pop(name, None)
        elif name not in self.held:
            return
        elif what == "vanish":
            self.held[name] = []
            self.project.now += self.draw.choice([0, 40 * MINUTE])
        else:
            self.work(name, what)

    def active(self):
        return list(self.held)

    def work(self, name, what, want=None):
        want = want or self.draw.randint(1, 25)
        leased = self.project.lease(name, want=want, have=[task.key for task in self.held[name]])
        self.held[name] = [task for task in self.held[name] if task.key not in leased.gone] + leased.tasks
        for task in self.held[name][: self.draw.randint(1, 25)]:
            late = self.draw.random() < 0.05
            self.project.now += 45 * MINUTE if late else self.draw.randint(0, MINUTE)
            self.say(name, task, what)

    def say(self, name, task, what):
        self.held[name].remove(task)
        if what == "skip" and self.draw.random() < 0.2:
            self.project.submit(name, task.key, kind="skip", reason="broken", base=task.revision)
            return
        saved = self.project.answer(name, task.key, self.draw.randint(0, 10), base=task.revision)
        if what == "undo" and self.draw.random() < 0.3:
            state = self.project.submit(name, task.key, kind="withdraw", base=saved.revision).state
            if state == "leased":
                self.project.answer(name, task.key, 5, base=saved.revision + 1)

    def finish(self):
        """Those who never came come, and all who are there work until there is nothing left."""
        for name in self.names:
            if name not in self.project.people:
                self.project.add(name)
                self.held[name] = []
        for name in self.active():
            self.held[name] = []
        self.project.now += 60 * MINUTE
        for _ in range(400):
            got = 0
            for name in self.active():
                leased = self.project.lease(name, want=25)
                got += len(leased.tasks)
                for task in leased.tasks:
                    self.project.answer(name, task.key, base=task.revision)
            if not got:
                return


def _counted(project):
    rows = project.read(
        lambda c: c.execute(
            select(assignments.c.item_id, assignments.c.person_id).where(assignments.c.state == "answered")
        ).all()
    )
    assert len(set(rows)) == len(rows)  # never the same person twice
    return Counter(row.item_id for row in rows)


@pytest.mark.parametrize("seed", [1, 2])
def test_many_people_make_exactly_three_answers_for_each_pair(seed, open_project):
    project = open_project(pairs=60, people=())
    schedule = Schedule(project, random.Random(seed), 20)
    schedule.run(60)
    schedule.finish()
    assert list(_counted(project).values()) == [3] * 60
    assert verify.check(project.store) == []


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), k=st.integers(1, 3), people=st.integers(1, 7))
def test_never_more_than_k_answers_at_any_moment(seed, k, people, open_project):
    project = open_project(pairs=8, people=(), annotators=k)
    schedule = Schedule(project, random.Random(seed), people)
    for _ in range(12):
        schedule.run(1)
        assert all(n <= k for n in _counted(project).values())
        assert verify.check(project.store) == []


def test_sides_are_balanced_within_one_at_every_moment(open_project):
    project = open_project(pairs=30, people=["Ada", "Grace", "Kofi"])
    seen = {name: Counter() for name in project.people}
    for _ in range(30):
        for name in project.people:
            for task in project.lease(name, want=3).tasks:
                seen[name][task.shown] += 1
                assert abs(seen[name]["ab"] - seen[name]["ba"]) <= 1
                project.answer(name, task.key)
    assert all(sum(sides.values()) == 30 for sides in seen.values())


def test_everybody_meets_pairs_in_an_order_of_their_own(open_project):
    project = open_project(pairs=60, prefetch=50)
    orders = [[task.item_id for task in project.lease(name, want=50).tasks] for name in project.people]
    assert all(order != sorted(order) for order in orders)
    assert len({tuple(order[:10]) for order in orders}) == 3


def test_reloading_gives_the_same_tasks_again(open_project):
    project = open_project(pairs=30)
    first = [task.key for task in project.lease("Ada", want=5).tasks]
    assert [task.key for task in project.lease("Ada", want=5).tasks] == first
    assert project.lease("Ada", want=0, have=first).tasks == []
    assert project.lease("Ada", want=0, have=["f" * 16]).gone == ["f" * 16]


def test_whoever_works_keeps_what_they_hold(open_project):
    project = open_project(pairs=3, annotators=1, people=["Ada", "Grace"])
    keys = [task.key for task in project.lease("Ada", want=3).tasks]
    for _ in range(4):
        project.now += 20 * MINUTE
        assert project.lease("Ada", want=0, have=keys).gone == []
    assert project.lease("Grace", want=3).tasks == []
    assert project.lease("Grace", want=3).waiting == len(keys)


def test_pairs_that_are_there_are_not_added_again(open_project):
    project = open_project(pairs=4)
    assert project.write(lambda c: add_items(c, make_pairs(6))) == 2
    other = Pair(id="p1", prompt="Another question?", response_a="Yes.", response_b="No.")
    with pytest.raises(InputError, match=r"'p1' is there already with other texts"):
        project.write(lambda c: add_items(c, [other]))
    assert len(project.read(lambda c: c.execute(select(items)).all())) == 6


def test_a_skip_gives_the_place_to_somebody_else(open_project):
    project = open_project(pairs=1, annotators=1)
    [task] = project.lease("Ada").tasks
    assert project.lease("Grace").tasks == []
    project.submit("Ada", task.key, kind="skip", reason="I do not read this language")
    [again] = project.lease("Grace").tasks
    assert again.item_id == task.item_id
    assert project.submit("Grace", again.key, said()).state == "answered"
