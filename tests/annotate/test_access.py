"""Links open once, sessions end, and neither can be read out of the database."""

import stat

import pytest
from sqlalchemy import select

from dissensus.annotate.project import access
from dissensus.annotate.project.database import read_secret
from dissensus.annotate.project.errors import LinkExpired, LinkUsed, NotAllowed, NotFound
from dissensus.annotate.project.schema import invites, sessions
from dissensus.annotate.project.store import AnnotationStore
from dissensus.errors import InputError

HOUR = 3_600_000


def _redeem(project, token):
    return project.write(lambda c: access.redeem(c, project.store, token, project.now))


def _who(project, token):
    return project.read(lambda c: access.session(c, project.store, token, project.now))


def test_a_link_opens_once_and_for_a_time_and_the_newest_alone(open_project):
    project = open_project(invite_hours=2)
    older, link = project.invite("Ada"), project.invite("Ada")
    with pytest.raises(NotFound):
        _redeem(project, older)
    assert _who(project, _redeem(project, link)).name == "Ada"
    with pytest.raises(LinkUsed):
        _redeem(project, link)
    late = project.invite("Ada")
    project.now += 2 * HOUR
    with pytest.raises(LinkExpired):
        _redeem(project, late)


def test_a_session_ends_with_time_signing_out_and_revocation(open_project):
    project = open_project(session_days=1)
    tokens = [_redeem(project, project.invite("Ada")) for _ in range(2)]
    project.write(lambda c: access.end_session(c, project.store, tokens[0]))
    assert [_who(project, token) is None for token in tokens] == [True, False]
    project.now += 25 * HOUR
    assert _who(project, tokens[1]) is None
    token, link = _redeem(project, project.invite("Ada")), project.invite("Ada")
    project.write(lambda c: access.revoke(c, project.people["Ada"], project.now))
    assert _who(project, token) is None
    with pytest.raises(NotFound):
        _redeem(project, link)
    with pytest.raises(NotAllowed, match="revoked"):
        project.invite("Ada")


def test_tokens_are_long_and_nowhere_in_the_database(open_project):
    project = open_project()
    link = project.invite("Ada")
    session = _redeem(project, link)
    assert len(link) == len(session) == 43  # 32 bytes
    hashes = [
        project.read(lambda c, table=table: c.execute(select(table.c.token_hash)).scalar_one())
        for table in (invites, sessions)
    ]
    assert [len(found) for found in hashes] == [32, 32]
    project.store.close()
    for file in project.secret.parent.iterdir():
        content = file.read_bytes()
        assert link.encode() not in content
        assert session.encode() not in content


def test_a_stolen_database_opens_nothing_without_the_secret(open_project):
    project, other = open_project(), open_project()
    link = project.invite("Ada")
    with AnnotationStore(project.database, secret=other.secret) as store, pytest.raises(NotFound):
        store.write(lambda c: access.redeem(c, store, link, project.now))
    assert project.store.seed != other.store.seed


def test_files_are_the_owners_alone(open_project):
    project = open_project()
    project.invite("Ada")
    files = list(project.secret.parent.iterdir())
    assert len(files) >= 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    project.secret.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        read_secret(project.secret)


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb", "a\0b", "Ada"])
def test_names_tell_people_apart(name, open_project):
    with pytest.raises(InputError):
        open_project().add(name)


def test_no_project_is_made_over_another(database, open_project, tmp_path):
    project = open_project(database)
    with pytest.raises(InputError, match=r"already|exists"):
        AnnotationStore.create(project.database, project.config, secret=tmp_path / "s")
    assert AnnotationStore.exists(project.database)


def test_what_is_no_project_is_said_to_be_none_without_a_password(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    for name in ("notes.txt", "missing.db", "."):
        with pytest.raises(InputError, match="there is no annotation project"):
            AnnotationStore(tmp_path / name)
    with pytest.raises(InputError, match="mysql is not supported"):
        AnnotationStore("mysql://x@y/z")
    with pytest.raises(Exception) as refused:
        AnnotationStore("postgresql://me:hunter2@127.0.0.1:9/none")
    assert "hunter2" not in str(refused.value)
