"""How people end and begin: nobody is sent away from a pair that they could take, or begins without practice."""

import random

from dissensus.annotate.project import access
from dissensus.annotate.web import task_view

MINUTE = 60_000


def _left(project, name):
    return project.read(lambda c: task_view.progress_of(c, project.config, project.people[name]).left)


def _can_take(project, name):
    """Whether somebody could be given a pair: one that lacks answers, and that they have neither done nor got."""
    rows = project.read(
        lambda c: c.exec_driver_sql(
            "SELECT i.id, count(CASE WHEN a.state = 'answered' THEN 1 END), "
            f"count(CASE WHEN a.person_id = {project.people[name]} AND a.state <> 'released' THEN 1 END) "
            "FROM items i LEFT JOIN assignments a ON a.item_id = i.id WHERE NOT i.practice GROUP BY i.id"
        ).all()
    )
    return sum(answered < project.config.annotators and not mine for _, answered, mine in rows)


def test_whoever_asks_before_their_last_answer_is_saved_is_told_to_wait(open_project):
    project = open_project(pairs=2, annotators=1, people=["Ada"])
    [first] = project.lease("Ada", want=1).tasks
    # The browser asks on while its answer is on the way: the pair is held still, and no more are given.
    asked = project.lease("Ada", want=25, have=[first.key])
    assert asked.tasks or asked.waiting
    project.answer("Ada", first.key)
    assert len(project.lease("Ada", want=25).tasks) == 1


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
    project = open_project(pairs=1, annotators=1, people=["Ada", "Grace"])
    project.lease("Ada", want=1)
    project.now += 40 * MINUTE
    project.lease("Grace", want=0)
    assert _left(project, "Ada") == 1
    [_] = project.lease("Grace", want=1).tasks
    assert (_left(project, "Ada"), project.lease("Ada", want=1).waiting) == (0, 1)


def test_a_lease_that_ran_out_and_was_taken_does_not_hide_another_that_is_free(open_project):
    project = open_project(pairs=2, annotators=1, people=["Ada", "Grace"])
    first, second = project.lease("Ada", want=2).tasks
    project.now += 40 * MINUTE
    given = {task.item_id: task for task in project.lease("Grace", want=2).tasks}
    project.answer("Grace", given[first.item_id].key)
    project.submit("Grace", given[second.item_id].key, kind="skip", reason="broken")
    assert [task.item_id for task in project.lease("Ada", want=2).tasks] == [second.item_id]


def test_nobody_is_told_that_nothing_is_left_while_they_could_take_something(open_project):
    for seed in range(3):
        draw = random.Random(seed)
        project = open_project(
            pairs=8, annotators=draw.randint(1, 3), people=["Ada", "Grace", "Kofi", "Mei"], prefetch=4
        )
        queued = {name: [] for name in project.people}
        for _ in range(80):
            name = draw.choice([*project.people])
            project.now += draw.choice([1000, MINUTE, 25 * MINUTE])
            if queued[name] and draw.random() < 0.5:
                task = queued[name].pop(0)
                kind = draw.choice(["answer"] * 5 + ["skip"])
                project.answer(name, task.key) if kind == "answer" else project.submit(
                    name, task.key, kind="skip", reason="broken"
                )
            asked = project.lease(name, want=draw.randint(1, 4), have=[task.key for task in queued[name]])
            queued[name] = [task for task in queued[name] if task.key not in asked.gone] + asked.tasks
            if not asked.tasks and not queued[name]:
                assert bool(asked.waiting) == bool(_can_take(project, name))
        _finish(project)


def _finish(project):
    """People come back as long as they are told that there may be more; then every pair has its answers."""
    project.now += 60 * MINUTE
    for _ in range(40):
        hopes = False
        for name in project.people:
            asked = project.lease(name, want=2)
            for task in asked.tasks:
                project.answer(name, task.key, base=task.revision)
            hopes |= bool(asked.tasks) or asked.waiting > 0
        if not hopes:
            break
    assert not hopes
    assert not any(_can_take(project, name) for name in project.people)


def test_practice_comes_before_the_first_real_pair(open_project):
    project = open_project(practice=True, pairs=5)
    asked = project.lease("Ada", want=5)
    assert [task.practice for task in asked.tasks] == [True]
    assert asked.waiting == 5
    assert project.lease("Ada", want=5, have=[asked.tasks[0].key]).tasks == []
    project.answer("Ada", asked.tasks[0].key)
    real = project.lease("Ada", want=5).tasks
    assert real
    assert not any(task.practice for task in real)


def test_skipping_the_practice_ends_it_and_undoing_begins_it_again(open_project):
    project = open_project(practice=True, pairs=5)
    [practice] = project.lease("Ada", want=1).tasks
    project.submit("Ada", practice.key, kind="skip", reason="I know")
    assert project.lease("Ada", want=1).tasks[0].practice is False
    project.submit("Ada", practice.key, kind="withdraw", base=1)
    real = [task for task in project.lease("Ada", want=5).tasks if not task.practice]
    assert len(real) == 1  # what they hold stays theirs, and there is no more until they are through


def test_where_the_app_was_started_is_known_in_old_projects_too(open_project):
    project = open_project()
    project.write(lambda c: c.exec_driver_sql("DROP TABLE served"))
    assert project.read(access.noted_origin) is None
    for origin in ("http://127.0.0.1:1234", "https://lab.example"):
        project.write(lambda c, origin=origin: access.note_origin(c, origin, 1))
        assert project.read(access.noted_origin) == origin
