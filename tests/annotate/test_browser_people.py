"""Several people in real browsers: how annotators begin and end, and how organisers and adjudicators work."""

import contextlib
import itertools
import time

import pytest

from dissensus.annotate.project import verify
from dissensus.annotate.project.sides import Said
from dissensus.annotate.project.store import now
from dissensus.records import Pair

from ..report.payloads import PAYLOADS
from .live import NEEDS_CHROMIUM, PHONE, grave, person, until
from .people import fill, said

pytestmark = NEEDS_CHROMIUM


def _answered(project):
    return len(project.sql("SELECT id FROM assignments WHERE state = 'answered'"))


def _title(page):
    return page.evaluate(
        "() => document.getElementById('end').hidden ? '' : document.getElementById('end-title').textContent"
    )


def _ends(page, title):
    page.wait_for_selector("#end:not([hidden])")
    until(page, f"document.getElementById('end-title').textContent === '{title}'")


def _say(page):
    for key in ("m", "d", "7", "Enter"):
        page.keyboard.press(key)


def test_several_people_give_every_answer_that_is_wanted(browser, serve):
    names = ("Ada", "Grace", "Kofi")
    project, origin = serve(pairs=3, annotators=2, people=names, prefetch=2)
    with contextlib.ExitStack() as stack:
        pages = [stack.enter_context(person(browser, origin, project, name)) for name in names]
        for page in pages:  # a slow way to the server: what was said is on its way while the page asks for more
            page.route("**/revisions", lambda route: (time.sleep(0.1), route.continue_()))
        end, titles = time.monotonic() + 60, []
        while set(titles) != {"All done"}:
            assert time.monotonic() < end, titles
            titles = [_title(page) for page in pages]
            for page, title in zip(pages, titles, strict=True):
                if title == "All done":
                    assert _open_to_others_alone(project, page)
                elif page.is_visible("#pair") and not page.evaluate("() => !!document.querySelector('#form :checked')"):
                    _say(page)
            pages[0].wait_for_timeout(10)
        assert all(page.seen.wrong == [] for page in pages)
    assert _answered(project) == 6
    assert verify.check(project.store) == []


def _open_to_others_alone(project, page):
    """Whether whoever is thanked has done every pair that lacks answers."""
    rows = project.sql(
        "SELECT count(CASE WHEN state = 'answered' THEN 1 END), count(CASE WHEN person_id = ? THEN 1 END) "
        "FROM assignments GROUP BY item_id",
        project.people[page.get_attribute("#work", "data-name")],
    )
    return len(rows) == 3 and all(answered == 2 or mine for answered, mine in rows)


def test_whoever_waits_asks_once_each_time_and_gets_what_somebody_leaves(browser, serve):
    project, origin = serve(pairs=1, annotators=1, people=("Ada", "Grace"))
    [held] = project.lease("Grace").tasks
    asked = []
    with person(browser, origin, project, "Ada") as page:
        _ends(page, "Nothing to do just now")
        assert "still have 1 pair." in page.inner_text("#end-words")
        with page.expect_response("**/api/tasks"):
            pass  # its time came: there is half a second until the next
        page.on("request", lambda request: asked.append(request.method))
        began = time.monotonic()
        for _ in range(3):
            with page.expect_response("**/api/tasks"):
                page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.wait_for_timeout(50)
        came = 1 + (time.monotonic() - began) // 0.5  # times that it may have asked because its time had come
        assert 3 <= asked.count("POST") <= 3 + came
        project.submit("Grace", held.key, kind="skip", reason="broken")
        page.wait_for_selector("#pair:not([hidden])")  # without being asked
        _say(page)
        _ends(page, "All done")
    assert _answered(project) == 1


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


