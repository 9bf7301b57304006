from pathlib import Path

from dissensus.reward.config import TrainConfig
from dissensus.reward.training.run import train


def test_a_dry_run_lists_the_files_without_a_network(run, tiny_bert, pairs, tmp_path, monkeypatch, capsys):
    train(pairs, TrainConfig(model=str(tiny_bert), epochs=1, max_length=32), tmp_path / "m", progress=False)
    capsys.readouterr()  # so short a run says that it learnt nothing
    monkeypatch.setattr("socket.socket.connect", None)
    code, out, err = run("push", tmp_path / "m", "--repo", "org/name", "--dry-run")
    assert (code, err) == (0, "")
    listed = dict(reversed(line.split()) for line in out.splitlines()[:-1])
    assert {"README.md", "dissensus.json", "model.safetensors", "training.jsonl"} <= set(listed)
    assert all(int(size.replace(",", "")) == (tmp_path / "m" / name).stat().st_size for name, size in listed.items())
    assert out.endswith("bytes for org/name; nothing was sent\n")


def test_a_mistake_is_one_line(run, tmp_path: Path):
    assert run("push", tmp_path, "--repo", "name")[::2] == (
        2,
        "dissensus: --repo: 'name' is no name on the Hub; "
        "expected ORGANISATION/NAME of letters, digits, '-', '_' and '.'\n",
    )
    code, _, err = run("push", tmp_path, "--repo", "org/name")
    assert (code, err.count("\n")) == (2, 1)
    assert "no dissensus.json" in err
