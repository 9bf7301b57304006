"""The record of judges corrected and combined: what each counts, and how far they were off before and after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt, ValidationError

from dissensus.errors import InputError
from dissensus.records import Record
from dissensus.versions import unreadable, without_stamp

Target = Literal["labels", "votes"]
Covariates = Literal["length", "none"]

CALIBRATION = "calibration"
"""Under which a store has the calibration among the settings of combined judges."""
ENDING = ".calibration.json"
"""What the file of a calibration is called after: ``margins.calibration.json`` beside ``margins.parquet``."""


class Fit(Record):
    """How near preferences are to what people said; less is better."""

    nll: FiniteFloat
    """Of a label or vote, in nats, of preferences clipped to [1e-6, 1 - 1e-6]."""
    brier: FiniteFloat
    ece: FiniteFloat
    """Expected calibration error, each pair entered both ways, so that which response is called a is nothing to it."""


class Predictor(Record):
    """One column of the stack: a judge's log-odds, ``length`` or ``reward``."""

    name: str
    coefficient: FiniteFloat
    """By which its log-odds are multiplied; of the length, log-odds for each unit of log(length_a / length_b)."""
    low: FiniteFloat
    high: FiniteFloat
    adds: FiniteFloat
    """By how many nats the out-of-fold NLL is higher without it; below 0 where the stack is better off without."""
    missing: NonNegativeInt = 0
    """Pairs on which it says nothing, and counts nothing."""


class RawJudge(Record):
    """A judge as it is, both presentation orders weighed alike."""

    judge: str
    reads: Literal["probabilities", "votes"]
    """Whether its preference is a mean of probabilities, or a share of votes."""
    pairs: NonNegativeInt
    """With a valid judgment."""
    judgments: NonNegativeInt
    invalid: NonNegativeInt
    fit: Fit | None
    """On the labelled pairs that it judged; None where there are none."""


class JudgeCalibration(Record):
    """A logistic stack of judges, fitted to people's labels or votes."""

    target: Target
    pairs: NonNegativeInt
    """That have a calibrated preference."""
    missing: NonNegativeInt
    """Pairs on which no judge has a valid judgment: they have none."""
    fitted: NonNegativeInt
    """Pairs with a label, or votes."""
    observations: NonNegativeInt
    """Labels, or votes, on them."""
    prompts: NonNegativeInt
    """Groups that these pairs are of: what folds are made of and the intervals are clustered by."""
    folds: NonNegativeInt
    ridge: Annotated[float, Field(gt=0)]
    """Strength λ of the penalty λ/2 |β|² on columns in units of their root mean square, beside a loss summed over
    labels or votes; that of the fit to all of them, which the coefficients are of."""
    level: FiniteFloat = 0.95
    """Of the intervals: a sandwich estimate clustered by prompt, with the t of prompts - 1 degrees of freedom."""
    predictors: tuple[Predictor, ...]
    judges: tuple[RawJudge, ...]
    mean: Fit
    """Of the mean of the judges' preferences, as they are."""
    calibrated: Fit
    """Of the out-of-fold preferences."""
    notes: tuple[str, ...] = ()


def read_calibration(path: Path) -> JudgeCalibration:
    """Read what `dissensus margin --calibrate` has written beside its margins.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    content = None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return JudgeCalibration.model_validate(without_stamp(content))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the file") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        otherwise = f"no calibration of judges ({where}: {first['msg']}); make the margins again"
        raise unreadable(path, content, otherwise) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON; make the margins again") from error