def test_all_four_questions_fit_on_a_laptop_and_axe_finds_nothing_serious(browser, serve):
    project, origin = serve(pairs=3, annotators=1, own_choice=True)
    with person(browser, origin, project, "Ada") as page:
        page.wait_for_selector("#pair:not([hidden])")
        for height in (800, 720):
            page.set_viewport_size({"width": 1280, "height": height})
            foot = page.locator(".foot").bounding_box()
            for part in ("#task-correct", "#task-choice", "#note"):
                box = page.locator(part).bounding_box()
                assert box["y"] + box["height"] <= foot["y"]
            assert foot["y"] + foot["height"] <= height
        assert grave(page) == []
        for key, dialog in (("?", "#keys"), ("g", "#guide"), ("k", "#skipping")):
            page.keyboard.press(key)
            page.wait_for_selector(f"{dialog}[open]")
            assert grave(page, by_night=False) == [], dialog
            page.keyboard.press("Escape")
        for path in ("/guide", "/join", "/nowhere"):
            page.goto(origin + path)
            assert grave(page) == [], path


@pytest.fixture
def serve_all(serve):
    """``serve_all(filled=True, **settings)``: with an adjudicator and an organiser, and answers if filled."""

    def make(filled=True, **settings):
        def prepare(project):
            project.now = now() - 3_600_000
            if filled:
                fill(project)
            project.add("Judith", "adjudicator")
            project.add("Olga", "organiser")

        return serve(prepare, **settings)

    return make


@contextlib.contextmanager
def _first_pair(browser, origin, project, show="disagreement"):
    """Judith's page of the first pair in the list."""
    with person(browser, origin, project, "Judith") as page:
        page.goto(f"{origin}/adjudicate?show={show}")
        until(page, "document.querySelectorAll('#items a').length > 0")
        page.locator("#items a").first.focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#answers section")
        yield page


def test_progress_is_live(browser, serve_all):
    project, origin = serve_all(pairs=30, filled=False)
    with person(browser, origin, project, "Olga") as page:
        until(page, "document.querySelectorAll('#people tr').length === 3")
        assert "0 of 90" in page.inner_text("#figures")
        for task in project.lease("Ada", want=10).tasks:
            project.submit("Ada", task.key, said(3, seconds=20.0))
        until(page, "document.getElementById('figures').textContent.includes('10 of 90')")
        assert page.locator("#pairs i[data-share='1']").count() == 10
        assert page.seen.wrong == []


def test_an_organiser_invites_by_hand_and_revokes(browser, serve_all):
    project, origin = serve_all(pairs=5, filled=False)
    with person(browser, origin, project, "Olga") as page:
        page.goto(f"{origin}/people")
        page.fill("#name", "Nora")
        page.keyboard.press("Enter")
        page.wait_for_selector("#made:not([hidden])")
        link = page.input_value("#link")
        guest = browser.new_context().new_page()
        guest.goto(link)
        guest.click("#start")
        guest.wait_for_selector("#pair:not([hidden])")
        page.get_by_role("button", name="Revoke Nora").click()
        page.click("#yes")
        until(page, "document.querySelector('#people tr.revoked') !== null")
        guest.reload()
        assert "You need a link" in guest.inner_text("h1")
        guest.goto(link)
        guest.click("#start")
        until(guest, "document.getElementById('said').textContent !== ''")
        assert any(words in guest.inner_text("#said") for words in ("is not valid", "used before"))
        guest.context.close()
        assert page.seen.wrong == []


def test_a_pair_is_decided_by_keyboard(browser, serve_all):
    project, origin = serve_all(pairs=20)
    with _first_pair(browser, origin, project) as page:
        names = page.locator("#answers h3").all_inner_texts()
        assert names[0].startswith("Annotator 1")
        for key in ("s", "d", "7"):
            page.keyboard.press(key)
        page.keyboard.press("n")
        page.keyboard.type("sure")
        page.keyboard.press("Escape")
        page.keyboard.press("Enter")
        until(page, "document.getElementById('said').textContent === 'Saved'")
        key = page.url.split("/")[-1]
        page.reload()
        until(page, "document.getElementById('decided').textContent.startsWith('decided')")
        assert page.input_value("#note") == "sure"
        with pytest.raises(Exception, match="somebody decided") as stale:
            project.decide("Olga", key, Said(correct="multiple"))
        assert stale.value.current.answer == Said(correct="single", distinct="yes", estimate=7, note="sure")


