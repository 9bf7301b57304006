"""The web app of an annotation project."""
