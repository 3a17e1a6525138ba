"""Where a network looks: the cross-modal attention over clips' faces."""

from __future__ import annotations

from pathlib import Path

import torch

from cfnsr.corpus.ravdess import EMOTIONS
from cfnsr.evaluation.plots import Gaze
from cfnsr.features.cached import Features
from cfnsr.model.checkpoint import load_model
from cfnsr.model.normalize import Normalization
from cfnsr.training.dataset import ClipDataset


@torch.no_grad()
def gazes(weights: Path, features: Features, actor: int) -> list[Gaze]:
    """What a network looked at in one clip of each emotion of an actor, averaged over the clip's time.

    Args:
        weights: `model.safetensors` of a fold.
        features: the cached features.
        actor: whose clips; the first of each emotion is taken.

    Returns:
        One an emotion; none for a network without a cross-modal block, or with a map of a single position.
    """
    network, config = load_model(weights)
    if not hasattr(network, "cross_modal"):
        return []
    dataset = ClipDataset(features, [actor], "both", Normalization.from_dict(config["normalization"]))
    clips = dataset.clips.drop_duplicates("label").sort_values("label")
    batch = dataset.batch(clips.index.tolist())
    output = network.explain(batch["frames"], batch["mfcc"])
    assert output.attention is not None
    weights_over_face = output.attention.mean(dim=1).numpy()  # (N, H', W')
    if weights_over_face[0].size == 1:
        return []
    predicted = output.logits.argmax(dim=1).tolist()
    result = []
    for row, (label, clip) in enumerate(zip(clips["label"], clips["clip_id"], strict=True)):
        frames = features.frames(clip)  # (T, H, W, 3)
        caption = EMOTIONS[label]
        if predicted[row] != label:
            caption += f"\n(taken for {EMOTIONS[predicted[row]]})"
        result.append(Gaze(caption, frames[len(frames) // 2], weights_over_face[row]))
    return result
