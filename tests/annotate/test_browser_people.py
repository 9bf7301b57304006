"""Several people at once in real browsers: how they begin, and that nobody leaves while a pair is open."""

import contextlib
import time

from sqlalchemy import func, select

from dissensus.annotate.project import verify
from dissensus.annotate.project.schema import assignments

from .live import NEEDS_CHROMIUM, PHONE, grave, person, until

pytestmark = NEEDS_CHROMIUM


def _answered(project):
    return project.read(lambda c: c.execute(select(func.count()).where(assignments.c.state == "answered")).scalar_one())


def _title(page):
    return page.evaluate(
        "() => document.getElementById('end').hidden ? '' : document.getElementById('end-title').textContent"
    )


def _ends(page, title):
    until(
        page,
        f"!document.getElementById('end').hidden && document.getElementById('end-title').textContent === '{title}'",
    )


def _say(page, last="Enter"):
    for key in ("m", "d", "7", last):
        page.keyboard.press(key)


def test_several_people_give_every_answer_that_is_wanted(browser, serve):
    names = ("Ada", "Grace", "Kofi")
    project, origin = serve(pairs=5, annotators=2, people=names, prefetch=3)
    with contextlib.ExitStack() as stack:
        pages = [stack.enter_context(person(browser, origin, project, name)) for name in names]
        for page in pages:  # a slow way to the server: what was said is on its way while the page asks for more
            page.route("**/revisions", lambda route: (time.sleep(0.1), route.continue_()))
        end = time.monotonic() + 60
        while {_title(page) for page in pages} != {"All done"}:
            assert time.monotonic() < end, [_title(page) for page in pages]
            for page in pages:
                if page.is_visible("#pair") and not page.evaluate("() => !!document.querySelector('#form :checked')"):
                    _say(page)
                if _title(page) == "All done":
                    assert _open_to_others_alone(project, page)
            pages[0].wait_for_timeout(20)
        assert all(page.seen.wrong == [] for page in pages)
    assert _answered(project) == 10
    assert verify.check(project.store) == []


def _open_to_others_alone(project, page):
    """Whether whoever is thanked has done every pair that lacks answers."""
    name = page.get_attribute("#work", "data-name")
    me = project.people[name]
    rows = project.read(
        lambda c: c.exec_driver_sql(
            "SELECT count(CASE WHEN state = 'answered' THEN 1 END), count(CASE WHEN person_id = ? THEN 1 END) "
            "FROM assignments GROUP BY item_id",
            (me,),
        ).all()
    )
    return len(rows) == 5 and all(answered == 2 or mine for answered, mine in rows)


def test_whoever_waits_asks_once_each_time_and_gets_what_somebody_leaves(browser, serve):
    project, origin = serve(pairs=1, annotators=1, people=("Ada", "Grace"))
    [held] = project.lease("Grace").tasks
    asked = []
    with person(browser, origin, project, "Ada") as page:
        _ends(page, "Nothing to do just now")
        assert "still have 1 pair." in page.inner_text("#end-words")
        page.on("request", lambda request: asked.append(request.method))
        for _ in range(3):
            with page.expect_response("**/api/tasks"):
                page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            page.wait_for_timeout(100)
        assert asked.count("POST") in (3, 4)  # once perhaps because its time had come
        project.submit("Grace", held.key, kind="skip", reason="broken")
        page.wait_for_selector("#pair:not([hidden])")  # without being asked
        _say(page)
        _ends(page, "All done")
    assert _answered(project) == 1


def test_answers_kept_without_a_network_do_not_end_the_work(browser, serve):
    project, origin = serve(pairs=3, annotators=1, people=("Ada",), prefetch=2)
    with person(browser, origin, project, "Ada") as page:
        page.wait_for_load_state("networkidle")
        page.context.set_offline(True)
        for _ in range(2):
            until(page, "!document.querySelector('#form :checked')")
            _say(page)
        _ends(page, "All that this browser holds is answered")
        page.context.set_offline(False)
        page.wait_for_selector("#pair:not([hidden])")  # the third, at once
        _say(page)
        _ends(page, "All done")
    assert _answered(project) == 3


def test_the_guide_is_shown_first_and_once(browser, serve):
    project, origin = serve(pairs=4, annotators=1, practice=True)
    view = {"viewport": PHONE, "has_touch": True, "is_mobile": True}
    with person(browser, origin, project, "Ada", reads=False, **view) as page:
        page.wait_for_selector("#guide[open]")
        assert "How to annotate" in page.inner_text("#guide")
        assert page.evaluate("document.getElementById('guide').scrollTop") == 0
        assert page.locator("#guide [data-close]").is_visible()
        assert page.inner_text("#guide-close") == "Start"
        assert grave(page) == []
        page.reload()  # it was not read yet
        page.wait_for_selector("#guide[open]")
        page.click("#guide [data-close]")
        assert page.is_visible("#practice-tag")
        page.reload()
        page.wait_for_selector("#pair:not([hidden])")
        page.wait_for_timeout(200)
        assert not page.is_visible("#guide")


def test_nobody_who_has_begun_is_shown_the_guide_again(browser, serve):
    project, origin = serve(pairs=4, annotators=1)
    [task] = project.lease("Ada").tasks
    project.answer("Ada", task.key)
    with person(browser, origin, project, "Ada", reads=False) as page:  # in a browser that knows nothing of it
        page.wait_for_selector("#pair:not([hidden])")
        page.wait_for_timeout(200)
        assert not page.is_visible("#guide")


def test_all_four_questions_fit_on_a_laptop(browser, serve):
    project, origin = serve(pairs=4, annotators=1, own_choice=True)
    with person(browser, origin, project, "Ada") as page:
        page.wait_for_selector("#pair:not([hidden])")
        for height in (800, 720):
            page.set_viewport_size({"width": 1280, "height": height})
            foot = page.locator(".foot").bounding_box()
            for part in ("#task-correct", "#task-choice", "#note"):
                box = page.locator(part).bounding_box()
                assert box["y"] + box["height"] <= foot["y"]
            assert foot["y"] + foot["height"] <= height
