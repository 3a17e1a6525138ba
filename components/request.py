"""Settings that are requested for a single run, checked before anything starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cfnsr.config.load import Settings, load_settings
from cfnsr.config.sections import is_idle
from cfnsr.errors import InputError

SECTIONS = ("model", "train")  # of a profile; the others define the data, which all runs of the profile share


def requested_settings(
    params_file: Path,
    profile: str | None,
    overrides: Mapping[str, Any] | None = None,
    protocol: str | None = None,
    seed: int | None = None,
    trials: int | None = None,
) -> Settings:
    """The settings of a requested run.

    A run whose settings differ from params.yaml has a folder of its own, `runs/<profile>-<digest of the overrides>`,
    where the same request finds it again.

    Args:
        params_file: the project's params.yaml.
        profile: None for the one that the file names.
        overrides: by dotted key below the profile, such as `{"train.fusion.lr": 3e-4}`.
        protocol: short for the override `train.protocol`.
        seed: short for the override `train.seed`.
        trials: in place of `tune.trials`; the length of a search does not change its runs.

    Raises:
        InputError: an unknown profile or key, an impossible value, a key of the data sections, one without effect, or
            one that is given twice.
    """
    wanted = dict(overrides or {})
    for key, value in (("train.protocol", protocol), ("train.seed", seed)):
        if value is not None:
            if wanted.get(key, value) != value:
                raise InputError(f"{key} is given twice, as {wanted[key]!r} and as {value!r}; give it once.")
            wanted[key] = value
    for key in wanted:
        if key.split(".")[0] not in SECTIONS:
            raise InputError(
                f"overrides: {key} can't be changed for one run; only keys below model and train can. All runs of a "
                "profile share its data, so change the data sections in params.yaml."
            )
    search = {"tune.trials": trials} if trials is not None else {}
    plain = load_settings(params_file, profile, search)
    wanted |= search
    changed = load_settings(params_file, profile, wanted)
    modality = changed.params.model.modality
    for key in wanted:
        if is_idle(key, modality):
            raise InputError(f"overrides: {key} has no effect on a network of model.modality {modality}; omit it.")
    if changed.params == plain.params:
        return plain
    return load_settings(params_file, profile, wanted, variant(wanted))


def variant(overrides: Mapping[str, Any]) -> str:
    """Short name of a set of overrides, whatever their order."""
    return hashlib.sha256(json.dumps(overrides, sort_keys=True).encode()).hexdigest()[:8]


def requested_folds(settings: Settings, wanted: Sequence[int] | None) -> set[int]:
    """The numbers of the folds to train, all of them for None.

    Raises:
        InputError: a number that is not a fold's, or no number at all.
    """
    known = range(settings.params.train.folds)
    if wanted is None:
        return set(known)
    unknown = sorted(set(wanted) - set(known))
    if unknown or not wanted:
        named = f"there is no fold {unknown[0]}" if unknown else "folds is empty"
        raise InputError(f"{named}; this run has the folds {', '.join(map(str, known))}.")
    return set(wanted)
