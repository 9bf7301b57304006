"""Noise ceilings: what so few votes allow.

- ``noise_ceiling``: the r and L1 of a perfect model
- ``true_preferences``: the distribution behind a handful of votes; ``vote_noise``: their error, by parts of the pairs
- ``vote_process``: whether votes are independent draws, as many as were asked for beforehand
"""
