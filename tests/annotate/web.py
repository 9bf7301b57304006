"""Browsers without a screen: clients of the app, signed in as somebody or as nobody."""

import functools
import itertools

from sqlalchemy import select
from starlette.testclient import TestClient

from dissensus.annotate.project.schema import metadata
from dissensus.annotate.web.app import create_app
from dissensus.annotate.web.security import hosts_for

PORT = 8700
ORIGIN = f"http://127.0.0.1:{PORT}"
_acts = itertools.count()


class Browser(TestClient):
    """A client that sends what a browser sends with the app's own pages."""

    def __init__(self, app):
        super().__init__(app, base_url=ORIGIN, raise_server_exceptions=False, follow_redirects=False)
        self.headers["origin"] = ORIGIN

    def sign_in(self, token):
        return self.post("/api/session", json={"token": token})

    def more(self, want=1, have=()):
        return self.post("/api/tasks", json={"have": list(have), "want": want}).json()["tasks"]

    def save(self, key, left=7, base=0, act=None, **changes):
        return self.post(f"/api/tasks/{key}/revisions", json=saying(left, base, act, **changes))


def saying(left=7, base=0, act=None, **changes):
    answer = {"correct": "multiple", "distinct": "yes", "left": left, "note": "", "seconds": 9.5}
    body = {"id": act or f"browser-{next(_acts):08}", "base": base, "kind": "answer", "answer": answer, "reason": ""}
    return body | changes


class Site:
    """The app of a project, and a browser for each of its people."""

    def __init__(self, project):
        self.project = project
        self.app = create_app(project.store, hosts=hosts_for(PORT))

    @functools.cached_property
    def nobody(self):
        return Browser(self.app)

    def browser(self, name):
        made = Browser(self.app)
        # The app's clock is the real one: links of a project whose clock stands in the future are good in both.
        assert made.sign_in(self.project.invite(name)).status_code == 200
        return made

    def places(self):
        """A task of Ada's, an item, and a person nobody misses."""
        [task] = self.project.lease("Ada").tasks
        return {"task": task.key, "item": self.item(), "person": self.project.people["Kofi"]}

    def item(self):
        return self.project.sql("SELECT key FROM items WHERE id = 1")[0].key

    def everything(self):
        """All rows of all tables."""
        return self.project.read(lambda c: [c.execute(select(table)).all() for table in metadata.sorted_tables])
