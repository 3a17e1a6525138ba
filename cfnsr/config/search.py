"""Settings of what is done with trainings: search for better ones, and promote them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from cfnsr.config.base import Section


class FloatRange(Section):
    """A real number of the search space."""

    kind: Literal["float"]
    low: float
    high: float
    log: bool = False  # even over orders of magnitude

    @model_validator(mode="after")
    def _ordered(self) -> FloatRange:
        _check_order(self.low, self.high, self.log)
        return self


class IntRange(Section):
    """A whole number of the search space."""

    kind: Literal["int"]
    low: int
    high: int
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> IntRange:
        _check_order(self.low, self.high, self.log)
        return self


class Choice(Section):
    """One of several values."""

    kind: Literal["categorical"]
    choices: tuple[bool | int | float | str, ...] = Field(min_length=1)


Range = Annotated[FloatRange | IntRange | Choice, Field(discriminator="kind")]


class TuneSettings(Section):
    """Flow `tune-cfnsr`: what is searched, and for how long."""

    trials: PositiveInt = 20
    seed: int = Field(0, ge=0)
    startup_trials: PositiveInt = 5  # drawn at random, and never pruned, before the search learns from them
    warmup_epochs: int = Field(5, ge=0)  # of a fold's last phase, in which nothing is pruned
    search: dict[str, Range] = Field({})  # by dotted key below the profile


class PromoteSettings(Section):
    """Flow `promote-cfnsr`: when a version may replace the champion."""

    margin: float = Field(0.0, ge=0, lt=1)  # accuracy by which it must be better
    confidence: float = Field(0.95, gt=0.5, lt=1)  # certainty that it is better, see `cfnsr.evaluation.metrics.compare`


def _check_order(low: float, high: float, log: bool) -> None:
    if not low < high:
        raise ValueError(f"low ({low}) must be less than high ({high})")
    if log and low <= 0:
        raise ValueError(f"low ({low}) must be above 0 where log is true")
