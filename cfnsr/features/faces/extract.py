"""From a clip to its row in the packed faces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfnsr.config.sections import FacesSettings
from cfnsr.features.faces.crop import crop_face, encode_jpeg
from cfnsr.features.faces.detect import load_detector
from cfnsr.features.faces.landmarks import track_from_landmarks
from cfnsr.features.faces.track import track_one_face
from cfnsr.features.packed import ClipTask
from cfnsr.media.video import sample_pictures


@dataclass(frozen=True)
class FaceTask(ClipTask):
    """A clip to cut faces from."""

    video: Path
    landmarks: Path | None
    """OpenFace CSV of the clip; None: the detector is used."""
    settings: FacesSettings


def extract_faces(task: FaceTask) -> dict[str, Any]:
    """Cut the face out of frames at even times over the clip.

    Returns:
        A row of `cfnsr.features.faces.store.SCHEMA` without `clip_id` and `reason`.

    Raises:
        ClipError: the video or its landmarks can't be read, or there is no face.
        InputError: the detector's file can't be used.
    """
    settings = task.settings
    pictures = sample_pictures(task.video, settings.frames, task.start, task.end)
    times = [picture.time for picture in pictures]
    track = track_from_landmarks(task.landmarks, times) if task.landmarks else None
    if track is None:
        track = track_one_face(pictures, load_detector(settings.yunet), settings.detections)
    crops = (
        crop_face(picture.bgr(), box, size=settings.size, margin=settings.margin, square=settings.square)
        for picture, box in zip(pictures, track.boxes, strict=True)
    )
    return {
        "frames": [encode_jpeg(crop, settings.jpeg_quality) for crop in crops],
        "boxes": track.boxes.tolist(),
        "flags": list(track.flags),
        "times": times,
        "width": pictures[0].width,
        "height": pictures[0].height,
    }
