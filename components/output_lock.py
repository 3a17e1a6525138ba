"""One process at a time makes an output of a data stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cfnsr.config.load import Settings
from cfnsr.files import locked


@contextmanager
def making(settings: Settings, output: Path) -> Iterator[None]:
    """Keep other processes from making the same output.

    A `dvc` that is killed leaves its stage running: the next one must not work beside it, perhaps with other settings.

    Raises:
        InputError: one does already.
    """
    busy = (
        f"another process is making {output}, perhaps the stage of a `dvc` that was ended; wait for it, or end it "
        "(`pgrep -af components`)."
    )
    data = settings.layout.data
    with locked(data.with_name(f".{data.name}-{output.name}.lock"), busy):
        yield
