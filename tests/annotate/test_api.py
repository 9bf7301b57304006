"""What the app answers, to whom."""

import pytest
from sqlalchemy import update

from dissensus.annotate.project import verify
from dissensus.annotate.project.schema import people
from dissensus.annotate.project.sides import Said
from dissensus.records import Message, Pair

from ..report.payloads import PAYLOADS
from .people import fill
from .test_rendering import Tags
from .web import Browser, saying

EVERYBODY = ("nobody", "Ada", "Grace", "Judith", "Olga")


def _allow(*names):
    return {name: 200 if name in names else 401 if name == "nobody" else 403 for name in EVERYBODY}


ANNOTATORS, JUDGES, ORGANISERS = _allow("Ada", "Grace"), _allow("Judith", "Olga"), _allow("Olga")
OWN = _allow("Ada") | {"Grace": 404}
SIGNED_IN = _allow("Ada", "Grace", "Judith", "Olga")
ANYBODY = dict.fromkeys(EVERYBODY, 200)

MATRIX = {
    ("GET", "/"): dict.fromkeys(EVERYBODY, 303) | {"nobody": 401},
    ("GET", "/join"): ANYBODY,
    ("GET", "/healthz"): ANYBODY,
    ("GET", "/openapi.json"): ANYBODY,
    ("GET", "/static/style.css"): ANYBODY,
    ("GET", "/guide"): SIGNED_IN,
    ("GET", "/work"): ANNOTATORS,
    ("GET", "/organise"): ORGANISERS,
    ("GET", "/people"): ORGANISERS,
    ("GET", "/adjudicate"): JUDGES,
    ("GET", "/adjudicate/{item}"): JUDGES,
    ("GET", "/api/session"): SIGNED_IN,
    ("POST", "/api/session"): dict.fromkeys(EVERYBODY, 404),  # with a token that is not valid
    ("DELETE", "/api/session"): dict.fromkeys(EVERYBODY, 204),
    ("GET", "/api/tasks"): ANNOTATORS,
    ("POST", "/api/tasks"): ANNOTATORS,
    ("GET", "/api/tasks/{task}"): OWN,
    ("POST", "/api/tasks/{task}/revisions"): OWN,
    ("PUT", "/api/tasks/{task}/draft"): OWN | {"Ada": 204},
    ("GET", "/api/overview"): ORGANISERS,
    ("GET", "/api/people"): ORGANISERS,
    ("POST", "/api/people"): ORGANISERS,
    ("POST", "/api/people/{person}/invite"): ORGANISERS,
    ("POST", "/api/people/{person}/revoke"): ORGANISERS | {"Olga": 204},
    ("GET", "/api/items"): JUDGES,
    ("GET", "/api/items/{item}"): JUDGES,
    ("POST", "/api/items/{item}/decisions"): JUDGES,
    ("GET", "/api/export/jsonl"): ORGANISERS,
}
BODIES = {
    ("POST", "/api/session"): lambda: {"token": "x" * 43},
    ("POST", "/api/tasks"): lambda: {"have": [], "want": 1},
    ("POST", "/api/tasks/{task}/revisions"): saying,
    ("PUT", "/api/tasks/{task}/draft"): lambda: {"base": 0, "body": {"left": 3}},
    ("POST", "/api/people"): lambda: {"name": "Nora", "role": "annotator"},
    ("POST", "/api/items/{item}/decisions"): lambda: {"id": "decision-1", "base": 0, "decision": {"correct": "single"}},
}


def _walk(routes):
    for route in routes:
        included = getattr(route, "original_router", None)
        yield from [route] if included is None else _walk(included.routes)


def _routes(app):
    """Every verb of every route, the parameters named as in the matrix."""
    names = {"/static": "/static/style.css", "/api/export/{form}": "/api/export/jsonl"}
    found = set()
    for route in _walk(app.routes):
        path = names.get(route.path, route.path).replace("{number}", "{person}")
        path = path.replace("{key}", "{item}" if path.startswith(("/api/items", "/adjudicate")) else "{task}")
        found |= {(verb, path) for verb in (getattr(route, "methods", None) or {"GET"}) - {"HEAD"}}
    return found


@pytest.fixture
def site(open_site):
    return open_site(pairs=30, annotators=2)


def test_every_route_is_in_the_matrix(shared_site):
    assert _routes(shared_site.app) == set(MATRIX)


@pytest.mark.parametrize("who", EVERYBODY)
def test_each_route_is_for_whom_it_should_be(who, shared_site):
    site = shared_site
    browser = site.nobody if who == "nobody" else site.browser(who)
    for verb, path in sorted(MATRIX, key=lambda route: route[0] == "DELETE"):
        places = site.places()
        body = BODIES.get((verb, path), lambda: None)()
        reply = browser.request(verb, path.format(**places), json=body)
        assert reply.status_code == MATRIX[verb, path][who], f"{who}: {verb} {path}: {reply.text[:200]}"
        if reply.status_code == 404 and "{task}" in path:  # nor is anybody told that there is such a one
            assert reply.json() == browser.request(verb, path.format(task="0" * 16), json=body).json()


