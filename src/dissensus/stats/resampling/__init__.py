"""Cluster bootstrap, intervals and permutation tests.

- ``clusters``: pairs that are drawn together, and what few or unequal clusters cost
- ``bootstrap``: every metric of many models in many groups; ``statistics``: any function of weights, the plain way
- ``intervals``: t, BCa, percentile and recentred; ``paired_differences``: of two models; Fisher's and Holm's methods
- ``permutation``: the paired swap test; ``multiplicity``: families of hypotheses behind gates
- ``training_seeds``: what their choice adds to a variance
"""
