"""Judgments on disk."""
