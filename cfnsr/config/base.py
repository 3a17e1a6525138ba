"""Base of all sections of `params.yaml`, and one sentence for what is wrong in one of them."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError


class Section(BaseModel):
    """Unknown keys are errors, and values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def first_problem(error: ValidationError, profile: str, sections: type[BaseModel]) -> str:
    """One sentence for the first thing pydantic found wrong, naming the key as it stands in the file.

    Args:
        error: of validating a profile.
        profile: its name.
        sections: the model that was validated.
    """
    # A misspelt key is also a missing one; its own name is what helps.
    problems = error.errors()
    problem = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    location = _place(problem)
    key = ".".join([profile, *location])
    if problem["type"] == "extra_forbidden":
        known = _known_keys(sections, location[:-1])
        close = get_close_matches(location[-1], known, n=1)
        known_keys = f"known keys are {', '.join(known)}." if known else "take it out."
        hint = f"did you mean {close[0]!r}?" if close else known_keys
        return f"{key} is not a known key; {hint}"
    if problem["type"] == "missing":
        return f"{key} is missing; add it."
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if problem["type"] == "value_error":
        return f"{key}: {message}."
    # Where one of several kinds of value is allowed, each kind has its own message.
    said = [each["msg"] for each in problems if _place(each) == location]
    message = "; or ".join(each[0].lower() + each[1:] for each in said)
    return f"{key} is {problem['input']!r}: {message}."


def _known_keys(sections: type[BaseModel], location: Sequence[str]) -> list[str]:
    """Keys of a section, by its place below the profile; empty if names below it are free."""
    section: Any = sections
    for part in location:
        field = getattr(section, "model_fields", {}).get(part)
        section = field.annotation if field else None
    return list(getattr(section, "model_fields", ()))


def _place(problem: Any) -> list[str]:
    """The keys to a value, without pydantic's names for the kinds that it may have."""
    parts = [str(part) for part in problem["loc"]]
    return [part for part in parts if not part.startswith(("constrained-", "literal["))]
