"""Agreement of annotators and of judges.

- ``ratings``: ratings reduced to what the coefficients need
- ``coefficients``: kappa, alpha, AC1 and AC2, with intervals; ``icc``: intraclass correlations, by ``reml``
- ``dawid_skene``: Dawid-Skene and MACE
- ``judge_agreement``: components of variance of judges' verdicts, and agreement with people
- ``position_bias``: what the order shown does to verdicts
"""
