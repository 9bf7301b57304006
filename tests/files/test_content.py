import hashlib
from pathlib import Path

import pytest

from dissensus.errors import InputError
from dissensus.files import content_of, sha256_of


def test_the_digest_is_that_of_the_bytes(tmp_path):
    Path(tmp_path / "x").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256_of(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    (made / "deep").mkdir(parents=True)
    (made / "config.json").write_bytes(b"{}")
    (made / "deep" / "weights").write_bytes(bytes(100))
    return made


def test_the_content_of_a_file_is_its_bytes(folder):
    assert content_of(folder / "config.json") == sha256_of(folder / "config.json")


def test_a_folder_is_what_its_files_are_called_and_hold(folder, tmp_path):
    before = content_of(folder)
    assert content_of(folder.rename(tmp_path / "moved")) == before
    weights = tmp_path / "moved" / "deep" / "weights"
    weights.write_bytes(bytes(99) + b"\1")
    changed = content_of(tmp_path / "moved")
    weights.write_bytes(bytes(100))
    assert content_of(tmp_path / "moved") == before
    weights.rename(weights.with_name("other"))
    assert len({before, changed, content_of(tmp_path / "moved")}) == 3


def test_an_id_of_the_hub_has_no_content_here(tmp_path):
    assert content_of(tmp_path / "org" / "name") is None


def test_a_file_that_cannot_be_read_is_named(folder, monkeypatch):
    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"config\.json: cannot be read \(Permission denied\)"):
        content_of(folder)
