"""Rows of other tools' files as pairs."""
