"""Settings of an annotation project: chosen when it is made, and kept in its database."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class AnnotationConfig(BaseModel):
    """The settings of a project: how many people see each pair, what they are asked, how long things last."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=200)] = "Which answer do people prefer?"
    """Shown to annotators; tell them nothing about where responses come from."""
    annotators: Annotated[int, Field(ge=1, le=1000)] = 3
    """Per pair: the k of exactly k different people."""
    own_choice: bool = False
    """Whether annotators are also asked which answer they prefer themselves."""
    practice: bool = True
    """Whether everybody first answers pairs with known answers."""
    guide: str = ""
    """Markdown shown as the guide; the built-in one where empty."""
    lease_minutes: Annotated[float, Field(gt=0)] = 30
    """How long a pair is kept for somebody who has it on screen or in the queue and is not heard of."""
    prefetch: Annotated[int, Field(ge=1, le=50)] = 25
    """Pairs that a browser holds at most, to go on without a network."""
    invite_hours: Annotated[float, Field(gt=0)] = 72
    session_days: Annotated[float, Field(gt=0)] = 30
