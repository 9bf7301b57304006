"""Annotations in and out, other tools' among them."""
