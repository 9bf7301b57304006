"""Scorecards as tables."""
