"""The cached features of a profile, as training reads them.

Shapes: T frames, H x W pixels, L MFCC frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cfnsr.config.layout import Layout
from cfnsr.config.load import Settings
from cfnsr.config.sections import MfccSettings, Modality
from cfnsr.corpus.manifest import faults, read_manifest
from cfnsr.errors import InputError
from cfnsr.features.faces.store import read_faces
from cfnsr.features.mfcc import read_mfcc, read_views
from cfnsr.features.packed import excluded


@dataclass(frozen=True)
class Features:
    """All cached features of a profile."""

    clips: pd.DataFrame
    """The manifest, one row per usable clip; where a feature stage excluded the clip,
    `has_video` or `has_audio` is false."""
    excluded: dict[str, str]
    """Reason by `cfnsr.corpus.manifest.row_name`, and by clip where a face or a voice is missing."""
    mfcc: dict[str, NDArray[np.float32]]
    """(coefficients, L) by clip id."""
    labels: tuple[str, ...]
    """In the order of the network's outputs."""
    layout: Layout

    @classmethod
    def load(cls, settings: Settings) -> Features:
        """Read the manifest, the MFCC, and which clips have faces.

        Raises:
            InputError: a stage has not run, or the clips have fewer than two labels.
        """
        layout = settings.layout
        for path in (layout.manifest, layout.faces, layout.mfcc):
            if not path.exists():
                raise InputError(f"{path} is missing; run `dvc repro` to run the data stages.")
        manifest = read_manifest(layout.manifest)
        no_face = excluded(sorted(layout.faces.glob("*.parquet")))
        no_voice = excluded([layout.mfcc])
        reasons = faults(manifest)
        reasons |= {f"{clip} (face)": reason for clip, reason in no_face.items()}
        reasons |= {f"{clip} (voice)": reason for clip, reason in no_voice.items()}
        # Sorted, so that training does not depend on the order of files on disk.
        usable = manifest[manifest["reason"] == ""].sort_values("clip_id", ignore_index=True)
        usable["has_video"] &= ~usable["clip_id"].isin(list(no_face))
        usable["has_audio"] &= ~usable["clip_id"].isin(list(no_voice))
        labels = settings.params.dataset.classes(usable["label"])
        return cls(usable, reasons, read_mfcc(layout.mfcc), labels, layout)

    def having(self, modality: Modality) -> pd.DataFrame:
        """The clips with the tracks that a network of this modality needs."""
        wanted = pd.Series(True, index=self.clips.index)
        if modality != "audio":
            wanted &= self.clips["has_video"]
        if modality != "video":
            wanted &= self.clips["has_audio"]
        return self.clips[wanted]

    @property
    def landmark_share(self) -> float:
        """Share of the clips with a face whose boxes come from OpenFace landmarks, not from the detector."""
        faces = self.clips[self.clips["has_video"]]
        return float((faces["landmarks_path"] != "").mean()) if len(faces) else 0.0

    def views(self, clips: Sequence[str], settings: MfccSettings) -> NDArray[np.float16]:
        """The `cfnsr.features.mfcc.views` of clips, (clips, V, C, F + 2 J), in the order of `clips`."""
        return read_views(self.layout.mfcc, clips, settings)

    def frames(self, clip_id: str) -> NDArray[np.uint8]:
        """Face crops of a clip, `(T, H, W, 3)` RGB."""
        return read_faces(self.layout.faces, self._speakers[clip_id], clip_id).frames

    def classes(self, clips: pd.DataFrame) -> NDArray[np.int64]:
        """The class index of each clip, (N,)."""
        return np.array([self.labels.index(label) for label in clips["label"]], np.int64)

    @cached_property
    def _speakers(self) -> dict[str, str]:
        return dict(zip(self.clips["clip_id"], self.clips["speaker"], strict=True))
