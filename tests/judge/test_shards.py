"""Parts of a run and their shards: merged they are one run's store, whatever was killed or done twice on the way."""

import errno
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judge_helpers import a_distribution

from dissensus.cluster.places import ShardFolder
from dissensus.errors import ConfigError, InputError, OutputError
from dissensus.files.database_url import StorePlace, place_of
from dissensus.judges import Committee
from dissensus.judges.base import JudgeSettings
from dissensus.judges.kinds import CombinedSettings, CommitteeSettings, GraphSettings, VotesSettings
from dissensus.judges.language.messages import Answer, Ask, Usage
from dissensus.judges.language.settings import LocalSettings
from dissensus.judges.shards import merge_judgments as merging
from dissensus.judges.shards import seal as sealer
from dissensus.judges.shards import shard as shard_file
from dissensus.judges.shards.merge_judgments import Merged, merge
from dissensus.judges.shards.seal import restore, seal, sealing
from dissensus.judges.store.attempts import Attempt, Ledger, Price, spent
from dissensus.judges.store.store import JudgmentStore
from dissensus.judges.store.verify import verify
from dissensus.parts import Part, PartOf
from dissensus.records import Pair, Votes
from dissensus.steps import judge as step

N = 8
PAIRS = [
    Pair(
        id=f"p{i}",
        prompt=f"prompt {i // 3}",
        response_a=f"yes {i}",
        response_b=f"no {i}",
        label="ab"[i * 7 % 3 % 2],
        votes=Votes(a=2, b=i % 3),
    )
    for i in range(48)
]
ALL = 4 * len(PAIRS)
"""Answers."""


class FakeModel:
    """Says what a hash of the question says; is dead before the answer ``dies_at``."""

    identity = {"model": "fake"}  # noqa: RUF012
    context = None
    dies_at = -1

    def __init__(self) -> None:
        self.asked: list[Ask] = []

    def answer(self, asks: list[Ask], sampling: object) -> Iterator[Answer]:
        for ask in asks:
            if len(self.asked) == self.dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            self.asked.append(ask)
            if sampling is None:
                # The first pairs of all show that the model would hardly ever write the prefix.
                yield Answer(ask, distribution=a_distribution(forced=0.1 if int(ask.pair.id[1:]) < 8 else 1.0))
            else:
                said = (hashlib.sha256(f"{ask.prompt} {sample}".encode()).digest()[0] for sample in ask.samples)
                yield Answer(ask, tuple(f"Choice: {'AB'[one % 2]}" for one in said))


class Features:
    digest = "00ff"

    def features(self, texts: Any, *, progress: bool = True) -> Any:
        seeds = [int.from_bytes(hashlib.sha256(repr(text).encode()).digest()[:8]) for text in texts]
        return np.stack([np.random.default_rng(seed).normal(size=4) for seed in seeds]).astype(np.float32)


Judged = Callable[..., FakeModel]


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Judged:
    """``judged("3/8")`` has the fake model judge a part, or all with ``None``, and returns it."""

    def judge(part: str | None, *, store: str = "j.db", pairs: list[Pair] = PAIRS, **settings: Any) -> FakeModel:
        model = FakeModel()
        monkeypatch.setattr(LocalSettings, "backend", lambda self: (model, self.model))
        asked = pairs if part is None else PartOf(pairs, Part.parse(part))
        step.run(LocalSettings(model="fake", **{"n": 4} | settings), asked, tmp_path / store, progress=False)
        return model

    return judge


def merged(tmp_path: Path, *places: str, into: str = "merged.db", **options: Any) -> Merged:
    return merge([str(tmp_path / place) for place in places or ("j.db.parts",)], tmp_path / into, **options)


def rows(path: StorePlace) -> list[list[tuple[Any, ...]]]:
    with JudgmentStore(path, create=False) as store:
        assert verify(store).damaged == 0
        tables = {"judgments": "key", "readings": "key", "judges": "name"}
        return [list(store.rows(f"SELECT * FROM {table} ORDER BY {by}")) for table, by in tables.items()]


KILLED = """
import sys; sys.path[:0] = {path}
import dissensus.judges.runner as runner
from pathlib import Path
from test_shards import PAIRS, FakeModel, LocalSettings, Part, PartOf, step
FakeModel.dies_at, runner._SECONDS = {dies_at}, 0.0
LocalSettings.backend = lambda self: (FakeModel(), self.model)
step.run(LocalSettings(model="fake", n=4), PartOf(PAIRS, Part.parse("5/8")), Path({store!r}), progress=False)
"""