def test_majority_and_mean_are_shown_and_fill_in_without_undoing_a_choice(browser, serve_all):
    project, origin = serve_all(
        pairs=[Pair(id="x", prompt="Why?", response_a="So.", response_b="No.")], filled=False, own_choice=True
    )
    for name, estimate, correct in (("Ada", 9, "single"), ("Grace", 6, "single"), ("Kofi", 0, "multiple")):
        [task] = project.lease(name).tasks
        project.submit(name, task.key, said(estimate, correct, choice="b"))
    with _first_pair(browser, origin, project, "correct") as page:
        assert "5 of 10 prefer response a" in page.inner_text("#suggested")
        for key in ("A", "F"):  # Caps Lock is on
            page.keyboard.press(key)
        assert page.is_checked("input[name=choice][value=a]")
        assert page.is_checked("input[name=correct][value=single]")
        assert page.input_value("#estimate") == "5"
        for key, told in (("]", "last"), ("[", "first")):
            page.keyboard.press(key)
            until(page, f"document.getElementById('notice').textContent.includes('{told}')")


def test_two_adjudicators_see_both_decisions(browser, serve_all):
    project, origin = serve_all(pairs=4)
    with _first_pair(browser, origin, project) as page:
        project.decide("Olga", page.url.split("/")[-1], Said(correct="multiple", estimate=2))
        page.keyboard.press("s")
        page.keyboard.press("Enter")
        page.wait_for_selector("#conflict[open]")
        assert "one correct answer" in page.inner_text("#mine")
        assert "2 of 10 prefer response a" in page.inner_text("#theirs")
        page.keyboard.press("2")
        page.wait_for_selector("#conflict", state="hidden")
        assert page.input_value("#estimate") == "2"


def test_axe_finds_nothing_serious(browser, serve_all):
    project, origin = serve_all(pairs=20, own_choice=True)
    with person(browser, origin, project, "Olga") as page:
        for path in ("/organise", "/people", "/adjudicate"):
            page.goto(origin + path)
            until(page, "document.querySelectorAll('tbody tr').length > 0")
            assert grave(page) == [], path
            page.set_viewport_size(PHONE)
            assert page.evaluate("document.documentElement.scrollWidth") == 360, path
            page.set_viewport_size({"width": 1280, "height": 800})
        page.locator("#items a").first.click()
        page.wait_for_selector("#answers section")
        assert grave(page) == []


def test_nothing_that_people_or_files_say_runs_or_loads(browser, serve_all):
    every = [attack.replace("\0", "") for attack in PAYLOADS]
    attacks = ["\n\n".join(every[n : n + 16]) for n in range(0, len(every), 16)]
    names = list(dict.fromkeys("".join(c for c in attack if c.isprintable())[:100].strip() for attack in every[:40]))
    pairs = [
        Pair(id=f"{every[n]}{n}", prompt=f"{attack} {n}", response_a=attack, response_b=f"> {attack}\n\n**{attack}**")
        for n, attack in enumerate(attacks)
    ]
    project, origin = serve_all(
        pairs=pairs, people=[name for name in names if name], filled=False, name=every[0][:200], annotators=40
    )
    words = itertools.cycle(every)
    for n, name in enumerate(project.annotators[:12]):
        for task in project.lease(name, want=25).tasks:
            project.now += 60_000
            if n % 3 == 2:
                project.submit(name, task.key, kind="skip", reason=next(words))
            else:
                answer = said(n % 11, note=next(words), correct="single" if n % 4 else "multiple")
                project.submit(name, task.key, answer)
    project.now = now()
    with person(browser, origin, project, "Olga") as page:
        for path in ("/organise", "/people", "/adjudicate?show=all"):
            page.goto(origin + path)
            until(page, "document.querySelectorAll('tbody tr').length > 0")
        page.select_option("#show", "all")
        until(page, f"document.querySelectorAll('#items a').length === {len(pairs)}")
        for address in page.eval_on_selector_all("#items a", "links => links.map((link) => link.href)"):
            project.decide("Judith", address.split("/")[-1], Said(correct="single", note=next(words)))
            page.goto(address)
            page.wait_for_selector("#answers section")
        page.wait_for_timeout(50)
        assert page.evaluate("window.__xss") is None
        assert page.seen.wrong == []
