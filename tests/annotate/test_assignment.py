"""Exactly k different people for each pair, whoever comes and goes; nobody is sent away from a pair they could take."""

import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dissensus.annotate.project import access, verify
from dissensus.annotate.project.items import add_items
from dissensus.annotate.web.routes.tasks import progress_of
from dissensus.errors import InputError
from dissensus.records import Pair

from .people import make_pairs, said

MINUTE = 60_000


def _can_take(project, name):
    """How many pairs lack answers, and somebody has neither done nor got them."""
    rows = project.sql(
        "SELECT i.id, count(CASE WHEN a.state = 'answered' THEN 1 END), "
        "count(CASE WHEN a.person_id = ? AND a.state <> 'released' THEN 1 END) "
        "FROM items i LEFT JOIN assignments a ON a.item_id = i.id WHERE NOT i.practice GROUP BY i.id",
        project.people[name],
    )
    return sum(answered < project.config.annotators and not mine for _, answered, mine in rows)


class Schedule:
    """Annotators who join, work, vanish, come back late and leave, as a random source says."""

    def __init__(self, project, seed, people):
        self.project, self.draw = project, random.Random(seed)
        self.names = [f"Person {i}" for i in range(people)]
        self.held = {}

    def join(self, name):
        if name not in self.project.people:
            self.project.add(name)
            self.held[name] = []

    def step(self):
        self.project.now += self.draw.randint(0, 4 * MINUTE)
        name = self.draw.choice(self.names)
        self.join(name)
        what = self.draw.choices(["work", "vanish", "skip", "undo", "leave"], [12, 2, 1, 1, 0.3])[0]
        if what == "leave" and len(self.held) > 5:
            self.project.write(lambda c: access.revoke(c, self.project.people[name], self.project.now))
            self.held.pop(name, None)
        elif what == "vanish" and name in self.held:
            self.held[name] = []
            self.project.now += self.draw.choice([0, 40 * MINUTE])
        elif name in self.held:
            self.ask(name, self.draw.randint(1, 25))
            for task in self.held[name][: self.draw.randint(1, 25)]:
                late = self.draw.random() < 0.05
                self.project.now += 45 * MINUTE if late else self.draw.randint(0, MINUTE)
                self.say(name, task, what)

    def ask(self, name, want):
        """Ask for more; returns whether there is hope: whoever is told that nothing is left could take nothing."""
        asked = self.project.lease(name, want=want, have=[task.key for task in self.held[name]])
        self.held[name] = [task for task in self.held[name] if task.key not in asked.gone] + asked.tasks
        if not self.held[name]:
            assert bool(asked.waiting) == bool(_can_take(self.project, name))
        return bool(self.held[name]) or asked.waiting > 0

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
        """Those who never came come, and all who are there work for as long as they are told that there may be more."""
        for name in self.names:
            self.join(name)
        self.held = {name: [] for name in self.held}
        self.project.now += 60 * MINUTE
        for _ in range(400):
            hopes = [self.ask(name, 25) for name in self.held]
            for name, tasks in self.held.items():
                for task in list(tasks):
                    self.say(name, task, "work")
            if not any(hopes):
                return
        raise AssertionError("people hope for ever")


def _counted(project):
    """How many answers each pair has, none of them twice of one person."""
    rows = project.sql("SELECT item_id, person_id FROM assignments WHERE state = 'answered'")
    assert len(set(rows)) == len(rows)
    return Counter(row.item_id for row in rows)


def test_many_people_make_exactly_three_answers_for_each_pair(open_project):
    project = open_project(pairs=60, people=())
    schedule = Schedule(project, 1, 20)
    for _ in range(60):
        schedule.step()
    schedule.finish()
    assert list(_counted(project).values()) == [3] * 60
    assert verify.check(project.store) == []


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), k=st.integers(1, 3), people=st.integers(1, 7))
def test_never_more_than_k_answers_at_any_moment(seed, k, people, open_project):
    project = open_project(pairs=8, people=(), annotators=k, prefetch=4)
    schedule = Schedule(project, seed, people)
    for _ in range(12):
        schedule.step()
        assert all(n <= k for n in _counted(project).values())
        assert verify.check(project.store) == []
    schedule.finish()
    assert not any(_can_take(project, name) for name in schedule.held)


def test_everybody_meets_pairs_in_an_order_of_their_own_with_sides_balanced_at_every_moment(open_project):
    project = open_project(pairs=30)
    orders = {name: [] for name in project.people}
    for _ in range(30):
        for name, order in orders.items():
            for task in project.lease(name, want=3).tasks:
                order.append(task)
                assert abs(sum(1 if given.shown == "ab" else -1 for given in order)) <= 1
                project.answer(name, task.key)
    seen = [[task.item_id for task in order] for order in orders.values()]
    assert all(len(order) == 30 and order != sorted(order) for order in seen)
    assert len({tuple(order[:10]) for order in seen}) == 3


