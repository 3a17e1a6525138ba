"""Base class of all sections of `params.yaml`, and readable messages for invalid ones."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

_LONGEST = 200  # characters of a key or a value that are quoted


class Section(BaseModel):
    """Refuses unknown keys; values can't be changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def first_problem(error: ValidationError, profile: str, sections: type[BaseModel]) -> str:
    """Describe the first problem that pydantic found in one sentence, with the key as written in the file.

    Args:
        error: from validating a profile.
        profile: name of the profile, the first part of the key.
        sections: the model that was validated.
    """
    # A misspelt key is reported as missing, too; the misspelling is the more helpful message.
    problems = error.errors()
    problem = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    location = _location(problem)
    key = ".".join([profile, *location])
    if problem["type"] == "extra_forbidden":
        known = _known_keys(sections, location[:-1])
        close = get_close_matches(location[-1], known, n=1)
        known_keys = f"known keys are {', '.join(known)}." if known else "remove it."
        hint = f"did you mean {close[0]!r}?" if close else known_keys
        return f"{key} is not a known key; {hint}"
    if problem["type"] == "missing":
        return f"{key} is missing; add it."
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if problem["type"] == "value_error":
        return f"{key}: {message}."
    # Where several types are allowed, there is one message for each.
    messages = [each["msg"] for each in problems if _location(each) == location]
    message = "; or ".join(each[0].lower() + each[1:] for each in messages)
    value = repr(problem["input"])
    return f"{key} is {value if len(value) <= _LONGEST else f'{value[:_LONGEST]}…'}: {message}."


def _known_keys(sections: type[BaseModel], location: Sequence[str]) -> list[str]:
    """Keys of the section at a location below the profile; empty if its keys are free."""
    section: Any = sections
    for part in location:
        field = getattr(section, "model_fields", {}).get(part)
        section = field.annotation if field else None
    return list(getattr(section, "model_fields", ()))


def _location(problem: Any) -> list[str]:
    """Keys that lead to a value, without the type names that pydantic adds for unions."""
    parts = [str(part) for part in problem["loc"]]
    return [part[:_LONGEST] for part in parts if not part.startswith(("constrained-", "literal["))]
