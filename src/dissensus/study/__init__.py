"""The whole way from pairs to a report, from one file of settings."""

from dissensus.study.config import StudyConfig, load_study
from dissensus.study.pipeline import run_study

__all__ = ["StudyConfig", "load_study", "run_study"]
