"""The working folder beside `raw`: archives in transfer, and receipts of those that are unpacked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tqdm import tqdm

from cfnsr.corpus.ravdess import actor_folder
from cfnsr.errors import InputError
from cfnsr.files import PARTIAL, locked, write_text

GIB = 1 << 30
ARCHIVE_SUFFIXES = (".zip", f".zip{PARTIAL}")


@dataclass(frozen=True)
class Receipt:
    """Records that an archive was unpacked, and into which files."""

    md5: str
    actors: list[int]
    files: dict[str, int]  # path below the raw folder -> bytes


class Workspace:
    """Working folder of stage `download`, `data/<profile>/.download`.

    Args:
        data: the profile's data folder.
        raw: the stage's output.
    """

    def __init__(self, data: Path, raw: Path) -> None:
        self.folder = data / ".download"
        self.raw = raw

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the folders and keep other processes out of them while the block runs.

        Raises:
            InputError: another process holds the lock.
        """
        busy = f"Another download is running in {self.folder}: wait for it, or stop it."
        with locked(self.folder / "lock", busy):
            self.raw.mkdir(exist_ok=True)
            yield

    def receipt(self, archive: str, actors: Collection[int]) -> Receipt | None:
        """Receipt of an archive, reduced to the files of these actors.

        Returns:
            The receipt; None if not all of these actors' files were unpacked, or if one is missing from `raw` or has
            another size there.
        """
        try:
            receipt = Receipt(**json.loads(self._receipt_path(archive).read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        folders = {actor_folder(actor) for actor in actors}
        files = {path: size for path, size in receipt.files.items() if path.split("/")[0] in folders}
        complete = all(_size(self.raw / path) == size for path, size in files.items())
        return replace(receipt, files=files) if complete and set(actors) <= set(receipt.actors) else None

    def write_receipt(self, archive: str, receipt: Receipt) -> None:
        """Record that an archive is unpacked."""
        write_text(self._receipt_path(archive), json.dumps(asdict(receipt), indent=1))

    def keep_only(self, paths: Collection[str]) -> None:
        """Remove every file of `raw` that is not among `paths` (relative to it), and empty folders.

        DVC keeps the output between runs (`persist: true` in dvc.yaml), so files of earlier settings may be there.
        """
        kept = {self.raw / path for path in paths}
        others = [path for path in self.raw.rglob("*") if not path.is_dir() and path not in kept]
        for path in others:
            path.unlink()
        for folder in sorted((path for path in self.raw.rglob("*") if path.is_dir()), reverse=True):
            if not any(folder.iterdir()):
                folder.rmdir()
        if others:
            tqdm.write(f"download: removed {len(others)} files of earlier settings from {self.raw}")

    def clear(self) -> None:
        """Remove all archives, also partial ones of earlier settings. Receipts stay."""
        for path in self.folder.iterdir():
            if path.name.endswith(ARCHIVE_SUFFIXES):
                path.unlink()

    def require_space(self, needed: float) -> None:
        """Check the free disk space.

        Args:
            needed: bytes.

        Raises:
            InputError: there is less than needed.
        """
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise InputError(
                f"{self.raw.parent} needs {needed / GIB:.1f} GiB more but only {free / GIB:.1f} GiB are free: "
                "free some space, move the project to a larger disk, or configure fewer actors."
            )

    def _receipt_path(self, archive: str) -> Path:
        return self.folder / f"{archive}.done.json"


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
