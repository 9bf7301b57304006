"""Strangers: other sites, other hosts, other people's cookies, paths that lead elsewhere."""

import logging
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from sqlalchemy import select

from dissensus.annotate.project.errors import NotFound
from dissensus.annotate.project.schema import sessions
from dissensus.annotate.web import auth
from dissensus.annotate.web.app import create_app
from dissensus.annotate.web.auth import Throttle, Throttled
from dissensus.annotate.web.security import hosts_for
from dissensus.errors import InputError

from .test_api import BODIES, MATRIX
from .web import ORIGIN, Browser, saying

WRITES = sorted({route for route in MATRIX if route[0] != "GET"})


@pytest.fixture
def site(shared_site):
    return shared_site


def _owner(site, path):
    if path.startswith("/api/tasks"):
        return site.browser("Ada")
    return site.browser("Judith" if path.startswith("/api/items") else "Olga")


FOREIGN = {
    "another site": {"origin": "https://evil.example"},
    "null": {"origin": "null"},
    "another port": {"origin": "http://127.0.0.1:9999"},
    "another scheme": {"origin": "https://127.0.0.1:8700"},
    "a name that begins alike": {"origin": "http://127.0.0.1:8700.evil.example"},
    "the same site, by its own word": {"origin": "http://evil.127.0.0.1:8700", "sec-fetch-site": "same-site"},
    "cross-site with a right origin": {"origin": ORIGIN, "sec-fetch-site": "cross-site"},
    "same-site with a right origin": {"origin": ORIGIN, "sec-fetch-site": "same-site"},
    "typed by hand": {"origin": ORIGIN, "sec-fetch-site": "none"},
    "none": {},
    "empty": {"origin": ""},
}


@pytest.mark.parametrize("name", FOREIGN)
def test_writes_come_from_the_apps_own_pages(name, site):
    for verb, path in WRITES:
        browser = _owner(site, path)
        del browser.headers["origin"]
        address = path.format(**site.places())
        before = site.everything()
        body = BODIES.get((verb, path), lambda: None)()
        reply = browser.request(verb, address, json=body, headers=FOREIGN[name])
        assert reply.status_code == 403, f"{verb} {path}: {reply.status_code}"
        assert site.everything() == before, f"{verb} {path}"


def test_two_origins_are_none_and_browsers_that_send_none_are_known_by_fetch_metadata(site):
    ada = site.browser("Ada")
    del ada.headers["origin"]
    for others in ("https://evil.example", ORIGIN):
        headers = [("origin", ORIGIN), ("origin", others)]
        assert ada.post("/api/tasks", json={}, headers=headers).status_code == 403
    assert ada.post("/api/tasks", json={}, headers={"sec-fetch-site": "same-origin"}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8700", "127.0.0.1", "127.0.0.1:80", "localhost.evil.example:8700", ""]
)
def test_other_hosts_names_are_not_answered_to(host, site):
    for path in ("/", "/healthz", "/api/tasks", "/static/style.css"):
        reply = site.browser("Ada").get(path, headers={"host": host})
        assert reply.status_code == 421
        assert "--trusted-host" in reply.json()["detail"]
    twice = [("host", "127.0.0.1:8700"), ("host", host)]
    assert site.nobody.get("/healthz", headers=twice).status_code == 421


def test_signing_in_begins_a_session_of_its_own_and_ends_the_browsers_earlier_one(site):
    planted = "p" * 43
    browser, intruder, old = Browser(site.app), Browser(site.app), Browser(site.app)
    browser.cookies.set("dissensus", planted, domain="127.0.0.1", path="/")
    assert browser.sign_in(site.project.invite("Ada")).status_code == 200
    token = browser.cookies["dissensus"]
    assert token != planted
    assert len(token) == 43
    intruder.cookies.set("dissensus", planted)
    assert intruder.get("/api/tasks").status_code == 401
    old.cookies.update(browser.cookies)
    browser.sign_in(site.project.invite("Grace"))
    assert browser.get("/api/session").json()["name"] == "Grace"
    assert old.get("/api/session").status_code == 401


TAMPERED = {
    "another last letter": lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
    "one letter more": lambda token: token + "A",
    "another case": lambda token: token.swapcase(),
    "nothing": lambda token: "",
    "far too long": lambda token: "x" * 5000,
    "no ASCII": lambda token: "é",
}


@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED)
def test_a_tampered_cookie_opens_nothing(change, site):
    browser = site.browser("Ada")
    changed = quote(change(browser.cookies["dissensus"]))
    intruder = Browser(site.app)
    for path in ("/api/tasks", "/work"):
        assert intruder.get(path, headers={"cookie": f"dissensus={changed}"}).status_code == 401
    assert browser.get("/api/tasks").status_code == 200


def test_signing_out_ends_the_session_on_the_server(open_site):
    site = open_site()
    browser, copy = site.browser("Ada"), Browser(site.app)
    copy.cookies.update(browser.cookies)
    assert "Max-Age=0" in browser.delete("/api/session").headers["set-cookie"]
    assert copy.get("/api/tasks").status_code == 401
    assert site.project.read(lambda c: c.execute(select(sessions)).all()) == []


@pytest.mark.parametrize(("trusted", "secure"), [(None, False), ("https://annotate.example.org", True)])
def test_the_cookie_is_for_this_app_alone(trusted, secure, site):
    hosts = hosts_for(8700, trusted)
    browser = Browser(create_app(site.project.store, hosts=hosts))
    browser.base_url, browser.headers["origin"] = hosts.origin, hosts.origin
    reply = browser.sign_in(site.project.invite("Ada"))
    cookie = reply.headers["set-cookie"]
    assert cookie.startswith("__Host-dissensus=" if secure else "dissensus=")
    assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Path=/"))
    assert "Domain" not in cookie
    assert ("Secure" in cookie) == ("strict-transport-security" in reply.headers) == secure