def test_eight_parts_two_of_them_twice_and_one_killed_are_one_run(tmp_path: Path, judged: Judged) -> None:
    judged(None, store="whole.db")
    script = KILLED.format(path=[str(Path(__file__).parent)], dies_at=5, store=str(tmp_path / "j.db"))
    died = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    asked = {index: len(judged(f"{index}/8").asked) for index in (1, 2, 3, 4, 6, 7, 8)}
    assert not judged("2/8").asked
    assert not judged("6/8").asked
    with pytest.raises(InputError, match="part 5/8 has not ended; run the same command with --part 5/8 again"):
        merged(tmp_path)
    asked[5] = len(judged("5/8").asked) + 5  # what was answered before the kill is not asked again
    assert sum(asked.values()) == 2 * len(PAIRS)

    found = merged(tmp_path, pairs=PAIRS)
    assert rows(tmp_path / "merged.db") == rows(tmp_path / "whole.db")
    assert (found.rows, found.added, found.doubles, found.holes.open) == (ALL, ALL, 0, 0)
    assert merged(tmp_path).added == 0
    for part in (tmp_path / "j.db.parts").glob("*.db"):  # shards alone do as well
        part.unlink()
    assert merged(tmp_path, into="again.db").added == ALL
    assert rows(tmp_path / "again.db") == rows(tmp_path / "whole.db")


def test_all_parts_come_to_one_decision_about_exact_runs(tmp_path: Path, judged: Judged) -> None:
    """The first pairs of all decide whether replies are sampled; a part that has none of them asks about them too."""
    judged(None, mode="exact", store="whole.db")
    for index in (1, 2):
        judged(f"{index}/2", mode="exact")
    found = merged(tmp_path)
    assert rows(tmp_path / "merged.db") == rows(tmp_path / "whole.db")
    assert len(found.judges) == 2
    assert found.doubles == 16  # eight pairs in both orders, by either part


@pytest.mark.parametrize("kind", [CommitteeSettings(n=3), GraphSettings(), VotesSettings()], ids=lambda kind: kind.name)
def test_a_part_learns_from_all_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: JudgeSettings) -> None:
    monkeypatch.setattr(
        CommitteeSettings, "open", lambda self, pairs, material: Committee(pairs, self, Features(), progress=False)
    )
    step.run(kind, PAIRS, tmp_path / "whole.db", progress=False)
    for index in (1, 2, 3):
        step.run(kind, PartOf(PAIRS[::-1], Part(index, 3)), tmp_path / "j.db", progress=False)
    found = merged(tmp_path, pairs=PAIRS)
    assert rows(tmp_path / "merged.db") == rows(tmp_path / "whole.db")
    assert found.holes.open == 0


def test_what_weighs_judges_on_all_pairs_has_no_parts(tmp_path: Path) -> None:
    kind = CombinedSettings(judges=(VotesSettings(), GraphSettings()))
    with pytest.raises(ConfigError, match="combined: weighs its judges on all pairs at once, and has no parts"):
        step.run(kind, PartOf(PAIRS, Part(1, 2)), tmp_path / "j.db", progress=False)


def test_a_lost_machine_costs_nothing_that_was_sealed(tmp_path: Path, judged: Judged) -> None:
    judged("1/1")
    before = rows(tmp_path / "j.db.parts" / "1-of-1.db")
    for file in (tmp_path / "j.db.parts").glob("1-of-1.db*"):
        file.unlink()
    assert not judged("1/1").asked
    assert rows(tmp_path / "j.db.parts" / "1-of-1.db") == before
    shards = tmp_path / "j.db.parts" / "1-of-1.shards"
    names = sorted(file.name for file in shards.iterdir())
    judged("1/1")
    assert sorted(file.name for file in shards.iterdir()) == names


def test_a_job_that_is_started_on_another_machine_goes_on(tmp_path: Path, judged: Judged) -> None:
    """What the first machine had in flight there is asked again; nobody has to say that it is gone."""
    ask = judged("1/1", store="elsewhere.db").asked[0]
    place = Part(1, 1).place(tmp_path / "j.db")
    place.parent.mkdir()
    with JudgmentStore(place) as store, store.transaction() as connection:
        connection.execute("INSERT INTO runs VALUES (7, 'fake', 'another-machine', '1:1', '2026-01-01', NULL)")
        columns = "run, judge, pair_id, ask, state, prompt_tokens"
        connection.execute(f"INSERT INTO attempts ({columns}) VALUES (7, 'fake', 'p', ?, 'sent', 9)", (ask.key,))
    assert len(judged("1/1").asked) == 2 * len(PAIRS)
    assert merged(tmp_path, pairs=PAIRS).holes.open == 0