def test_verbs_that_are_not_in_the_matrix_do_nothing_and_reading_changes_nothing(shared_site):
    browsers, places = [shared_site.nobody, *map(shared_site.browser, EVERYBODY[1:])], shared_site.places()
    before = shared_site.everything()
    for path in sorted({path for _, path in MATRIX}):
        for verb in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            if verb == "HEAD" or (verb, path) not in MATRIX:
                status = browsers[-1].request(verb, path.format(**places)).status_code
                assert status in (404, 405) or verb == "HEAD", (verb, path)
            elif verb == "GET":
                for browser in browsers:
                    browser.get(path.format(**places))
    assert shared_site.everything() == before


def test_sides_are_undone_once_and_a_stale_tab_is_told_in_the_terms_of_its_own_screen(open_site):
    site = open_site(pairs=8, own_choice=True, annotators=1)
    ada = site.browser("Ada")
    for task in ada.more(want=8):
        ada.save(task["key"], answer={"correct": "single", "distinct": "yes", "left": 9, "choice": "left"})
        assert ada.get(f"/api/tasks/{task['key']}").json()["answer"]["left"] == 9
        reply = ada.save(task["key"], answer={"correct": "single", "distinct": "yes", "left": 1, "choice": "tie"})
        assert reply.status_code == 409
        current = reply.json()["current"]
        assert (current["revision"], current["state"], current["answer"]["left"]) == (1, "answered", 9)
    rows = site.project.sql(
        "SELECT a.shown, r.estimate, r.choice FROM revisions r JOIN assignments a ON a.id = r.assignment_id"
    )
    assert {tuple(row) for row in rows} == {("ab", 9, "a"), ("ba", 1, "b")}
    assert site.project.decide("Judith", site.item(), Said(choice="tie")).revision == 1


def test_a_full_disk_is_507_and_work_goes_on_after(site):
    ada = site.browser("Ada")
    tasks = ada.more(want=12)

    def pages(limit):
        with site.project.store.engine.connect() as c:
            c.exec_driver_sql(f"PRAGMA max_page_count = {limit}")

    site.project.store.engine.dispose()
    pages(1)
    note = {"correct": "single", "distinct": "yes", "left": 5, "note": "x" * 4000}
    replies = [ada.save(task["key"], answer=note) for task in tasks]
    full = next(reply for reply in replies if reply.status_code != 200)
    assert full.status_code == 507
    assert "nothing was saved" in full.json()["detail"]
    assert full.headers["retry-after"]
    pages(1_000_000)
    again = [
        ada.save(task["key"], base=int(reply.status_code == 200)) for task, reply in zip(tasks, replies, strict=True)
    ]
    assert {reply.status_code for reply in again} == {200}
    assert verify.check(site.project.store) == []


CANARIES = {name: f"CANARY-{name}" for name in ("id", "dataset", "category", "group")}
CANARIES |= {"label": "a", "domain": "out", "distinct": "no"}


def test_annotators_are_blind(open_site):
    pairs = [
        Pair(prompt=(Message(role="CANARY-ROLE", content=f"Why {i}?"),), response_a=f"So {i}.", response_b=f"No {i}.",
             **CANARIES | {"id": f"CANARY-ID-{i}"})
        for i in range(6)
    ]  # fmt: skip
    site = open_site(pairs=pairs)
    ada = site.browser("Ada")
    replies = [ada.post("/api/tasks", json={"have": [], "want": 3})]
    key = replies[0].json()["tasks"][0]["key"]
    replies += [ada.save(key), ada.save(key), ada.get(f"/api/tasks/{key}"), ada.get("/api/tasks"), ada.get("/work")]
    for reply in replies:
        said = f"{reply.text} {dict(reply.headers)} {reply.url}"
        assert "CANARY" not in said
    task = replies[3].json()
    assert set(task) == {
        "key", "number", "practice", "revision", "state", "prompt", "left", "right", "answer", "draft",
    }  # fmt: skip
    assert task["prompt"][0]["role"] == "other"


def test_adjudicators_see_answers_without_names_or_origins(open_site):
    site = open_site(pairs=[Pair(prompt="Why?", response_a="So.", response_b="No.", **CANARIES)], own_choice=True)
    fill(site.project)
    judith, olga = site.browser("Judith"), site.browser("Olga")
    listed = judith.get("/api/items?show=all").json()
    assert listed["total"] == 1
    key = listed["items"][0]["key"]
    shown = judith.get(f"/api/items/{key}")
    assert [answer["annotator"] for answer in shown.json()["answers"]] == ["Annotator 1", "Annotator 2", "Annotator 3"]
    assert not any(word in shown.text for word in ("CANARY", "Ada", "Grace", "Kofi"))
    names = [answer["annotator"] for answer in olga.get(f"/api/items/{key}").json()["answers"]]
    assert sorted(names) == ["Ada", "Grace", "Kofi"]


