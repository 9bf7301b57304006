"""Files of earlier versions, made by the code before exports had typed records: projects open, exports come in."""

import gzip
from pathlib import Path

import pytest

from dissensus.annotate.exchange.export import export
from dissensus.annotate.exchange.imports import import_export
from dissensus.annotate.project import verify
from dissensus.annotate.project.store import AnnotationStore

EARLIER = Path(__file__).parent / "fixtures"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "a.db").write_bytes(gzip.decompress((EARLIER / "project.db.gz").read_bytes()))
    with AnnotationStore(tmp_path / "a.db") as store:
        yield store


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_exports_are_as_they_were_to_the_byte(form, project, tmp_path):
    earlier = (EARLIER / f"export.{form}").read_bytes()
    assert verify.check(project) == []
    export(project, tmp_path / f"again.{form}")
    assert (tmp_path / f"again.{form}").read_bytes() == earlier
    import_export(EARLIER / f"export.{form}", tmp_path / "copy.db")
    with AnnotationStore(tmp_path / "copy.db") as copy:
        assert verify.check(copy) == []
        export(copy, tmp_path / f"copied.{form}")
    assert (tmp_path / f"copied.{form}").read_bytes() == earlier