def test_reloading_gives_the_same_tasks_again_and_whoever_works_keeps_what_they_hold(open_project):
    project = open_project(pairs=3, annotators=1, people=["Ada", "Grace"])
    keys = [task.key for task in project.lease("Ada", want=3).tasks]
    assert [task.key for task in project.lease("Ada", want=3).tasks] == keys
    for _ in range(4):
        project.now += 20 * MINUTE
        kept = project.lease("Ada", want=0, have=[*keys, "f" * 16])
        assert (kept.tasks, kept.gone) == ([], ["f" * 16])
    asked = project.lease("Grace", want=3)
    assert (asked.tasks, asked.waiting) == ([], len(keys))


def test_pairs_that_are_there_are_not_added_again(open_project):
    project = open_project(pairs=4)
    assert project.write(lambda c: add_items(c, make_pairs(6))) == 2
    other = Pair(id="p1", prompt="Another question?", response_a="Yes.", response_b="No.")
    with pytest.raises(InputError, match=r"'p1' is there already with other texts"):
        project.write(lambda c: add_items(c, [other]))
    assert len(project.sql("SELECT * FROM items")) == 6


def test_a_skip_gives_the_place_to_somebody_else(open_project):
    project = open_project(pairs=1, annotators=1)
    [task] = project.lease("Ada").tasks
    assert project.lease("Grace").tasks == []
    project.submit("Ada", task.key, kind="skip", reason="I do not read this language")
    [again] = project.lease("Grace").tasks
    assert again.item_id == task.item_id
    assert project.submit("Grace", again.key, said()).state == "answered"


def _left(project, name):
    return project.read(lambda c: progress_of(c, project.config, project.people[name]).left)


def test_places_that_are_kept_for_others_are_waited_for(open_project):
    project = open_project(pairs=2, annotators=1, people=["Ada", "Grace", "Kofi"])
    for name in project.people:
        project.lease(name, want=0)  # all three are here
    [held] = project.lease("Ada", want=1).tasks
    asked = project.lease("Ada", want=25, have=[held.key])
    assert (asked.tasks, asked.waiting) == ([], 1)
    assert _left(project, "Ada") == 2
    assert project.lease("Grace", want=25).waiting == 1  # she got the other, and waits for Ada's


def test_what_others_hold_is_counted_by_pair_and_goes_once_they_answer(open_project):
    project = open_project(pairs=1, annotators=2, people=["Ada", "Grace", "Kofi"])
    tasks = {name: project.lease(name, want=5).tasks for name in ("Ada", "Grace")}
    assert project.lease("Kofi", want=5).waiting == 1  # one pair, though two hold it
    project.answer("Ada", tasks["Ada"][0].key)
    assert project.lease("Kofi", want=5).waiting == 1
    assert project.lease("Ada", want=5).waiting == 0  # she has done it
    project.answer("Grace", tasks["Grace"][0].key)
    assert project.lease("Kofi", want=5).waiting == 0


def test_a_lease_that_ran_out_is_left_for_its_person_while_a_place_is_free(open_project):
    project = open_project(pairs=2, annotators=1, people=["Ada", "Grace"])
    first, second = project.lease("Ada", want=2).tasks
    project.now += 40 * MINUTE
    project.lease("Grace", want=0)
    assert _left(project, "Ada") == 2
    given = {task.item_id: task for task in project.lease("Grace", want=2).tasks}
    assert (_left(project, "Ada"), project.lease("Ada", want=1).waiting) == (0, 2)
    project.answer("Grace", given[first.item_id].key)
    project.submit("Grace", given[second.item_id].key, kind="skip", reason="broken")
    # One that was taken does not hide another that is free.
    assert [task.item_id for task in project.lease("Ada", want=2).tasks] == [second.item_id]


def test_practice_comes_before_the_first_real_pair_again_once_its_skipping_is_undone(open_project):
    project = open_project(practice=True, pairs=5)
    asked = project.lease("Ada", want=5)
    assert [task.practice for task in asked.tasks] == [True]
    assert asked.waiting == 5
    [practice] = asked.tasks
    assert project.lease("Ada", want=5, have=[practice.key]).tasks == []
    project.submit("Ada", practice.key, kind="skip", reason="I know")
    assert project.lease("Ada", want=1).tasks[0].practice is False
    project.submit("Ada", practice.key, kind="withdraw", base=1)
    real = [task for task in project.lease("Ada", want=5).tasks if not task.practice]
    assert len(real) == 1  # what they hold stays theirs, and there is no more until they are through
