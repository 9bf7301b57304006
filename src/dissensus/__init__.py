"""Reward models that know when people disagree."""

__version__ = "0.1.0"
