"""Predictions against the votes of people."""
