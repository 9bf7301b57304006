"""Runs with another manifest."""

from dataclasses import replace

from dissensus.run_records import RunManifest


def noted(run, **changes):
    """Give a run whose manifest has noted something else."""
    return replace(run, manifest=RunManifest.model_validate({**run.manifest.dump(), **changes}))
