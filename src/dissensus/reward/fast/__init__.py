"""Exact faster forward passes."""
