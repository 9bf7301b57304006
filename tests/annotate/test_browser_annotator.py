"""Annotators in real browsers: by keyboard, without a network, in two tabs, on a phone, under attack."""

import contextlib
import os
import time

import pytest
from sqlalchemy import select

from dissensus.annotate.project import access, verify
from dissensus.annotate.project.schema import assignments, revisions
from dissensus.records import Message, Pair

from ..report.payloads import PAYLOADS
from .live import NEEDS_CHROMIUM, PHONE, grave, person, read_guide, until

pytestmark = NEEDS_CHROMIUM

OUTAGE = float(os.environ.get("DISSENSUS_OUTAGE_SECONDS", "0.5"))
"""How long the network is away; the queue does not know how long that is, and a minute is a minute of every run."""


def _ready(page):
    page.wait_for_selector("#pair:not([hidden])")


def _say(page, left="7", save=True):
    _ready(page)
    for key in ("m", "d", left):
        page.keyboard.press(key)
    if save:
        page.keyboard.press("Enter")
        # As a person does, wait for the next pair (or what takes its place) before answering it.
        until(
            page,
            "!document.querySelector('#form input:checked') || document.querySelector('dialog[open]') || "
            "!document.getElementById('end').hidden",
        )


def _told(page, words, where="saved", **rest):
    until(page, f"document.getElementById('{where}').textContent.includes('{words}')", **rest)


def _saved(page):
    until(page, "document.getElementById('saved').textContent === 'Saved'")


def _picked(page, left):
    until(page, f"document.querySelector('#form input[name=left]:checked')?.value === '{left}'")


def _ends(page, title):
    page.wait_for_selector("#end:not([hidden])")
    until(page, f"document.getElementById('end-title').textContent === '{title}'")


def _online(page):
    """Let the page send what waits, as when the network is back."""
    page.evaluate("window.dispatchEvent(new Event('online'))")


def _stored(project):
    """Rows of revisions with the side that was shown, oldest first."""
    query = select(assignments.c.key, assignments.c.shown, revisions.c.kind, revisions.c.estimate, revisions.c.note)
    return project.read(lambda c: c.execute(query.join_from(revisions, assignments).order_by(revisions.c.id)).all())


def _lefts(project):
    said = [row for row in _stored(project) if row.kind == "answer"]
    return [row.estimate if row.shown == "ab" else 10 - row.estimate for row in said]


@pytest.fixture
def at_work(browser, serve):
    """``at_work(**settings)``: (project, page) of Ada, who begins; no page does what it should not."""
    with contextlib.ExitStack() as stack:

        def begin(**settings):
            project, origin = serve(**{"pairs": 10, "annotators": 1, **settings})
            page = stack.enter_context(person(browser, origin, project, "Ada"))
            _ready(page)
            pages.append(page)
            return project, page

        pages = []
        yield begin
        assert [page.seen.wrong for page in pages] == [[] for _ in pages]


def test_all_pairs_by_keyboard_alone(at_work):
    project, page = at_work(pairs=15, prefetch=6)  # more than two times what a browser holds
    for n in range(15):
        _say(page, "0379t"[n % 5])
    _ends(page, "All done")
    assert page.inner_text("#progress").startswith("15 of 15 pairs done")
    page.keyboard.press("[")
    _picked(page, 10)  # the last of them, still there to be changed
    assert sorted(_lefts(project)) == sorted([0, 3, 7, 9, 10] * 3)
    assert verify.check(project.store) == []


def test_twenty_answers_without_a_network_all_land_in_order(at_work):
    project, page = at_work(pairs=21, prefetch=20)
    page.wait_for_load_state("networkidle")
    page.context.set_offline(True)
    began = time.monotonic()
    for n in range(20):
        _say(page, str(n % 10))
    _told(page, "20 answers kept")
    assert _stored(project) == []  # and nothing is called saved
    _ends(page, "All that this browser holds is answered")
    time.sleep(max(0, OUTAGE - (time.monotonic() - began)))
    page.context.set_offline(False)
    _ready(page)  # the last, at once
    _saved(page)
    assert _lefts(project) == [n % 10 for n in range(20)]
    _say(page)
    _ends(page, "All done")
    assert verify.check(project.store) == []


def test_what_waits_survives_a_reload(at_work):
    project, page = at_work()
    page.route("**/revisions", lambda route: route.abort())
    for left in "123":
        _say(page, left)
    _told(page, "3 answers kept")
    page.reload()
    _ready(page)
    _told(page, "3 answers kept")
    assert page.inner_text("#progress").startswith("3 of 10")
    page.unroute("**/revisions")
    _online(page)
    _saved(page)
    assert _lefts(project) == [1, 2, 3]


