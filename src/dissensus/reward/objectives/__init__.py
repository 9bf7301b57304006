"""Losses, targets and distributional rewards."""
