"""Reading `params.yaml`: the name of the default profile, the training presets, and one section per profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from cfnsr.config.base import first_problem
from cfnsr.config.layout import Layout
from cfnsr.config.sections import ProfileSettings
from cfnsr.errors import InputError


@dataclass(frozen=True)
class Settings:
    """A validated profile and the paths of its files."""

    profile: str
    params: ProfileSettings
    layout: Layout
    params_file: Path
    """The file that the settings were read from."""
    content: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Content of that file at the time."""

    def changed(self, overrides: Mapping[str, Any], variant: str = "") -> Settings:
        """Return these settings with some values replaced, see `load_settings`; the file is not read again.

        Raises:
            InputError: a key is misspelt or a value invalid.
        """
        return _settings(self.params_file, self.content, self.profile, overrides, variant)


def load_settings(
    params_file: Path = Path("params.yaml"),
    profile: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    variant: str = "",
) -> Settings:
    """Read and validate one profile of `params.yaml`.

    Args:
        params_file: the file; its folder is the project's root.
        profile: name of the profile; None: the one named by `profile:` in the file.
        overrides: values that replace those of the file, by dotted key below the profile: `{"train.fusion.lr": 3e-4}`.
        variant: name of the overridden profile, see `Layout`.

    Raises:
        InputError: the file is missing or not YAML, the profile does not exist, a key is misspelt or a value invalid.
    """
    try:
        content = yaml.safe_load(params_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{params_file} does not exist: run the command in the project's folder or name the file with --params."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{params_file} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{params_file} must start with `profile: NAME` and have a section of that name.")
    name = str(profile or content.get("profile"))
    sections = sorted(set(content) - {"profile", "presets"})
    if name not in sections:
        raise InputError(
            f"{params_file}: there is no profile {name!r}, only {', '.join(sections)}; set `profile:` to one of them."
        )
    return _settings(params_file, content, name, overrides or {}, variant)


def _settings(
    params_file: Path, content: Mapping[str, Any], name: str, overrides: Mapping[str, Any], variant: str
) -> Settings:
    section = content[name]
    for key, value in overrides.items():
        section = _with_value(section, key.split("."), value)
    try:
        params = ProfileSettings.model_validate(_with_preset(section, content.get("presets") or {}))
    except ValidationError as error:
        raise InputError(f"{params_file}: {first_problem(error, name, ProfileSettings)}") from None
    return Settings(name, params, Layout(params_file.resolve().parent, name, variant), params_file.resolve(), content)


def _with_value(content: Any, path: Sequence[str], value: Any) -> Any:
    """Copy of `content` with one value replaced. Only the path is copied, as YAML aliases share the rest.

    Unknown keys are refused later, by the validation.
    """
    if not path:
        return value
    inner = content if isinstance(content, dict) else {}
    return {**inner, path[0]: _with_value(inner.get(path[0]), path[1:], value)}


def _with_preset(section: Any, presets: Mapping[str, Any]) -> Any:
    """The profile, completed with the values of its training preset."""
    train = section.get("train") if isinstance(section, dict) else None
    preset = train.get("preset") if isinstance(train, dict) else None
    if preset is None:
        return section
    if not isinstance(preset, str) or preset not in presets:
        raise InputError(f"train.preset is {preset!r}; params.yaml has the presets {', '.join(presets) or 'none'}.")
    return {**section, "train": _filled(train, presets[preset])}


def _filled(content: Any, defaults: Any) -> Any:
    if not isinstance(content, dict) or not isinstance(defaults, dict):
        return content
    return {**defaults, **{key: _filled(value, defaults.get(key)) for key, value in content.items()}}
