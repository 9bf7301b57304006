"""Organisers and adjudicators in a real browser."""

import itertools
import time

import pytest

from dissensus.annotate.project.sides import Said
from dissensus.annotate.project.store import now
from dissensus.records import Pair

from ..report.payloads import PAYLOADS
from .live import NEEDS_CHROMIUM, PHONE, grave, person, until
from .people import fill, said

pytestmark = NEEDS_CHROMIUM


@pytest.fixture
def serve(serve):
    """``serve(filled=True, **settings)``: the project has an adjudicator and an organiser, and answers if filled."""

    def make(filled=True, **settings):
        def prepare(project):
            project.now = now() - 3_600_000
            if filled:
                fill(project)
            project.add("Judith", "adjudicator")
            project.add("Olga", "organiser")

        return serve(prepare, **settings)

    return make


def _rows(page, id):
    return page.locator(f"#{id} tr")


def test_progress_is_live(browser, serve):
    project, origin = serve(pairs=30, filled=False)
    with person(browser, origin, project, "Olga") as page:
        until(page, "document.querySelectorAll('#people tr').length === 3")
        assert "0 of 90" in page.inner_text("#figures")
        for task in project.lease("Ada", want=10).tasks:
            project.submit("Ada", task.key, said(3, seconds=20.0))
        until(page, "document.getElementById('figures').textContent.includes('10 of 90')", seconds=12)
        assert page.locator("#pairs i[data-share='1']").count() == 10
        assert page.seen.wrong == []


def test_an_organiser_invites_by_hand_and_revokes(browser, serve):
    project, origin = serve(pairs=5, filled=False)
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


def test_a_pair_is_decided_by_keyboard(browser, serve):
    project, origin = serve(pairs=20)
    with person(browser, origin, project, "Judith") as page:
        until(page, "document.querySelectorAll('#items a').length > 0")
        page.locator("#items a").first.focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#answers section")
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


def test_majority_and_mean_are_shown_and_fill_in_without_undoing_a_choice(browser, serve):
    project, origin = serve(
        pairs=[Pair(id="x", prompt="Why?", response_a="So.", response_b="No.")], filled=False, own_choice=True
    )
    for name, estimate, correct in (("Ada", 9, "single"), ("Grace", 6, "single"), ("Kofi", 0, "multiple")):
        [task] = project.lease(name).tasks
        project.submit(name, task.key, said(estimate, correct, choice="b"))
    with person(browser, origin, project, "Judith") as page:
        page.select_option("#show", "correct")
        until(page, "document.querySelectorAll('#items a').length === 1")
        page.locator("#items a").first.click()
        page.wait_for_selector("#answers section")
        assert "5 of 10 prefer response a" in page.inner_text("#suggested")
        for key in ("A", "F"):  # Caps Lock is on
            page.keyboard.press(key)
        assert page.is_checked("input[name=choice][value=a]")
        assert page.is_checked("input[name=correct][value=single]")
        assert page.input_value("#estimate") == "5"
        for key, told in (("]", "last"), ("[", "first")):
            page.keyboard.press(key)
            until(page, f"document.getElementById('notice').textContent.includes('{told}')")


def test_two_adjudicators_see_both_decisions(browser, serve):
    project, origin = serve(pairs=4)
    with person(browser, origin, project, "Judith") as page:
        until(page, "document.querySelectorAll('#items a').length > 0")
        page.locator("#items a").first.click()
        page.wait_for_selector("#answers section")
        project.decide("Olga", page.url.split("/")[-1], Said(correct="multiple", estimate=2))
        page.keyboard.press("s")
        page.keyboard.press("Enter")
        page.wait_for_selector("#conflict[open]")
        assert "one correct answer" in page.inner_text("#mine")
        assert "2 of 10 prefer response a" in page.inner_text("#theirs")
        page.keyboard.press("2")
        page.wait_for_selector("#conflict", state="hidden")
        assert page.input_value("#estimate") == "2"


def test_axe_finds_nothing_serious(browser, serve):
    project, origin = serve(pairs=20, own_choice=True)
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


def test_nothing_that_people_or_files_say_runs_or_loads(browser, serve):
    every = [attack.replace("\0", "") for attack in PAYLOADS]
    attacks = ["\n\n".join(every[n : n + 8]) for n in range(0, len(every), 8)]
    names = list(dict.fromkeys("".join(c for c in attack if c.isprintable())[:100].strip() for attack in every[:40]))
    pairs = [
        Pair(id=f"{every[n]}{n}", prompt=f"{attack} {n}", response_a=attack, response_b=f"> {attack}\n\n**{attack}**")
        for n, attack in enumerate(attacks)
    ]
    project, origin = serve(
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
        time.sleep(0.2)
        assert page.evaluate("window.__xss") is None
        assert page.seen.wrong == []
