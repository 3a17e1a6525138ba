"""CFN-SR: the fused network, its ablations and the encoders alone, all from one class.

"A cross-modal fusion network based on self-attention and residual structure for multimodal emotion recognition",
arXiv 2111.02172.

Shapes: N clips, T frames, H x W pixels, C video channels, D audio channels, S audio tokens, E audio
features, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, nn

from cfnsr.config.sections import AudioPooling, Fusion, MfccSettings, Modality, ModelSettings
from cfnsr.corpus.ravdess import EMOTIONS
from cfnsr.model.audio import AudioEncoder
from cfnsr.model.cross_modal import CrossModalBlock
from cfnsr.model.video import VideoEncoder


@dataclass(frozen=True)
class Output:
    """What the network says of N clips."""

    logits: Tensor
    """(N, K)"""
    attention: Tensor | None
    """(N, T', H', W') weights of the video map's positions; None where the network has no cross-modal block."""


class CFNSR(nn.Module):
    """The cross-modal fusion network. `CFNSR()` is the paper's, 26,301,417 parameters.

    Works for any frame count from 8, any square size from 32 and any MFCC length from 64; only the number of classifier
    inputs is fixed, and computed from `mfcc_frames`.

    Args:
        classes: K.
        layers, width, cardinality, stem_relu: see `VideoEncoder`.
        coefficients, mfcc_frames, audio_width, audio_pooling: see `AudioEncoder`.
        transformer_layers: of the cross-modal block's audio Transformer.
        fusion: "cfn_sr" (the paper's block), its ablations "no_attention" and "no_residual", "concat" (no block: pooled
            features side by side) or "average" (mean of both encoders' own logits).
        modality: "both", or "audio" / "video" for one encoder alone with its own head.

    Raises:
        ValueError: an unknown fusion, modality or audio_pooling, or a cardinality that does not fit the width.
    """

    def __init__(
        self,
        *,
        classes: int = len(EMOTIONS),
        layers: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
        cardinality: int = 32,
        coefficients: int = 13,
        mfcc_frames: int = 212,
        audio_width: int = 32,
        audio_pooling: AudioPooling = "flatten",
        transformer_layers: int = 5,
        fusion: Fusion = "cfn_sr",
        modality: Modality = "both",
        stem_relu: bool = True,
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("fusion", fusion, get_args(Fusion)),
            ("modality", modality, get_args(Modality)),
            ("audio_pooling", audio_pooling, get_args(AudioPooling)),
        ):
            if value not in known:
                raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(known)}")
        # Kept with the weights, so that a checkpoint can rebuild the network.
        self.arguments: dict[str, Any] = {
            "classes": classes,
            "layers": list(layers),
            "width": width,
            "cardinality": cardinality,
            "coefficients": coefficients,
            "mfcc_frames": mfcc_frames,
            "audio_width": audio_width,
            "audio_pooling": audio_pooling,
            "transformer_layers": transformer_layers,
            "fusion": fusion,
            "modality": modality,
            "stem_relu": stem_relu,
        }
        self.fusion, self.modality = fusion, modality
        video_features = audio_features = 0
        if modality != "audio":
            self.video = VideoEncoder(layers, width, cardinality, stem_relu)
            video_features = self.video.channels
        if modality != "video":
            self.audio = AudioEncoder(coefficients, mfcc_frames, audio_width, audio_pooling)
            self.audio_dropout = nn.Dropout(0.4)
            audio_features = self.audio.features
        if modality == "both" and fusion == "average":
            self.video_classifier = nn.Linear(video_features, classes)
            self.audio_classifier = nn.Linear(audio_features, classes)
        else:
            self.classifier = nn.Linear(video_features + audio_features, classes)
        if modality == "both" and fusion in ("cfn_sr", "no_attention", "no_residual"):
            self.cross_modal = CrossModalBlock(
                self.video.channels,
                self.audio.channels,
                transformer_layers,
                attention=fusion != "no_attention",
                residual=fusion != "no_residual",
            )

    @classmethod
    def from_settings(cls, model: ModelSettings, mfcc: MfccSettings, modality: Modality | None = None) -> CFNSR:
        """The network that a profile describes; `modality` overrides the profile's."""
        arguments = model.model_dump()
        if modality is not None:
            arguments["modality"] = modality
        return cls(**arguments, coefficients=mfcc.channels, mfcc_frames=mfcc.frames)

    @property
    def parameter_count(self) -> int:
        """Number of trainable numbers."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, frames: Tensor | None, mfcc: Tensor | None, present: Tensor | None = None) -> Tensor:
        """Logits `(N, K)` of clips.

        A network of both modalities answers from one alone if it has to: what is missing adds nothing to the features,
        and without a voice the face alone says where to look. Trained with modality dropout, it does so well.

        Args:
            frames: (N, 3, T, H, W), normalised RGB; None without faces.
            mfcc: (N, coefficients, L); None without voices.
            present: (N, 2) bool, which clips have a face and which a voice; None: all have what is given.

        Raises:
            ValueError: neither is given, or not the one that the network needs.
        """
        return self.explain(frames, mfcc, present).logits

    def explain(self, frames: Tensor | None, mfcc: Tensor | None, present: Tensor | None = None) -> Output:
        """Like `forward`, with the cross-modal attention beside the logits."""
        if (frames is None or self.modality == "audio") and (mfcc is None or self.modality == "video"):
            raise ValueError(f"a network of modality {self.modality} was given neither frames nor MFCC that it can use")
        if self.modality == "audio":
            assert mfcc is not None
            return Output(self.classifier(self._audio_features(self.audio(mfcc))), None)
        if self.modality == "video":
            assert frames is not None
            return Output(self.classifier(_pool(self.video(frames))), None)
        seen = heard = None  # (N, 1), 1 where the modality is there
        if present is not None:
            seen, heard = present.float().unbind(dim=1)
            seen, heard = seen[:, None], heard[:, None]
        video_map = None if frames is None else self.video(frames)  # (N, C, T', H', W')
        tokens = None if mfcc is None else self.audio(mfcc)  # (N, D, S)
        audio = None if tokens is None else self._audio_features(tokens)  # (N, E)
        if self.fusion == "average":
            return Output(self._average(video_map, audio, seen, heard), None)
        attention = None
        if video_map is not None and self.fusion != "concat":
            video_map, attention = self.cross_modal(video_map, tokens, heard)
        video = None if video_map is None else _pool(video_map)  # (N, C)
        return Output(self.classifier(self._side_by_side(video, audio, seen, heard)), attention)

    def _side_by_side(
        self, video: Tensor | None, audio: Tensor | None, seen: Tensor | None, heard: Tensor | None
    ) -> Tensor:
        """Features `(N, C + E)`, zeros where a modality is missing."""
        given = video if video is not None else audio
        assert given is not None
        if video is None:
            video = given.new_zeros(len(given), self.video.channels)
        if audio is None:
            audio = given.new_zeros(len(given), self.audio.features)
        if seen is not None and heard is not None:
            video, audio = video * seen, audio * heard
        return torch.cat([video, audio], dim=1)

    def _average(
        self, video_map: Tensor | None, audio: Tensor | None, seen: Tensor | None, heard: Tensor | None
    ) -> Tensor:
        """Mean of the logits `(N, K)` of the modalities that are there."""
        if video_map is None:
            return self.audio_classifier(audio)
        video_logits = self.video_classifier(_pool(video_map))
        if audio is None:
            return video_logits
        audio_logits = self.audio_classifier(audio)
        if seen is None or heard is None:
            return (video_logits + audio_logits) / 2
        return (video_logits * seen + audio_logits * heard) / (seen + heard)

    def _audio_features(self, tokens: Tensor) -> Tensor:
        return self.audio_dropout(self.audio.pooling(tokens))  # (N, E)


def _pool(video_map: Tensor) -> Tensor:
    return video_map.mean(dim=(2, 3, 4))  # (N, C)
