"""What the bytes of a file say about its length, where FFmpeg does not pass it on."""

from __future__ import annotations

import os
import struct
from pathlib import Path

_OPEN_LENGTH = 2**31 - 2**16  # bytes; sox states 4 KiB less than 2 GiB
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # GUID of the file properties object
_ASF_HEADER = 2**16  # bytes that are searched for it
_OGG_PAGE = 27 + 255 + 255 * 255  # bytes of the largest one
_TS_PACKETS = (188, 192, 204)  # bytes: as broadcast, of AVCHD, with error correction


def has_open_length(path: Path) -> bool:
    """Whether a WAV file leaves its length open: programs that write to a pipe state 0, or 2 GiB and more."""
    with path.open("rb") as file:
        file.seek(12)  # RIFF, its size, WAVE
        while len(header := file.read(8)) == 8:
            kind, size = struct.unpack("<4sI", header)
            if kind == b"data":
                return size == 0 or size >= _OPEN_LENGTH
            file.seek(size + size % 2, os.SEEK_CUR)
    return False


def ends_too_early(path: Path, kind: str) -> bool:
    """Whether a file of ASF, Ogg or MPEG-TS (`kind` is FFmpeg's name) lacks its end.

    Of a file that was cut off, FFmpeg ignores the length that an ASF header states. The other two state none, but their
    last page or packet is incomplete unless the cut is just between two of them.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if kind == "asf":
            head = file.read(_ASF_HEADER)
            begin = head.find(_ASF_PROPERTIES)
            if begin < 0 or begin + 92 > len(head):
                return False
            (stated,), (flags,) = struct.unpack_from("<Q", head, begin + 40), struct.unpack_from("<I", head, begin + 88)
            return not flags & 1 and stated > size  # the flag marks a broadcast, of which no length is known
        if kind == "ogg":
            file.seek(max(size - _OGG_PAGE, 0))
            tail = file.read()
            page = tail[tail.rfind(b"OggS") :]
            return len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])
    return kind == "mpegts" and all(size % packet for packet in _TS_PACKETS)
