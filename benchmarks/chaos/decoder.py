"""An independent decoder, which answers for damaged files are compared with. It shares no code with the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av

LONG = 0.25  # s, by which tracks must end before the header says to count as cut off


def decode(path: Path) -> dict[str, Any]:
    """Decode the first video track and the first audio track of a file, as far as FFmpeg goes.

    Returns:
        `problem`: the first damage that FFmpeg reported, empty for none; `seconds`: what was decoded, by `video` and
        `audio`.
    """
    problem, seconds = "", {}
    try:
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            tracks = {kind: getattr(container.streams, kind)[:1] for kind in ("video", "audio")}
            seconds = {kind: 0.0 for kind, found in tracks.items() if found}
            for packet in container.demux([track for found in tracks.values() for track in found]):
                if packet.is_corrupt:
                    problem = problem or f"FFmpeg marks a packet of its {packet.stream.type} as corrupt"
                try:
                    frames = packet.decode()
                except av.FFmpegError as error:
                    problem = problem or f"its {packet.stream.type} can't be decoded ({error.strerror})"
                    continue
                for frame in frames:
                    if frame.is_corrupt:
                        problem = problem or f"FFmpeg marks a frame of its {packet.stream.type} as corrupt"
                    seconds[packet.stream.type] += _length(frame, packet.stream)
            promised, length = (container.duration or 0) / av.time_base, max(seconds.values(), default=0.0)
            if length < promised - LONG:
                problem = problem or f"it has {length:.2f} of the {promised:.2f} s in its header"
    except (av.FFmpegError, IndexError, ValueError) as error:
        problem = problem or f"it can't be read ({error})"
    return {"problem": problem, "seconds": seconds}


def _length(frame: Any, track: Any) -> float:
    """Seconds of a block of sound, or of a picture at the track's usual rate."""
    if isinstance(frame, av.AudioFrame):
        return float(frame.samples / frame.sample_rate)
    return float(1 / track.average_rate) if track.average_rate else 0.0