def test_saved_is_said_once_the_server_said_so_and_nothing_is_saved_twice(at_work):
    project, page = at_work()
    held, lost = [], []
    page.route("**/revisions", lambda route: held.append(route))
    _say(page)
    page.wait_for_timeout(100)
    assert page.inner_text("#saved") == "Saving …"
    assert _stored(project) == []
    held[0].continue_()
    _saved(page)
    page.unroute("**/revisions")

    def lose(route):
        if lost:
            route.continue_()
        else:
            lost.append(route.fetch())  # it reaches the server; the reply does not reach the page
            route.abort()

    page.route("**/revisions", lose)
    _say(page)
    until(page, "document.getElementById('saved').textContent !== 'Saved'")
    _saved(page)
    assert lost
    page.unroute("**/revisions")
    _say(page, save=False)
    page.evaluate(
        """() => { for (let i = 0; i < 2; i++)
          document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true })); }"""
    )
    _saved(page)
    assert page.inner_text("#lacks") == ""
    until(page, "document.querySelectorAll('#form input:checked').length === 0")  # the next pair, untouched
    assert _lefts(project) == [7, 7, 7]


def test_back_forward_reload_undo_and_skip(at_work):
    project, page = at_work()
    _say(page, "2")
    _saved(page)
    page.keyboard.press("s")
    page.keyboard.press("n")
    page.keyboard.type("mdk, said the note")  # letters are text while somebody writes
    page.keyboard.press("Escape")
    page.reload()
    _ready(page)
    assert page.input_value("#note") == "mdk, said the note"
    assert page.is_checked("input[name=correct][value=single]")
    assert not page.is_checked("input[name=distinct][value=yes]")
    page.go_back()
    _picked(page, 2)
    page.keyboard.press("]")
    until(page, "document.getElementById('note').value === 'mdk, said the note'")
    page.keyboard.press("Backspace")
    _picked(page, 2)
    page.keyboard.press("ArrowLeft")
    assert page.is_checked("input[name=left][value='3']")
    page.keyboard.press("Enter")
    _saved(page)
    assert _lefts(project) == [2, 3]
    page.keyboard.press("u")
    _told(page, "Undone", "notice")
    assert page.is_checked("input[name=left][value='3']")
    page.keyboard.press("k")
    page.keyboard.press("Enter")  # without a reason
    assert "reason" in page.inner_text("#skip-lacks")
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    page.wait_for_selector("#skipping", state="hidden")
    _saved(page)
    assert [row.kind for row in _stored(project)] == ["answer", "answer", "withdraw", "skip"]


FULL = "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') }"
NONE = "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError') } })"


def _second_tab(first, script=None):
    second = first.context.new_page()
    if script is not None:
        second.add_init_script(script)
    second.goto(first.url)
    if script == NONE:  # nor does it keep that the guide was read
        read_guide(second)
    _ready(second)
    return second


@contextlib.contextmanager
def _against(page, theirs):
    """Save 9 where another window saved something else, and keep it."""
    _say(page, "9", save=False)
    page.keyboard.press("Enter")
    page.wait_for_selector("#conflict[open]")
    assert theirs in page.inner_text("#theirs")
    yield
    page.keyboard.press("1")
    until(page, "!document.querySelector('dialog[open]')")
    _saved(page)


@pytest.mark.parametrize("script", [None, FULL, NONE], ids=["keeps", "full", "none"])
def test_two_tabs_show_both_answers_and_lose_neither(script, at_work):
    project, first = at_work()
    second = _second_tab(first, script)
    _say(first, "1")
    _saved(first)
    with _against(second, "1A-9B"):
        if script is None:  # where the browser keeps something, both are still there
            second.reload()
            second.wait_for_selector("#conflict[open]")
        assert "9A-1B" in second.inner_text("#mine")
    assert _lefts(project) == [1, 9]


def test_a_window_that_sends_for_another_still_tells_of_its_answer(at_work):
    project, first = at_work()
    second = _second_tab(first)
    first.route("**/revisions", lambda route: route.abort())
    _say(first, "1")
    _told(first, "1 answer kept")
    _online(second)  # the windows share what waits
    _saved(second)
    with _against(second, "1A-9B"):
        pass
    first.unroute("**/revisions")
    assert _lefts(project) == [1, 9]


def test_what_waits_is_never_sent_as_somebody_elses(at_work):
    project, page = at_work(annotators=2)
    origin = page.url.split("/work")[0]
    page.route("**/revisions", lambda route: route.abort())
    _say(page, "3")
    _told(page, "1 answer kept")
    other = page.context.new_page()
    other.goto(f"{origin}/join#{project.invite('Grace')}")
    other.click("#start")
    _ready(other)
    page.unroute("**/revisions")
    _online(page)
    _told(page, "Signed out")
    assert _stored(project) == []
    page.goto(f"{origin}/join#{project.invite('Ada')}")
    page.click("#start")
    _ready(page)
    _saved(page)
    assert _lefts(project) == [3]
    project.write(lambda c: access.revoke(c, project.people["Ada"], project.now))
    _say(page)
    _told(page, "1 answer waits", "notice")
    assert page.inner_text("#saved") == "Signed out"


