"""From a clip to its emotion: the same decoding, faces, MFCC and scaling as in training, read from the model's file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cfnsr.checkpoint import load_model
from cfnsr.config import FacesSettings, MfccSettings
from cfnsr.errors import InputError
from cfnsr.faces.crop import decode_jpeg
from cfnsr.faces.extract import FaceTask, extract_faces
from cfnsr.mfcc import mfcc_of_file
from cfnsr.model import CFNSR
from cfnsr.normalize import Normalization
from cfnsr.outcome import WEIGHTS, FoldResult
from cfnsr.registry import SCHEME, fetch_model


@dataclass(frozen=True)
class Prediction:
    """What the network says of one clip."""

    emotion: str
    """The most probable one."""
    confidence: float
    """Its probability."""
    probabilities: dict[str, float]
    """Of all emotions; they sum to 1."""


class Predictor:
    """Predicts the emotion of clips with one network.

    Args:
        network: in eval mode.
        config: what `cfnsr.checkpoint.save_model` kept with it.
        yunet: the detector's file, for a network that was trained on faces that YuNet had found.

    Raises:
        InputError: the file of the network lacks what prediction needs, or it needs `yunet`.
    """

    def __init__(self, network: CFNSR, config: dict[str, Any], yunet: Path | None = None) -> None:
        missing = {"labels", "faces", "detector", "mfcc", "normalization"} - set(config)
        if missing:
            raise InputError(f"the model's file lacks {', '.join(sorted(missing))}; use the one a finished fold wrote.")
        self._network = network
        if config["detector"] == "yunet" and yunet is None and network.modality != "audio":
            raise InputError("this network was trained on faces that YuNet had found; name the same file with `yunet`.")
        self._labels: list[str] = config["labels"]
        self._faces = FacesSettings.model_validate({**config["faces"], "yunet": yunet})
        self._mfcc = MfccSettings.model_validate(config["mfcc"])
        self._normalization = Normalization.from_dict(config["normalization"])

    @classmethod
    def from_pretrained(cls, source: str | Path, yunet: Path | None = None) -> Predictor:
        """Load a model.

        Args:
            source: a registry URI (`models:/cfn-sr@champion`), a safetensors file, a folder that has one in it, or the
                folder of a training run, of which the fold with the best selection score is taken.
            yunet: see class.

        Raises:
            InputError: there is no such model, or it was not written by this project.
        """
        path = fetch_model(source) if isinstance(source, str) and source.startswith(SCHEME) else Path(source)
        return cls(*load_model(_weights_in(path) if path.is_dir() else path), yunet)

    @torch.no_grad()
    def __call__(self, clip: str | Path) -> Prediction:
        """Predict one clip's emotion.

        Raises:
            ClipError: the file can't be read, or has no face or no voice where the network needs one.
        """
        path, modality = Path(clip), self._network.modality
        frames = self._read_frames(path).unsqueeze(0) if modality != "audio" else None  # (1, 3, T, H, W)
        mfcc = self._read_mfcc(path).unsqueeze(0) if modality != "video" else None  # (1, C, L)
        shares = self._network(frames, mfcc).softmax(dim=1)[0].tolist()
        probabilities = dict(zip(self._labels, shares, strict=True))
        emotion = max(probabilities, key=probabilities.__getitem__)
        return Prediction(emotion, probabilities[emotion], probabilities)

    def _read_frames(self, path: Path) -> torch.Tensor:
        task = FaceTask(path.name, actor=0, digest="", video=path, landmarks=None, settings=self._faces)
        crops = [torch.from_numpy(decode_jpeg(content)) for content in extract_faces(task)["frames"]]
        return self._normalization.frames(torch.stack(crops).permute(0, 3, 1, 2))

    def _read_mfcc(self, path: Path) -> torch.Tensor:
        return self._normalization.mfcc(torch.from_numpy(mfcc_of_file(path, self._mfcc)))


def _weights_in(folder: Path) -> Path:
    folds = [(result, path.parent) for path in folder.glob("*/fold.json") if (result := FoldResult.load(path.parent))]
    if folds:
        _, home = max(folds, key=lambda fold: fold[0].selection_accuracy)
        return home / WEIGHTS
    found = sorted(folder.rglob(WEIGHTS))
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{folder} has {len(found)} networks in it ({found[0]}, …); name one of them.")
    raise InputError(f"{folder} has no {WEIGHTS} in it; name a folder that training or the registry wrote.")
