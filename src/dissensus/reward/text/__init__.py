"""Prompts and responses as tokens and batches."""
