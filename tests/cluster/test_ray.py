"""A judge and a reward model on a Ray cluster say what one process says, whatever dies on the way."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from dissensus.cli import group
from dissensus.cluster.blocks import PIECES, Beginnings, Block, blocks_by_prompt, dealt
from dissensus.cluster.places import ShardFolder
from dissensus.cluster.ray_data import Workers, pool
from dissensus.errors import ConfigError, DissensusError
from dissensus.files import write_records
from dissensus.judges.kinds import CombinedSettings, VotesSettings
from dissensus.judges.language.settings import ServerSettings
from dissensus.judges.progress_display import Tally
from dissensus.judges.store.store import JudgmentStore
from dissensus.parts import Part
from dissensus.records import Pair
from dissensus.simulate import SimulationConfig, simulate
from dissensus.steps import judge as step

PAIRS = simulate(SimulationConfig(prompts=12, responses_per_prompt=3)).pairs
RAY = Workers(engine="ray", workers=1)
JUDGES = """
import os
from typing import Literal
from dissensus.errors import OutputError
from dissensus.judges.kinds import VotesSettings
from dissensus.judges.votes import HumanVotes

class Deadly(HumanVotes):
    def answer(self, questions):
        if any(question.pair.prompt == "the end" for question in questions):
            os.kill(os.getpid(), 9)
        return super().answer(questions)

class DeadlySettings(VotesSettings):
    name: Literal["deadly"] = "deadly"
    def open(self, pairs, material):
        return Deadly(pairs)

class FullSettings(VotesSettings):
    name: Literal["full"] = "full"
    def open(self, pairs, material):
        raise OutputError("/tmp/block.db: the disk is full; make room")
