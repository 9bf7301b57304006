"""What a run did, stage by stage, so that running it again redoes only what changed."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from dissensus import __version__
from dissensus.errors import InputError
from dissensus.files import sha256_of, write_json
from dissensus.hashing import fingerprint_of

_PACKAGES = ("torch", "transformers", "accelerate", "numpy", "scipy", "pyarrow", "pydantic")
_PROVENANCE = ("command", "git_commit", "environment")
"""What made a stage: kept with it, for later runs may be of other versions. At the top stands the last run's."""


class Manifest:
    """The manifest of one run folder, written after every stage."""

    def __init__(self, folder: Path, *, config: dict[str, Any], name: str, command: str) -> None:
        self.folder = folder
        self.path = folder / "manifest.json"
        earlier = _read(self.path)
        # Manifests of earlier versions have it once for all stages.
        known = {key: earlier.get(key) for key in _PROVENANCE}
        self.stages: dict[str, dict[str, Any]] = {stage["name"]: {**known, **stage} for stage in earlier["stages"]}
        self.content: dict[str, Any] = {
            "name": name,
            "title": config.get("title", name),
            "created": earlier.get("created") or _now(),
            "command": command,
            "config": config,
            "environment": environment(),
            "git_commit": git_commit(),
            "inputs": [],
        }

    def add_input(self, path: str, sha256: str | None, rows: int) -> None:
        """Note an input file by its content."""
        self.content["inputs"].append({"path": path, "sha256": sha256, "rows": rows})

    def reusable(self, name: str, fingerprint: str, outputs: Collection[str]) -> dict[str, Any] | None:
        """Return the stage's earlier entry if it made these outputs from the same and they are as it left them.

        An output may be a pattern with a ``*``, which stands for one file or more.
        """
        stage = self.stages.get(name)
        if stage is None or stage["fingerprint"] != fingerprint:
            return None
        made = [{path for path in stage["outputs"] if fnmatchcase(path, pattern)} for pattern in outputs]
        if not all(made) or set().union(*made) != set(stage["outputs"]):
            return None
        for relative, sha256 in stage["outputs"].items():
            path = self.folder / relative
            if not path.is_file() or sha256_of(path) != sha256:
                return None
        return stage

    def finish(
        self, name: str, fingerprint: str, *, seconds: float, counts: dict[str, Any], outputs: dict[str, str]
    ) -> dict[str, Any]:
        """Note a finished stage and write the manifest.

        Where the files are those that the stage had made already, it says of them what it said: a model that was found
        trained was trained then, there, and in that time.
        """
        earlier = self.stages.pop(name, None)
        made = {"seconds": round(seconds, 1), "finished": _now(), **{key: self.content[key] for key in _PROVENANCE}}
        if earlier is not None and outputs and earlier["outputs"] == outputs:
            made = {key: earlier.get(key) for key in made}
        stage = {"name": name, "fingerprint": fingerprint, **made, "counts": counts, "outputs": outputs}
        self.stages[name] = stage
        self.write()
        return stage

    def keep_only(self, names: list[str]) -> None:
        """Forget stages that the study no longer has, and order the rest."""
        self.stages = {name: self.stages[name] for name in names if name in self.stages}
        self.write()

    def write(self) -> None:
        """Write the file, whole or not at all."""
        write_json(self.path, {**self.content, "stages": list(self.stages.values())})


class Stages:
    """Runs stages one after the other, each only if something that it depends on has changed."""

    def __init__(self, manifest: Manifest, *, total: int, say: Callable[[str], None]) -> None:
        self.manifest, self.total, self.say = manifest, total, say
        self.names: list[str] = []

    def run(
        self,
        name: str,
        work: Callable[[], dict[str, Any]],
        *,
        settings: Any,
        inputs: list[str],
        outputs: list[str],
        holds: Callable[[dict[str, Any]], bool] = lambda counts: True,
    ) -> dict[str, Any]:
        """Run one stage or reuse it; returns its manifest entry.

        ``inputs`` are hashes of what it reads, ``outputs`` the files it writes, relative to the run folder; one with a
        ``*`` stands for as many as there are. What is in a database, whose bytes are no content, is looked at by
        ``holds``, which gets the counts of the earlier run.
        """
        self.names.append(name)
        count = f"[{len(self.names)}/{self.total}]"
        fingerprint = fingerprint_of([name, __version__, settings, inputs])
        earlier = self.manifest.reusable(name, fingerprint, outputs)
        if earlier is not None and holds(earlier["counts"]):
            self.say(f"{count} {name}: unchanged, kept")
            return earlier
        self.say(f"{count} {name} …")
        started = time.perf_counter()
        counts = work()
        seconds = time.perf_counter() - started
        hashes = {path: sha256_of(self.manifest.folder / path) for path in self._written(outputs)}
        stage = self.manifest.finish(name, fingerprint, seconds=seconds, counts=counts, outputs=hashes)
        told = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in counts.items() if value not in (None, 0))
        self.say(f"{count} {name}: {seconds:.1f} s{'; ' + told if told else ''}")
        return stage

    def _written(self, outputs: list[str]) -> list[str]:
        """Name the files that outputs stand for."""
        folder = self.manifest.folder
        return [
            path
            for output in outputs
            for path in (
                sorted(file.relative_to(folder).as_posix() for file in folder.glob(output))
                if "*" in output
                else [output]
            )
        ]


def environment() -> dict[str, str]:
    """Versions of what decides the numbers."""
    versions = {"dissensus": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def git_commit() -> str | None:
    """The commit of the package's own checkout, marked where files differ from it; None outside a checkout."""
    here = Path(__file__).parent
    try:
        top = _git(here, "rev-parse", "--show-toplevel")
        if not (Path(top) / "src" / "dissensus").is_dir():
            return None
        commit = _git(here, "rev-parse", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + (" with uncommitted changes" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {"stages": []}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        needed = {"name", "fingerprint", "counts", "outputs"}
        if not all(needed <= stage.keys() and isinstance(stage["outputs"], dict) for stage in content["stages"]):
            raise ValueError("a stage lacks its name, fingerprint, counts or outputs")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise InputError(f"{path}: not a manifest ({reason}); remove it to run every stage again") from error
    return dict(content)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
