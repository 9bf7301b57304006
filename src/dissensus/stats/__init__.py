"""Arrays in, numbers out.

- ``metrics``: how closely predicted preferences follow those of people; ``weighted``: their arguments, checked
- ``calibration``: calibration error, the parts of the Brier score, and what a calibrated model would get
- ``resampling``: cluster bootstrap, intervals and permutation tests
- ``agreement``: coefficients and models of annotators and judges
- ``ceilings``: what so few votes allow
- ``design``: sample sizes and power
"""
