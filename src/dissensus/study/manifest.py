"""The manifest of a run folder: what each stage has made, so that running it again redoes only what changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from dissensus.files import sha256_of, write_json
from dissensus.run_records import (
    Counts,
    InputRecord,
    RunManifest,
    SettingsRecord,
    StageRecord,
    environment,
    git_commit,
    read_manifest,
)


class Manifest:
    """The manifest of one run folder, written after every stage."""

    def __init__(self, folder: Path, *, settings: Mapping[str, object], command: str) -> None:
        """Take up what earlier runs in the folder have noted.

        Raises:
            InputError: the folder has a ``manifest.json`` that is no manifest.
        """
        self.folder, self.path = folder, folder / "manifest.json"
        earlier = read_manifest(self.path) if self.path.exists() else None
        self.stages: dict[str, StageRecord] = {}
        for stage in earlier.stages if earlier else ():
            # Manifests of earlier versions have it once for all stages.
            shared = {"command", "git_commit", "environment"} - stage.model_fields_set
            self.stages[stage.name] = stage.model_copy(update={key: getattr(earlier, key) for key in shared})
        self._run = RunManifest(
            name=folder.name,
            title=str(settings.get("title", folder.name)),
            created=(earlier.created if earlier else None) or _now(),
            command=command,
            config=SettingsRecord.model_validate(settings),
            environment=environment(),
            git_commit=git_commit(),
            inputs=[],
            stages=[],
        )

    def note_inputs(self, inputs: Iterable[InputRecord]) -> None:
        """Note the sources that the pairs are from."""
        self._run = self._run.model_copy(update={"inputs": list(inputs)})

    def reusable(self, name: str, fingerprint: str, outputs: Collection[str]) -> StageRecord | None:
        """Return the stage's earlier record if it made these outputs from the same and they are as it left them.

        An output may be a pattern with a ``*``, which stands for one file or more.
        """
        stage = self.stages.get(name)
        if stage is None or stage.fingerprint != fingerprint:
            return None
        made = [{path for path in stage.outputs if fnmatchcase(path, pattern)} for pattern in outputs]
        if not all(made) or set().union(*made) != set(stage.outputs):
            return None
        for relative, sha256 in stage.outputs.items():
            path = self.folder / relative
            if not path.is_file() or sha256_of(path) != sha256:
                return None
        return stage

    def finish(
        self, name: str, fingerprint: str, *, seconds: float, counts: Counts, outputs: Sequence[str]
    ) -> StageRecord:
        """Note a finished stage and write the manifest.

        Where the files are those that the stage had made already, it says of them what it said: a model that was found
        trained was trained then, there, and in that time.
        """
        earlier = self.stages.pop(name, None)
        files: list[str] = []
        for output in outputs:
            found = sorted(self.folder.glob(output)) if "*" in output else [self.folder / output]
            files += [file.relative_to(self.folder).as_posix() for file in found]
        stage = StageRecord(
            name=name,
            fingerprint=fingerprint,
            seconds=round(seconds, 1),
            finished=_now(),
            command=self._run.command,
            git_commit=self._run.git_commit,
            environment=self._run.environment,
            counts=counts,
            outputs={path: sha256_of(self.folder / path) for path in files},
        )
        if earlier is not None and files and earlier.outputs == stage.outputs:
            stage = earlier.model_copy(update={"fingerprint": fingerprint, "counts": counts})
        self.stages[name] = stage
        self.write()
        return stage

    def keep_only(self, names: Iterable[str]) -> None:
        """Forget stages that the study no longer has, and order the rest."""
        self.stages = {name: self.stages[name] for name in names if name in self.stages}
        self.write()

    def write(self) -> None:
        """Write the file, whole or not at all."""
        write_json(self.path, self._run.model_copy(update={"stages": list(self.stages.values())}).dump())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
