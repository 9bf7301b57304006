"""Noise ceilings: what so few votes allow."""