def test_a_decision_is_saved_once_and_two_adjudicators_are_told_of_each_other(site):
    judith, olga = site.browser("Judith"), site.browser("Olga")
    path = f"/api/items/{site.places()['item']}/decisions"
    body = {"id": "decision-1", "base": 0, "decision": {"estimate": 8, "note": "clear"}}
    assert [judith.post(path, json=body).json()["repeated"] for _ in range(2)] == [False, True]
    reply = olga.post(path, json=body | {"id": "decision-2"})
    assert reply.status_code == 409
    assert reply.json()["current"]["answer"]["estimate"] == 8
    empty = olga.post(path, json=body | {"id": "decision-3", "base": 1, "decision": {}})
    assert empty.status_code == 422


def test_practice_tells_what_is_right_on_the_side_that_was_shown(open_site):
    site = open_site(practice=True)
    for name in ("Ada", "Grace", "Kofi"):
        browser = site.browser(name)
        [task] = browser.more()
        two_is_left = "Two" in task["left"][0]["html"]
        feedback = browser.save(task["key"], left=10 if two_is_left else 0).json()["feedback"]
        assert feedback["left"] == {"right": True, "least": 9 if two_is_left else 0, "most": 10 if two_is_left else 1}
        assert feedback["correct"] == {"right": False, "expected": "single"}
        assert "There are two" in feedback["because"]
        assert browser.save(browser.more()[0]["key"]).json()["feedback"] is None


def test_progress_counts_what_is_done_and_left(open_site):
    site = open_site(pairs=5)
    ada = site.browser("Ada")
    first, second, third = ada.more(want=3)
    ada.save(first["key"])
    ada.save(second["key"], kind="skip", answer=None, reason="broken")
    progress = ada.get("/api/tasks").json()["progress"]
    assert progress == {"answered": 1, "skipped": 1, "practice_left": 0, "left": 3, "seconds_per_item": 9.5}
    assert third["state"] == "leased"
    overview = site.browser("Olga").get("/api/overview").json()
    assert (overview["totals"]["answered"], overview["totals"]["skipped"], overview["totals"]["complete"]) == (1, 1, 0)
    assert {row["name"] for row in overview["agreement"]} == {"raw", "alpha", "kappa", "ac1", "spread"}


def test_an_organiser_invites_somebody_who_then_works(site):
    olga, new = site.browser("Olga"), Browser(site.app)
    made = olga.post("/api/people", json={"name": "Nora", "role": "annotator"}).json()
    origin, token = made["link"].split("/join#")
    assert origin == "http://127.0.0.1:8700"
    assert new.sign_in(token).json() == {"name": "Nora", "role": "annotator", "home": "/work"}
    assert new.more()
    olga.post(f"/api/people/{made['person']['id']}/revoke")
    assert new.post("/api/tasks", json={}).status_code == 401
    assert new.get("/work").status_code == 401
    twice = olga.post("/api/people", json={"name": "Nora", "role": "annotator"})
    assert twice.status_code == 422
    assert "already" in twice.json()["detail"]
    me = site.project.people["Olga"]
    assert olga.post(f"/api/people/{me}/revoke").status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        {"id": "x"},
        saying(left=11),
        saying(left=-1),
        saying(left=2.5),
        saying(base=-1),
        saying(kind="other"),
        saying(answer=None),
        saying(extra=1),
        saying(act="short"),
        saying(answer={"correct": "single", "distinct": "yes", "left": 1, "note": "x" * 4001}),
        saying(answer={"correct": "single", "distinct": "yes", "left": 1, "seconds": "NaN"}),
        [],
        None,
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(body, shared_site):
    ada = shared_site.browser("Ada")
    [task] = ada.more()
    reply = ada.post(f"/api/tasks/{task['key']}/revisions", json=body)
    assert reply.status_code == 422
    assert isinstance(reply.json()["detail"], str)


def test_no_name_becomes_part_of_a_page(site):
    """The project's and people's names, every payload, on every page that has them: the same elements as ever."""
    olga, pages = site.browser("Olga"), ("/organise", "/people", "/adjudicate", "/guide", "/join", "/nowhere")
    plain = {path: Tags(olga.get(path).text).found for path in pages}
    person = update(people).where(people.c.name == "Olga").returning(people.c.id)
    me = site.project.write(lambda c: c.execute(person.values(name="Olga")).scalar_one())
    for n in range(0, len(PAYLOADS), 10):
        name = payload = " ".join(PAYLOADS[n : n + 10]).replace("\0", "")
        site.project.store.config = site.project.config.model_copy(update={"name": name})
        site.project.write(lambda c, name=name: c.execute(update(people).where(people.c.id == me).values(name=name)))
        for path in pages:
            assert Tags(olga.get(path).text).found == plain[path], (path, payload)
