"""Questions to annotators: the paper's three tasks in its own words, and what we add.

The paper shows "Answer A" first; on the screen that is the answer on the left. Its list of the third task ends with a
misprint, a second "10A-0B" where "0A-10B" is meant.
"""

from __future__ import annotations

from dataclasses import dataclass

from dissensus.annotate.config import AnnotationConfig


@dataclass(frozen=True)
class Option:
    """One of a task's answers."""

    value: str
    words: str
    keys: str  # that choose it, as shown


@dataclass(frozen=True)
class Task:
    """A question with its options."""

    name: str  # of the field in an answer
    title: str
    question: str
    options: tuple[Option, ...]
    is_scale: bool = False


SUBJECTIVITY = Task(
    "correct",
    "Task 1: Subjectivity",
    "Is there a single factually, correct response to this prompt?",
    (
        Option("single", "There is only one single correct choice to this prompt.", "S"),
        Option("multiple", "There are multiple possible correct answers to this prompt", "M"),
    ),
)
DISTINGUISHABILITY = Task(
    "distinct",
    "Task 2: Distinguishability",
    "Can you clearly tell the two responses apart? Are they significantly different from one another?",
    (
        Option("no", "Both choices are essentially the same content, just with minor stylistic variations.", "E"),
        Option("yes", "The two choices are clearly different from each other and distinguishable.", "D"),
    ),
)
PREFERENCE = Task(
    "left",
    "Task 3: User Preference Estimation",
    "If you asked 10 different people, how many would prefer answer A and how many would prefer answer B?",
    tuple(Option(str(n), f"{n}A-{10 - n}B", "T" if n == 10 else str(n)) for n in range(10, -1, -1)),
    is_scale=True,
)
OWN_CHOICE = Task(
    "choice",
    "Your own preference",
    "Which answer do you prefer yourself?",
    (
        Option("left", "Answer A", "A"),
        Option("tie", "Neither", "="),
        Option("right", "Answer B", "B"),
    ),
)


def tasks(config: AnnotationConfig) -> tuple[Task, ...]:
    """Return what is asked in a project."""
    asked = (SUBJECTIVITY, DISTINGUISHABILITY, PREFERENCE)
    return (*asked, OWN_CHOICE) if config.own_choice else asked
