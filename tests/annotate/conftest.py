"""Projects in SQLite and in PostgreSQL."""

import contextlib

import pytest

from dissensus.annotate.project.store import now

from . import postgres
from .people import make_project


@pytest.fixture(scope="session")
def postgres_server():
    if postgres.binaries() is None:
        pytest.skip("no PostgreSQL: install Debian's package postgresql")
    pytest.importorskip("psycopg")
    with postgres.server() as fresh:
        yield fresh


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    """The name of an empty database, in each of the two."""
    if request.param == "sqlite":
        return tmp_path / "annotations.db"
    return request.getfixturevalue("postgres_server")()


@pytest.fixture
def open_project(tmp_path):
    """``open_project(database=None, **settings)``: see people.make_project; SQLite unless a database is given."""
    projects = []

    def make(database=None, **settings):
        number = len(projects)
        folder = tmp_path / f"project{number}"
        folder.mkdir()
        projects.append(make_project(database or folder / "annotations.db", folder, **settings))
        return projects[-1]

    yield make
    for project in projects:
        project.store.close()


@pytest.fixture
def open_site(open_project):
    """``open_site(**settings)``: the app of a project with three annotators, an adjudicator and an organiser."""
    pytest.importorskip("fastapi")
    from .web import Site

    def make(database=None, **settings):
        project = open_project(database, **settings)
        project.now = now()
        project.add("Judith", "adjudicator")
        project.add("Olga", "organiser")
        return Site(project)

    return make


@pytest.fixture(scope="module")
def browser():
    """Chromium, started once."""
    from .live import chromium

    with chromium() as launched:
        yield launched


@pytest.fixture
def serve(open_project):
    """``serve(prepare=None, **settings)``: (project, origin) of a prepared project, served until the test ends."""
    from .live import served

    with contextlib.ExitStack() as stack:

        def make(prepare=None, **settings):
            project = open_project(**settings)
            if prepare is not None:
                prepare(project)
            project.now = now()
            return project, stack.enter_context(served(project))

        yield make
