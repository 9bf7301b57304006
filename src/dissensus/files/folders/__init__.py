"""Folders that are read as one table."""