def test_whole_blocks_are_sealed_while_a_run_goes_on(
    tmp_path: Path, judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(None)
    monkeypatch.setattr(sealer, "BLOCK", 50)
    folder = ShardFolder(tmp_path / "shards")
    with sealing(tmp_path / "j.db", folder, {}, seconds=0.01):
        deadline = time.monotonic() + 20
        while len(folder.names()) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(folder.names()) == 3
    names = folder.names()
    assert len(names) == 4
    (tmp_path / "shards" / names[0]).unlink()  # as where a kill came before it
    with sealing(tmp_path / "j.db", folder, {}):
        pass
    assert folder.names() == names
    merged(tmp_path, "shards")
    assert rows(tmp_path / "merged.db") == rows(tmp_path / "j.db")


def test_a_merge_that_is_killed_goes_on(tmp_path: Path, judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(None)
    for index in range(1, 4):
        judged(f"{index}/3", store="p.db")
    inner, seen = merging.insert, []

    def dies(*given: Any) -> int:
        seen.append(given)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return inner(*given)

    with monkeypatch.context() as patched:
        patched.setattr(merging, "insert", dies)
        with pytest.raises(KeyboardInterrupt):
            merged(tmp_path, "p.db.parts")
    assert 0 < merged(tmp_path, "p.db.parts").added < ALL
    assert rows(tmp_path / "merged.db") == rows(tmp_path / "j.db")


def test_an_error_is_a_row_and_no_answer(tmp_path: Path, judged: Judged) -> None:
    """What was tried and what it cost goes with the shards, is merged once, and answers nothing."""
    judged("1/2")
    judged("2/2")
    place = tmp_path / "j.db.parts" / "2-of-2.db"
    with JudgmentStore(place) as store:
        (judge,) = store.judges()
        ledger, ask = Ledger(store, judge), Ask(b"k" * 16, PAIRS[0], "ab", "?", keys=(b"k" * 16,))
        with ledger.running():
            with store.transaction():
                ids = ledger.claim([(ask, Usage(9, 1), 0.5)])
            with store.transaction():
                ledger.settle([Attempt(ids[0] or 0, "failed", Usage(9, 1), Price(1e6, 0).of(Usage(9, 1)), 0.1, "no")])
    judged("2/2")
    for _ in range(2):
        found = merged(tmp_path, pairs=PAIRS)
    assert found.attempts == {"failed": 1}
    assert "errors     1 attempts without an answer (1 failed), which count as none" in list(found.lines())
    with JudgmentStore(tmp_path / "merged.db") as store:
        cost = spent(store, judge)
        assert (cost.attempts, cost.failed, cost.prompt_tokens, cost.cost) == (1, 1, 9, 9.0)
        assert store.missing([b"k" * 16]) == {b"k" * 16}
    place.unlink()
    judged("2/2")  # from its shards: with what it cost, and nothing is sealed anew
    with JudgmentStore(place) as store:
        assert spent(store, judge) == cost
    assert len(list(place.with_name("2-of-2.shards").iterdir())) == 2


def test_doubles_and_holes_are_counted(tmp_path: Path, judged: Judged) -> None:
    judged("1/2")
    judged("2/2", pairs=PAIRS)
    judged(None, store="other.db", pairs=PAIRS[:10])
    found = merged(tmp_path, "j.db.parts", "other.db", pairs=[*PAIRS, PAIRS[0].model_copy(update={"prompt": "new"})])
    assert (found.rows, found.added, found.doubles, found.differing) == (ALL + 40, ALL, 40, 0)
    part = 1 if Part(1, 2).has(PAIRS[0].model_copy(update={"prompt": "new"})) else 2
    assert list(found.lines())[-2:] == [
        "holes      4 of 196 questions about 49 pairs are open",
        f"           4 of part {part}/2: run it again with --part {part}/2",
    ]


def test_shards_lie_wherever_fsspec_reaches(tmp_path: Path, judged: Judged) -> None:
    judged("1/1")
    store = tmp_path / "j.db.parts" / "1-of-1.db"
    with JudgmentStore(store) as opened:
        for _ in range(2):
            seal(opened, ShardFolder("memory://run/1-of-1.shards"), {"part": "1/1"})
    found = merge(["memory://run"], tmp_path / "merged.db")
    assert (found.rows, found.added, found.doubles) == (ALL, ALL, 0)
    assert rows(tmp_path / "merged.db") == rows(store)
    assert restore(ShardFolder("memory://run/1-of-1.shards"), tmp_path / "back.db") == ALL
    with pytest.raises(InputError, match="nowhere: has no parts, no shards and no store"):
        merge(["memory://nowhere"], tmp_path / "merged.db")


def test_parts_that_do_not_fit_together_are_refused(tmp_path: Path, judged: Judged) -> None:
    for index in (1, 2):
        judged(f"{index}/2")
    folder = tmp_path / "j.db.parts"
    (folder / "2-of-2.shards").rename(folder / "2-of-3.shards")
    with pytest.raises(InputError, match=r"different numbers of parts \(2 of /2, 1 of /3\)"):
        merged(tmp_path)
    (folder / "2-of-3.shards").rename(tmp_path / "2-of-2.shards")
    with pytest.raises(InputError, match="part 2/2 is there twice"):
        merged(tmp_path, "j.db.parts", "2-of-2.shards")
    (folder / "2-of-2.db").rename(tmp_path / "kept.db")
    with pytest.raises(InputError, match="part 2/2 is missing; run the same command with --part 2/2"):
        merged(tmp_path)
    found = merged(tmp_path, pairs=PAIRS, allow_missing=True)
    assert "parts      without 2/2" in list(found.lines())
    assert found.holes.parts == {2: ALL - found.rows}

    judged("2/2", temperature=0.5)
    with pytest.raises(InputError, match=r"part 1/2 was judged by fake-\w+ and part 2/2 by fake-\w+: judge all parts"):
        merged(tmp_path, into="new.db")
    assert not (tmp_path / "new.db").exists()
    for file in folder.glob("2-of-2.[ds]*"):
        file.rename(tmp_path / f"other-{file.name}")
    judged("2/2", pairs=PAIRS[:-1])
    with pytest.raises(InputError, match=r"is part 2/2 of other pairs"):
        merged(tmp_path)
    with pytest.raises(InputError, match="no such folder or store"):
        merged(tmp_path, "nothing")
    (tmp_path / "p.jsonl").write_text("{}" * 60)
    with pytest.raises(InputError, match=r"p\.jsonl: not a store of judgments"):
        merged(tmp_path, "p.jsonl")


def test_shards_of_two_judges_are_not_mixed(tmp_path: Path, judged: Judged) -> None:
    judged("1/1")
    judged("1/1", temperature=0.5)
    shards = "j.db.parts/1-of-1.shards"
    (tmp_path / shards).rename(tmp_path / "loose")
    with pytest.raises(InputError, match=r"loose: holds shards of 2 judges .* choose with --judge"):
        merged(tmp_path, "loose")
    assert merged(tmp_path, "loose", judges=("fake",)).added == 2 * ALL
    one, _ = merged(tmp_path, judges=("fake",), into="2.db").judges
    assert merged(tmp_path, "loose", judges=(one,), into="1.db").added == ALL


def test_a_damaged_or_newer_shard_is_named(tmp_path: Path, judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    judged("1/1")
    (tmp_path / "j.db.parts" / "1-of-1.db").unlink()
    (file,) = (tmp_path / "j.db.parts" / "1-of-1.shards").iterdir()
    whole = file.read_bytes()
    for place in (200, len(whole) // 2, len(whole) - 3):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with pytest.raises(InputError, match=f"{file.name}: damaged.*run its part again"):
            merged(tmp_path)
    file.write_bytes(whole)
    file.rename(file.with_name("0" * 32 + ".parquet"))
    with pytest.raises(InputError, match="its keys are not those that it is named by"):
        merged(tmp_path)
    next(file.parent.iterdir()).unlink()
    monkeypatch.setattr(shard_file, "VERSION", 2)
    judged("1/1")
    monkeypatch.undo()
    with pytest.raises(InputError, match="a shard of version 2, and this dissensus reads up to version 1; upgrade"):
        merged(tmp_path)


def test_a_full_disk_loses_nothing(tmp_path: Path, judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(OutputError, match=re.escape("disk full") + ".*free space and run again"):
            judged("1/1")
    assert not list((tmp_path / "j.db.parts" / "1-of-1.shards").glob("*"))
    with pytest.raises(InputError, match="part 1/1 has not ended"):
        merged(tmp_path)
    assert not judged("1/1").asked
    assert merged(tmp_path).added == ALL


def test_parts_and_a_database(
    tmp_path: Path, judged: Judged, new_schema: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts are merged into a database as into a file; and parts that share one need no merging."""
    for index in (1, 2):
        judged(f"{index}/2")
    merged(tmp_path)
    whole, url = rows(tmp_path / "merged.db"), new_schema()
    for added in (ALL, 0):
        assert merge([str(tmp_path / "j.db.parts")], place_of(url), pairs=PAIRS).added == added
    assert rows(place_of(url)) == whole
    shared = place_of(new_schema())
    monkeypatch.setattr(LocalSettings, "backend", lambda self: (FakeModel(), self.model))
    for index in (1, 2):
        step.run(LocalSettings(model="fake", n=4), PartOf(PAIRS, Part(index, 2)), shared, progress=False)
    assert rows(shared) == whole
