"""Annotation by people: a web app in which they compare pairs, and their answers as records."""
