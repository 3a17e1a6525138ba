"""CFN-SR: the fused network, its ablations and the single encoders, all in one class.

"A cross-modal fusion network based on self-attention and residual structure for multimodal emotion recognition",
arXiv 2111.02172.

Shapes: N clips, T frames, H x W pixels, C video channels, D audio channels, S audio tokens, E audio
features, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from cfnsr.config.base import first_problem
from cfnsr.config.sections import MfccSettings, Modality, ModelSettings
from cfnsr.model.audio import AudioEncoder
from cfnsr.model.cross_modal import CrossModalBlock
from cfnsr.model.metadata import NetworkConfig
from cfnsr.model.video import VideoEncoder


@dataclass(frozen=True)
class Output:
    """The network's output for N clips."""

    logits: Tensor
    """(N, K)"""
    attention: Tensor | None
    """(N, T', H', W') weights of the video map's positions; None if the network has no cross-modal block."""


class CFNSR(nn.Module):
    """The cross-modal fusion network. `CFNSR()` is the paper's, with 26,301,417 parameters.

    Accepts any number of frames from 8, any square size from 32 and any MFCC length from 64. Only the number of
    classifier inputs is fixed; it follows from `mfcc_frames`.

    Args:
        config: all arguments of the network.
        arguments: fields of `NetworkConfig`, which replace those of `config`. The fields:

            - `classes`: K.
            - `layers`, `width`, `cardinality`, `stem_relu`: see `VideoEncoder`.
            - `coefficients`, `mfcc_frames`, `audio_width`, `audio_pooling`: see `AudioEncoder`.
            - `transformer_layers`: of the cross-modal block's audio Transformer.
            - `fusion`: "cfn_sr" (the paper's block), its ablations "no_attention" and "no_residual", "concat" (no
              block: pooled features side by side) or "average" (mean of both encoders' own logits).
            - `modality`: "both", or "audio" / "video" for a single encoder with its own head.

    Raises:
        ValueError: an argument is unknown or has an impossible value.
    """

    def __init__(self, config: NetworkConfig | None = None, **arguments: Any) -> None:
        super().__init__()
        try:
            config = NetworkConfig(**{**(config.model_dump() if config else {}), **arguments})
        except ValidationError as error:
            raise ValueError(first_problem(error, "CFNSR", NetworkConfig)) from None
        self.config = config
        fusion, modality, classes = config.fusion, config.modality, config.classes
        self.fusion, self.modality = fusion, modality
        video_features = audio_features = 0
        if modality != "audio":
            self.video = VideoEncoder(config.layers, config.width, config.cardinality, config.stem_relu)
            video_features = self.video.channels
        if modality != "video":
            self.audio = AudioEncoder(config.coefficients, config.mfcc_frames, config.audio_width, config.audio_pooling)
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
                config.transformer_layers,
                attention=fusion != "no_attention",
                residual=fusion != "no_residual",
            )

    @classmethod
    def from_settings(
        cls, model: ModelSettings, mfcc: MfccSettings, classes: int, modality: Modality | None = None
    ) -> CFNSR:
        """Build the network that a profile describes, for K `classes`; `modality` overrides the profile's."""
        sizes = {"classes": classes, "coefficients": mfcc.channels, "mfcc_frames": mfcc.frames}
        return cls(**{**model.model_dump(), **sizes, "modality": modality or model.modality})

    @property
    def parameter_count(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, frames: Tensor | None, mfcc: Tensor | None, present: Tensor | None = None) -> Tensor:
        """Compute the logits `(N, K)` of clips.

        A network of both modalities also works with one of them: the features of the missing one are zeros, and
        without a voice the attention depends on the face alone. For good results, train it with modality dropout.

        Args:
            frames: (N, 3, T, H, W), normalised RGB; None if there are no faces.
            mfcc: (N, coefficients, L); None if there are no voices.
            present: (N, 2) bool, whether each clip has a face and a voice; None: every clip has all given inputs.

        Raises:
            ValueError: the inputs that the network needs are missing.
        """
        return self.explain(frames, mfcc, present).logits

    def explain(self, frames: Tensor | None, mfcc: Tensor | None, present: Tensor | None = None) -> Output:
        """Like `forward`, but also return the cross-modal attention."""
        if (frames is None or self.modality == "audio") and (mfcc is None or self.modality == "video"):
            raise ValueError(f"a network of modality {self.modality} needs frames or an MFCC that it can use")
        if self.modality == "audio":
            assert mfcc is not None
            return Output(self.classifier(self._audio_features(self.audio(mfcc))), None)
        if self.modality == "video":
            assert frames is not None
            return Output(self.classifier(_pool(self.video(frames))), None)
        seen = heard = None  # (N, 1), 1 where the modality is present
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
        return Output(self.classifier(self._concatenated(video, audio, seen, heard)), attention)

    def _concatenated(
        self, video: Tensor | None, audio: Tensor | None, seen: Tensor | None, heard: Tensor | None
    ) -> Tensor:
        """Concatenate the features to `(N, C + E)`, with zeros for a missing modality."""
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
        """Average the logits `(N, K)` of the modalities that are present."""
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
