"""The whole error tree.

::

    DissensusError                what a user can fix: one line, exit code 2
    ├── InputError                something that was read: a file, a row, a column, an option
    │   └── ConfigError           a study or a stage's settings
    ├── OutputError               something that could not be written (disk full, no permission)
    ├── JudgeError                no judgments, or not enough of them
    ├── TrainingError             training cannot start or go on
    ├── EvaluationError           a comparison that has no answer
    └── MissingDependencyError    an extra that is not installed

A message says where, what was found, what was expected and what to do. A programmer's mistake is a
plain ``ValueError``.
"""


class DissensusError(Exception):
    """Base of every error that a user can fix."""


class InputError(DissensusError):
    """Input that cannot be read as what it should be; names the file, the line and the remedy."""


class ConfigError(InputError):
    """A setting that is unknown, of the wrong type or in conflict with another."""


class OutputError(DissensusError):
    """Output that could not be written; nothing half-written is left under the final name."""


class JudgeError(DissensusError):
    """Judgments that are missing or cannot be made."""


class TrainingError(DissensusError):
    """Training that cannot start, or must stop."""


class EvaluationError(DissensusError):
    """Predictions and votes that cannot be compared."""


class MissingDependencyError(DissensusError):
    """An optional package that this step needs."""

    def __init__(self, package: str, *, extra: str, need: str) -> None:
        super().__init__(f"{need} needs {package}, which is not installed; run: pip install 'dissensus[{extra}]'")
