"""What the data stages and training share: who makes features, and whether they are of the present settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cfnsr.config import Settings
from cfnsr.errors import InputError
from cfnsr.files import locked
from cfnsr.packed import read_key


@contextmanager
def making(settings: Settings, output: Path) -> Iterator[None]:
    """Keep other processes from making the same output of a data stage.

    A `dvc` that is killed leaves its stage running: the next one must not work beside it, perhaps with other settings.

    Raises:
        InputError: one does already.
    """
    busy = (
        f"another process is making {output}, perhaps the stage of a `dvc` that was ended; wait for it, or end it "
        "(`pgrep -af components`)."
    )
    with locked(settings.layout.data / f".{output.name}.lock", busy):
        yield


def check_features(settings: Settings) -> None:
    """Look whether the packed features were made from the present settings, clips and code.

    Raises:
        InputError: a file was not, is missing, or is of an actor that is no longer there.
    """
    from components import faces, mfcc

    wanted = {**faces.keys(settings), **mfcc.keys(settings)}
    present = {*settings.layout.faces.glob("*.parquet"), settings.layout.mfcc}
    stale = [path for path in sorted(present | set(wanted)) if path not in wanted or read_key(path) != wanted[path]]
    if stale:
        raise InputError(
            f"{stale[0]} was not made with the settings, clips and code that there are now; run `dvc repro faces "
            "mfcc`, which makes anew what is out of date, or bring the settings back."
        )
