"""A study run into a folder: stage after stage, each only if something that it depends on has changed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dissensus import __version__
from dissensus.files.locks import sole_writer
from dissensus.records import Metric
from dissensus.run_records import InputRecord, PairCounts, StageRecord
from dissensus.study.config import StudyConfig
from dissensus.study.manifest import Manifest
from dissensus.study.run_folder import (
    MANIFEST,
    REPORT,
    SCORES,
    SETTINGS,
    TEST,
    Run,
    keep_settings,
    make_folder,
    refuse_own_inputs,
)
from dissensus.study.stage import Stage
from dissensus.study.stages import plan


def run_study(
    config: StudyConfig,
    out: str | Path,
    *,
    command: str = "",
    study: str = "",
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),  # noqa: T201
    progress: bool = True,
) -> list[Metric]:
    """Run a study into a folder; returns the rows of ``scores.json``, none where people are to annotate first.

    Run again, it redoes only the stages whose settings or inputs changed; killed anywhere, it goes on where
    it stopped.

    Args:
        config: the settings.
        out: the folder.
        command: how it was called, for the manifest.
        study: the file that the settings are from, where they are from one.
        say: takes each line of progress.
        progress: whether stages show how far they are.

    Raises:
        OutputError: the folder cannot be made, or the run would write over the study or something that it reads.
    """
    run = Run(config, Path(out), progress)
    stages = plan(run)
    written = {_place(output) for stage in stages for output in stage.outputs}
    refuse_own_inputs(study, config, run.folder, [SETTINGS, MANIFEST, *sorted(written)])
    make_folder(run.folder)
    with sole_writer(run.folder):
        settings = config.model_dump(mode="json")
        keep_settings(run.folder, settings)
        walk = _Walk(run, stages, Manifest(run.folder, settings=settings, command=command), say)
        return run.load(SCORES, Metric) if walk.to_the_end() else []


def _place(output: str) -> str:
    """Name what of the folder is the run's where it writes a file; of pairs, the file alone."""
    parts = output.split("/")
    return output if parts[0] == "pairs" else "/".join(parts[: 2 if parts[0] == "models" else 1])


class _Walk:
    """A walk through a plan."""

    def __init__(self, run: Run, stages: Sequence[Stage], manifest: Manifest, say: Callable[[str], None]) -> None:
        self.run, self.stages, self.manifest, self.say = run, stages, manifest, say
        self.made: dict[str, StageRecord] = {}

    def to_the_end(self) -> bool:
        """Run or keep each stage; returns False where people are to be asked before it can end."""
        ready = [stage for stage in self.stages if not stage.needs_votes]
        for stage in ready:
            self._make(stage)
        if self.run.waits_for_people():
            for stale in (SCORES, REPORT):  # of an earlier run that had annotations: not this study's any more
                (self.run.folder / stale).unlink(missing_ok=True)
            self.manifest.keep_only(stage.name for stage in ready)
            self._ask_for_people()
            return False
        self.manifest.keep_only(stage.name for stage in self.stages)
        for stage in self.stages[len(ready) :]:
            self._make(stage)
        return True

    def _make(self, stage: Stage) -> None:
        """Run a stage, or keep what an earlier run has made of it."""
        count = f"[{len(self.made) + 1}/{len(self.stages)}]"
        fingerprint = stage.fingerprint(self.made, __version__)
        record = self.manifest.reusable(stage.name, fingerprint, stage.outputs)
        if record is not None and stage.holds(record.counts):
            self.say(f"{count} {stage.name}: unchanged, kept")
        else:
            self.say(f"{count} {stage.name} …")
            started = time.perf_counter()
            counts = stage.work(self.made)
            seconds = time.perf_counter() - started
            record = self.manifest.finish(
                stage.name, fingerprint, seconds=seconds, counts=counts, outputs=stage.outputs
            )
            counted = [f"{name.replace('_', ' ')} {value}" for name, value in counts.shown() if value != 0]
            self.say(f"{count} {stage.name}: {seconds:.1f} s{'; ' + ', '.join(counted) if counted else ''}")
        self.made[stage.name] = record
        if isinstance(record.counts, PairCounts):
            self._note_inputs(record.counts.rows or [])

    def _note_inputs(self, rows: Sequence[int]) -> None:
        found = zip(self.run.sources, self.run.contents, rows, strict=True)
        self.manifest.note_inputs(InputRecord(path=path, sha256=sha256, rows=n) for path, sha256, n in found)

    def _ask_for_people(self) -> None:
        test, database = self.run.folder / TEST, self.run.folder / "annotations.db"
        self.say(
            f"nobody has annotated the test pairs ({test}). Let people do it:\n"
            f"  dissensus annotate {test} --db {database} --annotators 3\n"
            f"then run the same study again with --annotations {database}; nothing is done twice"
        )
