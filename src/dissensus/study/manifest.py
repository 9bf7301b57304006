"""What a run did, stage by stage, so that running it again redoes only what changed."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import subprocess
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dissensus import __version__
from dissensus.errors import InputError
from dissensus.files import sha256_of, write_json

_PACKAGES = ("torch", "transformers", "accelerate", "numpy", "scipy", "pyarrow", "pydantic")


class Manifest:
    """The manifest of one run folder, written after every stage."""

    def __init__(self, folder: Path, *, config: dict[str, Any], name: str, command: str) -> None:
        self.folder = folder
        self.path = folder / "manifest.json"
        earlier = _read(self.path)
        self.stages: dict[str, dict[str, Any]] = {stage["name"]: stage for stage in earlier.get("stages", [])}
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
        """Return the stage's earlier entry if it made these outputs from the same and they are as it left them."""
        stage = self.stages.get(name)
        if stage is None or stage["fingerprint"] != fingerprint or set(stage["outputs"]) != set(outputs):
            return None
        for relative, sha256 in stage["outputs"].items():
            path = self.folder / relative
            if not path.is_file() or sha256_of(path) != sha256:
                return None
        return stage

    def finish(
        self, name: str, fingerprint: str, *, seconds: float, counts: dict[str, Any], outputs: dict[str, str]
    ) -> dict[str, Any]:
        """Note a finished stage and write the manifest."""
        stage = {
            "name": name,
            "fingerprint": fingerprint,
            "seconds": round(seconds, 1),
            "finished": _now(),
            "counts": counts,
            "outputs": outputs,
        }
        self.stages.pop(name, None)
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

        ``inputs`` are hashes of what it reads, ``outputs`` the files it writes, relative to the run folder. What is in
        a database, whose bytes are no content, is looked at by ``holds``, which gets the counts of the earlier run.
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
        hashes = {path: sha256_of(self.manifest.folder / path) for path in outputs}
        stage = self.manifest.finish(name, fingerprint, seconds=seconds, counts=counts, outputs=hashes)
        told = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in counts.items() if value not in (None, 0))
        self.say(f"{count} {name}: {seconds:.1f} s{'; ' + told if told else ''}")
        return stage


def fingerprint_of(parts: Any) -> str:
    """Hash JSON-able parts: 16 hex digits."""
    blob = json.dumps(parts, sort_keys=True, default=str).encode()
    return hashlib.sha256(blob).hexdigest()[:16]


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
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not a manifest ({error}); remove it to run every stage again") from error
    return content if isinstance(content, dict) else {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
