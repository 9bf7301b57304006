from click.testing import CliRunner

from dissensus.cli.options import command_of_step

command = command_of_step("report")


def test_writes_beside_the_run_and_prints_the_path(tmp_path):
    (tmp_path / "study.yaml").write_text("name: begun\n")
    result = CliRunner().invoke(command, [str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "report.html")
    assert "This run has no scores yet." in (tmp_path / "report.html").read_text()


def test_several_runs_need_a_file_for_their_page(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.yaml").write_text("title: x\n")
    folders = [str(tmp_path / "one"), str(tmp_path / "two")]
    assert "several runs need --out FILE" in str(CliRunner().invoke(command, folders).exception)
    out = tmp_path / "both.html"
    assert CliRunner().invoke(command, [*folders, "--out", str(out)]).stdout.strip() == str(out)
    assert "2 runs compared" in out.read_text()
