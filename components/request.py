"""Settings that are requested for a single run, checked before anything starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cfnsr.config.load import Settings, load_settings
from cfnsr.config.sections import Modality, is_unused
from cfnsr.corpus.folds import Fold
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
    search = {"tune.trials": trials} if trials is not None else {}
    plain = load_settings(params_file, profile, search)
    changed = load_settings(params_file, profile, wanted | search)
    check_keys(wanted, {changed.params.model.modality}, "overrides")
    wanted |= search
    if changed.params == plain.params:
        return plain
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    return load_settings(params_file, profile, wanted, digest[:8])


def check_keys(keys: Iterable[str], modalities: Collection[Modality], where: str) -> None:
    """Check that runs of one profile may differ in these keys.

    Args:
        keys: below the profile, such as `train.fusion.lr`.
        modalities: of the runs' networks.
        where: the keys were found, for the message.

    Raises:
        InputError: a key of the data sections, or one without effect on these networks.
    """
    for key in keys:
        if key.split(".")[0] not in SECTIONS:
            raise InputError(
                f"{where}: {key} can't differ between runs; only keys below model and train can. All runs of a profile "
                "share its data, so change the data sections in params.yaml."
            )
        if all(is_unused(key, modality) for modality in modalities):
            raise InputError(
                f"{where}: {key} has no effect on a network of model.modality {' or '.join(sorted(modalities))}; omit "
                "it."
            )


def requested_folds(folds: Sequence[Fold], wanted: Sequence[int] | None) -> set[int]:
    """The numbers of the folds to train, all of them for None.

    Raises:
        InputError: a number that is not a fold's, or no number at all.
    """
    known = [fold.index for fold in folds]
    if wanted is None:
        return set(known)
    unknown = sorted(set(wanted) - set(known))
    if unknown or not wanted:
        named = f"there is no fold {unknown[0]}" if unknown else "folds is empty"
        raise InputError(f"{named}; this run has the folds {', '.join(map(str, known))}.")
    return set(wanted)
