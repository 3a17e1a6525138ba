"""Base of all sections of `params.yaml`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Unknown keys are errors, values don't change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
