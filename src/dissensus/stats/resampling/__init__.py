"""Cluster bootstrap, intervals and permutation tests."""
