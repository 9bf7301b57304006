"""Sample sizes and power.

- ``simulated_power``: designs and their power by simulation; ``simulated_swaps``: the swap test in many studies at once
- ``approximate_power``: a first guess; ``sample_size``: pairs, annotators and seeds that a difference needs
"""