PATHS = [
    "../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/pages.py", "..\\..\\pages.py", "....//pages.py",
    "%00", "a/b", "/etc/passwd", "é", "x" * 3000, "' OR 1=1 --", "0" * 16,
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_elsewhere(path, site):
    olga, ada = site.browser("Olga"), site.browser("Ada")
    for verb, route in MATRIX:
        if "{" not in route and not route.startswith(("/static", "/api/export")):
            continue
        place = route.replace("style.css", "{x}").replace("jsonl", "{x}")
        address = place.format(task=path, item=path, person=path, x=path)
        browser = ada if route.startswith("/api/tasks") else olga
        reply = browser.request(verb, address, json=BODIES.get((verb, route), lambda: None)())
        assert reply.status_code in (404, 405, 422), f"{verb} {address[:80]}: {reply.status_code}"
        assert "root:" not in reply.text
        assert "APIRouter" not in reply.text


def test_every_reply_says_what_browsers_may_do(site):
    for browser, path in (
        (site.nobody, "/"),
        (site.nobody, "/nowhere"),
        (site.browser("Ada"), "/api/tasks"),
        (site.nobody, "/static/style.css"),
    ):
        headers = browser.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == ("no-cache" if path.startswith("/static") else "no-store")
        assert "server" not in headers


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (415, b"have=1", "application/x-www-form-urlencoded"),
        (415, b"{}", "text/plain"),
        (413, b"{" + b" " * 300_000 + b"}", "application/json"),
        (411, iter([b"{}"]), "application/json"),  # in chunks, without a length
        (422, b"{", "application/json"),
    ],
)
def test_bodies_are_small_json(status, content, kind, site):
    reply = site.browser("Ada").post("/api/tasks", content=content, headers={"content-type": kind})
    assert reply.status_code == status


def test_failed_sign_ins_are_slowed_down_by_address(open_site):
    site = open_site()
    link = site.project.invite("Ada")
    assert [site.nobody.sign_in("x" * 43).status_code for _ in range(12)] == [404] * 10 + [429] * 2
    throttled = site.nobody.sign_in(link)
    assert throttled.status_code == 429
    assert 0 < int(throttled.headers["retry-after"]) <= 300
    elsewhere = Browser(site.app)
    elsewhere._transport.client = ("10.0.0.9", 1234)
    assert elsewhere.sign_in(link).status_code == 200


def test_the_throttle_forgets_and_stays_small(monkeypatch):
    time = [0.0]
    monkeypatch.setattr(auth, "time", SimpleNamespace(monotonic=lambda: time[0]))
    throttle = Throttle()
    throttle.allowed, throttle.window, throttle.addresses = 2, 10, 100
    for n in (*range(1000), 999):
        throttle.failed(f"address {n}")
    assert len(throttle._failed) == 100
    with pytest.raises(Throttled):
        throttle.check("address 999")
    time[0] = 11
    throttle.check("address 999")


def test_tokens_are_in_no_log(site, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    link = site.project.invite("Ada")
    browser = Browser(site.app)
    browser.sign_in(link)
    session = browser.cookies["dissensus"]
    browser.sign_in(link)
    browser.save(browser.more()[0]["key"])
    browser.get("/nowhere")
    spoken = caplog.text + "".join(capsys.readouterr())
    assert link not in spoken
    assert session not in spoken


@pytest.mark.parametrize("given", ["evil.example/path", "ftp://x", "a b", "", "x:99999", "http://user@host"])
def test_a_trusted_host_is_a_host(given):
    with pytest.raises(InputError, match="--trusted-host"):
        hosts_for(8700, given)


LINKS = [
    ("http://127.0.0.1:8700", {}),
    ("http://[::1]:8700", {"host": "::1"}),
    ("http://[::1]:8700", {"host": "[::1]"}),
    ("http://127.0.0.7:8700", {"host": "127.0.0.7"}),
    ("http://127.0.0.1:8700", {"host": "localhost"}),
    ("https://127.0.0.1:8700", {"tls": True}),
    ("https://192.168.1.7:8700", {"host": "192.168.1.7", "tls": True}),
    ("https://127.0.0.1:8700", {"host": "0.0.0.0", "tls": True}),
    ("http://lab.example:8700", {"trusted": "lab.example"}),
    ("http://lab.example:8700", {"trusted": "lab.example", "host": "0.0.0.0"}),
    ("https://lab.example", {"trusted": "lab.example", "tls": True, "port": 443}),
    ("https://lab.example", {"trusted": "https://lab.example", "host": "0.0.0.0"}),
]


@pytest.mark.parametrize(("origin", "listening"), LINKS)
def test_links_name_where_the_app_listens_or_the_name_that_people_use(origin, listening):
    hosts = hosts_for(**{"port": 8700, **listening})
    assert hosts.origin == origin
    assert hosts.secure == origin.startswith("https")
    assert origin in hosts.origins
    assert listening.get("trusted", "") or origin.split("//")[1] in hosts.names
    if listening.get("trusted", "").startswith("https:"):  # behind a proxy with TLS writes come through it alone
        assert hosts.origins == {origin}


def test_nobody_is_found_by_a_number_that_is_none(site):
    olga = site.browser("Olga")
    for number in ("0", "-1", "999", "99999999999999999999", "1.5", "x"):
        assert olga.post(f"/api/people/{number}/invite").status_code in (404, 422)
    with pytest.raises(NotFound):
        site.project.answer("Ada", saying()["id"])