def test_practice_teaches_and_then_the_real_pairs_come(at_work):
    _, page = at_work(pairs=4, practice=True)
    assert page.is_visible("#practice-tag")
    _say(page)
    page.wait_for_selector("#feedback[open]")
    assert "There are two" in page.inner_text("#feedback-because")
    assert grave(page, by_night=False) == []
    page.keyboard.press("Enter")
    _told(page, "That was the practice", "notice")
    assert not page.is_visible("#practice-tag")


TOUCH = {"viewport": PHONE, "has_touch": True, "is_mobile": True}


def test_touch_reaches_everything_on_a_phone_and_no_keys_are_shown(browser, serve):
    long = "A sentence that goes on. " * 120
    pairs = [Pair(id=f"x{n}", prompt="Why?", response_a=long, response_b=f"`{'x' * 300}`") for n in range(4)]
    project, origin = serve(pairs=pairs, annotators=1, own_choice=True)
    with person(browser, origin, project, "Ada", **TOUCH) as page:
        _ready(page)
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert not page.is_visible("#link")
        assert not page.is_visible("#help")
        assert page.evaluate("[...document.querySelectorAll('kbd')].filter((key) => key.checkVisibility()).length") == 0
        for name, value in (("correct", "single"), ("distinct", "no"), ("left", "4"), ("choice", "tie")):
            page.tap(f"#form input[name={name}][value='{value}']")
        small = page.evaluate(
            """() => [...document.querySelectorAll("#form label:not(.note), #form button")]
              .filter((target) => target.getBoundingClientRect().height < 44).map((target) => target.outerHTML)"""
        )
        assert small == []
        page.tap("#save")
        until(page, "!document.querySelector('#form :checked')")
        assert page.evaluate("scrollY") == 0  # the next pair is read from its beginning
        _saved(page)
    assert _lefts(project) == [4]


def test_long_answers_scroll_together_until_told_not_to(at_work):
    texts = {"response_a": "line\n\n" * 200, "response_b": "word\n\n" * 400}
    _, page = at_work(pairs=[Pair(id="x", prompt="Why?", **texts)])

    def scroll(share):
        page.evaluate(
            """(share) => {
              const box = document.getElementById("left");
              box.scrollTop = share * (box.scrollHeight - box.clientHeight);
            }""",
            share,
        )
        page.wait_for_timeout(250)
        box = page.locator("#right")
        return box.evaluate("(box) => box.scrollTop / (box.scrollHeight - box.clientHeight)")

    assert scroll(0.5) == pytest.approx(0.5, abs=0.02)
    page.keyboard.press("l")
    assert scroll(0.9) == pytest.approx(0.5, abs=0.02)


EVERY = [*PAYLOADS, "![x](https://evil.example/x.png)", '<img src="https://evil.example/y.png">']
ATTACKS = ["\n\n".join(EVERY[n : n + 8]) for n in range(0, len(EVERY), 8)]


def test_nothing_that_stands_in_a_text_runs_or_loads(browser, serve):
    pairs = [
        Pair(
            id=f"{EVERY[n]} {n}".replace("\0", ""),
            prompt=(Message(role=attack[:40] or "x", content=f"{attack}\n\n{n}"), Message(role="user", content=attack)),
            response_a=attack,
            response_b=f"[{attack}]({attack})\n\n```\n{attack}\n```\n\n> {attack}",
            dataset=attack,
        )
        for n, attack in enumerate(ATTACKS)
    ]
    project, origin = serve(
        pairs=pairs, annotators=1, people=(EVERY[0], "Grace"), name=EVERY[1][:200], guide="\n\n".join(ATTACKS)
    )
    with person(browser, origin, project, EVERY[0]) as page:
        for _ in pairs:
            _ready(page)
            page.fill("#note", EVERY[2])
            page.keyboard.press("Escape")
            _say(page)
        page.wait_for_selector("#end:not([hidden])")
        page.keyboard.press("[")
        page.goto(f"{origin}/work#{_stored(project)[0].key}")
        _ready(page)
        page.keyboard.press("g")
        for path in ("/guide", "/nowhere", "/join#<script>window.__xss=1</script>"):
            page.goto(origin + path)
        assert page.evaluate("window.__xss") is None
        assert page.seen.wrong == []
    assert len(_stored(project)) == len(pairs)