"""
on_ray = [pytest.mark.slow, pytest.mark.xdist_group("ray"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[Path]:
    """A cluster of this machine with room for two workers, and a folder that has judges with faults."""
    folder = tmp_path_factory.mktemp("ray")
    (folder / "judges_with_faults.py").write_text(JUDGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", str(folder))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("DISSENSUS_CACHE", str(folder / "cache"))
        with pool(Workers(engine="ray", workers=2), takes_gpu=False):
            yield folder


def _rows(path: Path) -> set[tuple[object, ...]]:
    with JudgmentStore(path, create=False) as store:
        judgments = "SELECT key, judge, pair_id, sample, shown, choice, reply, checksum FROM judgments"
        return {*store.rows(judgments, ()), *store.rows("SELECT key, judge, pair_id, shown FROM readings", ())}


def _dies_on(pairs: list[Pair]) -> list[Pair]:
    return [pairs[0].model_copy(update={"prompt": "the end", "group": "the end"}), *pairs[1:]]


@pytest.mark.usefixtures("world")
class TestOnRay:
    pytestmark = on_ray

    def test_votes_are_those_of_one_process_and_nothing_is_asked_twice(self, tmp_path, tiny_bert):
        write_records(tmp_path / "pairs.parquet", PAIRS)
        judge = [
            "judge",
            "committee",
            str(tmp_path / "pairs.parquet"),
            "--encoder",
            str(tiny_bert),
            "--n",
            "4",
            "--quiet",
        ]
        one, many = tmp_path / "one.db", tmp_path / "many.db"
        assert CliRunner().invoke(group, [*judge, "--store", str(one)], catch_exceptions=False).exit_code == 0
        on_ray = [*judge, "--store", str(many), "--engine", "ray", "--workers", "2"]
        assert "144 new" in CliRunner().invoke(group, on_ray, catch_exceptions=False).output
        assert _rows(many) == _rows(one)
        many.unlink()  # the shards have it all
        assert "all 144" in CliRunner().invoke(group, on_ray, catch_exceptions=False).output
        assert _rows(many) == _rows(one)

    def test_a_language_model_is_tried_once_and_says_what_it_says_alone(self, tmp_path, tiny_judge):
        from dissensus.judges.language.settings import LocalSettings

        settings = LocalSettings(model=str(tiny_judge), n=4, mode="exact")
        one, many = (
            step.run(settings, PAIRS[:10], tmp_path / f"{n}.db", progress=False, workers=w)
            for n, w in ((1, None), (2, RAY))
        )
        assert one.judge == many.judge
        assert one.mode == many.mode
        votes = [step.judgments(settings, one.judge, PAIRS[:10], tmp_path / f"{n}.db") for n in (1, 2)]
        said = [[(j.pair_id, j.sample, j.order, j.choice) for j in own] for own in votes]
        assert len(said[0]) == 40
        assert said[0] == said[1]  # readings may differ in their last digits, as their batches do

    def test_a_pair_that_ends_workers_is_an_error_and_the_others_are_answered(self, world, tmp_path):
        from judges_with_faults import DeadlySettings

        pairs = _dies_on(PAIRS[:4])
        summary = step.run(DeadlySettings(), pairs, tmp_path / "s.db", progress=False, workers=RAY)
        assert summary.tally.failed == 4  # five votes, one of which is the label
        assert f"pair {pairs[0].id}" in summary.tally.failed_because
        with JudgmentStore(tmp_path / "s.db", create=False) as store:
            assert {one.pair_id for one in store.judgments()} == {pair.id for pair in pairs[1:]}
            assert [state for (state,) in store.rows("SELECT state FROM attempts", ())] == ["failed"]

    def test_a_full_disk_of_a_worker_is_told_with_its_machine(self, world, tmp_path):
        from judges_with_faults import FullSettings

        with pytest.raises(DissensusError, match=r"the disk is full; make room \(on "):
            step.run(FullSettings(), PAIRS, tmp_path / "s.db", progress=False, workers=RAY)

    def test_predictions_are_those_of_one_process(self, tmp_path, tiny_bert, monkeypatch):
        write_records(tmp_path / "pairs.jsonl", PAIRS)
        predict = ["predict", str(tmp_path / "pairs.jsonl"), "--model", str(tiny_bert), "--out"]
        for name, rest in (("one", []), ("many", ["--engine", "ray", "--workers", "1"])):
            done = CliRunner().invoke(group, [*predict, str(tmp_path / f"{name}.jsonl"), *rest], catch_exceptions=False)
            assert done.exit_code == 0
        assert (tmp_path / "many.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()
        assert not (tmp_path / "many.jsonl.part").exists()


def test_no_cluster_is_a_line_at_once(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    said = r"no Ray cluster is there .*refused.*; start one with 'ray start --head'"
    nobody = Workers(engine="ray", ray_address=f"127.0.0.1:{port}")
    with pytest.raises(ConfigError, match=said), pool(nobody, takes_gpu=False):
        pass


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DissensusError, match=r"pip install 'dissensus\[ray\]'"), pool(RAY, takes_gpu=False):
        pass


def test_judges_that_cannot_be_several_are_refused():
    with pytest.raises(ConfigError, match="weighs its judges on all pairs at once"):
        CombinedSettings(judges=(VotesSettings(),)).for_workers(2)
    server = ServerSettings(base_url="http://127.0.0.1:1", rpm=60, concurrency=64)
    assert (server.for_workers(4).rpm, server.for_workers(4).concurrency) == (15, 16)
    with pytest.raises(ConfigError, match="--max-cost"):
        ServerSettings(base_url="http://127.0.0.1:1", price=(1, 1), max_cost=1).for_workers(2)


def test_a_prompt_is_in_one_block_and_every_pair_in_one():
    blocks = list(blocks_by_prompt([*PAIRS[::2], *PAIRS[1::2]], 7))
    assert sorted(pair.id for block in blocks for pair in block.pairs) == sorted(pair.id for pair in PAIRS)
    where = {(pair.prompt, block.name) for block in blocks for pair in block.pairs}
    assert len(where) == len({prompt for prompt, _ in where})
    assert all(len(block.pairs) <= 7 for block in blocks)
    assert Block.from_bytes(blocks[0].to_bytes()) == blocks[0]
    pieces = blocks[0].pieces()
    assert [pair for piece in pieces for pair in piece.pairs] == list(blocks[0].pairs)
    assert len(pieces) <= PIECES


@pytest.mark.parametrize("place", ["folder", "memory"])
def test_a_beginning_without_an_end_is_a_death(tmp_path, place):
    folder = ShardFolder(str(tmp_path) if place == "folder" else f"memory://{tmp_path.name}")
    block, first = Block.of(PAIRS[:3]), Beginnings(folder, "run-1")
    with first.begun(block):
        first.end(block, {"found": 1})
    assert (first.deaths(block), first.ended(block)) == (0, {"found": 1})
    second = Beginnings(folder, "run-2")
    assert second.ended(block) is None  # what another run counted was printed there
    with pytest.raises(OSError, match="full"), second.begun(block):
        raise OSError("full")
    assert second.deaths(block) == 0
    killed = [second.begun(block), second.begun(block)]
    for one in killed:
        one.__enter__()
    assert second.deaths(block) == first.deaths(block) == 2
    second.forgive(block)
    assert first.deaths(block) == 0
    assert (first.say("mode", "exact"), second.say("mode", "sample")) == ("exact", "exact")


def test_each_pair_of_a_part_is_in_one_pile_and_those_of_a_prompt_together():
    seen = []
    for part in (Part(1, 2), Part(2, 2)):
        piles = list(dealt(filter(part.has, PAIRS), part, 3))
        assert len(piles) == 3
        seen += piles
    assert sorted(pair.id for pile in seen for pair in pile) == sorted(pair.id for pair in PAIRS)
    assert sum(len({pair.prompt for pair in pile}) for pile in seen) == len({pair.prompt for pair in PAIRS})


def test_counts_of_workers_are_added():
    whole = Tally(3, made=2, failed=1, failed_because=" (gone)", too_long_pairs=["p (9 tokens)"])
    whole.add(Tally(4, made=4, reused=2, cost=0.5, too_long_pairs=["q (8 tokens)"]))
    assert (whole.wanted, whole.made, whole.reused, whole.failed, whole.cost) == (7, 6, 2, 1, 0.5)
    assert (whole.failed_because, whole.too_long_pairs) == (" (gone)", ["p (9 tokens)", "q (8 tokens)"])
