"""Several people's votes to one preference, under a rule: aggregation is a choice of values, so it is a parameter.

- ``ballots``: who said what about which pair
- ``rules``: what a rule takes, and what it decides; ``preferences``: its arithmetic
- ``apply_rule``: a rule applied, and what it changes
"""

from dissensus.aggregation.apply_rule import Aggregated, Change, Comparison, aggregate, compare
from dissensus.aggregation.ballots import Ballots, ballots_from_judgments, ballots_from_votes
from dissensus.aggregation.rules import RULES, Rule, Uniform, parse_rule

__all__ = [
    "RULES",
    "Aggregated",
    "Ballots",
    "Change",
    "Comparison",
    "Rule",
    "Uniform",
    "aggregate",
    "ballots_from_judgments",
    "ballots_from_votes",
    "compare",
    "parse_rule",
]
