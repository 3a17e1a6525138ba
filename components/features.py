"""Whether the packed features are of the present settings, clips and code."""

from __future__ import annotations

from cfnsr.config.load import Settings
from cfnsr.errors import InputError
from cfnsr.features.packed import read_key
from components import faces, mfcc


def check_features(settings: Settings) -> None:
    """Compare the keys of the packed files with those that the stages would give them now.

    Raises:
        InputError: a file was made from other settings, clips or code, is missing, or is of an actor who is no longer
            there.
    """
    wanted = {**faces.keys(settings), **mfcc.keys(settings)}
    present = {*settings.layout.faces.glob("*.parquet"), settings.layout.mfcc}
    stale = [path for path in sorted(present | set(wanted)) if path not in wanted or read_key(path) != wanted[path]]
    if stale:
        raise InputError(
            f"{stale[0]} was not made with the settings, clips and code that there are now; run `dvc repro faces "
            "mfcc`, which makes anew what is out of date, or bring the settings back."
        )
