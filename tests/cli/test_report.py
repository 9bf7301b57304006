from click.testing import CliRunner

from dissensus.cli.report import command
from dissensus.errors import InputError


def test_writes_beside_the_run_and_prints_the_path(tmp_path):
    (tmp_path / "study.yaml").write_text("name: begun\n")
    result = CliRunner().invoke(command, [str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "report.html")
    assert "This run has no scores yet." in (tmp_path / "report.html").read_text()


def test_out_names_another_place(tmp_path):
    (tmp_path / "study.yaml").write_text("name: begun\n")
    out = tmp_path / "page.html"
    assert CliRunner().invoke(command, [str(tmp_path), "--out", str(out)]).stdout.strip() == str(out)
    assert out.is_file()


def test_a_folder_that_is_no_run_is_an_error(tmp_path):
    assert isinstance(CliRunner().invoke(command, [str(tmp_path)]).exception, InputError)
