"""Settings of the hyperparameter search and of promotion."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from cfnsr.config.base import Section


class _NumberRange(Section):
    low: float
    high: float
    log: bool = False  # sample uniformly in the logarithm

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low ({self.low}) must be less than high ({self.high})")
        if self.log and self.low <= 0:
            raise ValueError(f"low ({self.low}) must be above 0 if log is true")
        return self


class FloatRange(_NumberRange):
    """Range of a real number in the search space."""

    kind: Literal["float"]


class IntRange(_NumberRange):
    """Range of an integer in the search space."""

    kind: Literal["int"]
    low: int
    high: int


class Choice(Section):
    """List of values in the search space."""

    kind: Literal["categorical"]
    choices: tuple[bool | int | float | str, ...] = Field(min_length=1)


Range = Annotated[FloatRange | IntRange | Choice, Field(discriminator="kind")]


class TuneSettings(Section):
    """Flow `tune-cfnsr`: search space and budget."""

    trials: PositiveInt = 20
    seed: int = Field(0, ge=0)
    startup_trials: PositiveInt = 5  # sampled at random and never pruned, before the sampler uses the results
    warmup_epochs: int = Field(5, ge=0)  # of a fold's last phase, during which no trial is pruned
    search: dict[str, Range] = Field({})  # range by dotted key below the profile


class PromoteSettings(Section):
    """Flow `promote-cfnsr`: conditions for replacing the champion."""

    margin: float = Field(0.0, ge=0, lt=1)  # by which the accuracy must be higher
    # Required confidence that it is higher, see `cfnsr.evaluation.metrics.compare`.
    confidence: float = Field(0.95, gt=0.5, lt=1)
