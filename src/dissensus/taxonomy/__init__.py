"""The paper's two categories: one correct answer or several; responses that can be told apart or not.

They come from people, from a language model that is asked the paper's questions, or from two small classifiers that
are shipped; a `Classification` says from which.
"""

from dissensus.taxonomy.classification import (
    Changes,
    Question,
    classifications_from_judgments,
    classify_pairs,
    known_classifications,
    one_pair_per_prompt,
)
from dissensus.taxonomy.classifiers import classify_offline
from dissensus.taxonomy.human_agreement import Agreement, agreement_with_people

__all__ = [
    "Agreement",
    "Changes",
    "Question",
    "agreement_with_people",
    "classifications_from_judgments",
    "classify_offline",
    "classify_pairs",
    "known_classifications",
    "one_pair_per_prompt",
]
