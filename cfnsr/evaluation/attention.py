"""The cross-modal attention of a network over the faces of clips."""

from __future__ import annotations

from pathlib import Path

import torch

from cfnsr.evaluation.plots import AttentionMap
from cfnsr.features.cached import Features
from cfnsr.model.checkpoint import load_model
from cfnsr.training.dataset import ClipDataset


@torch.no_grad()
def attention_maps(weights: Path, features: Features, speaker: str) -> list[AttentionMap]:
    """Compute the attention for one clip per label of a speaker, averaged over time.

    Args:
        weights: `model.safetensors` of a fold.
        features: the cached features.
        speaker: whose clips are used: the first of each label.

    Returns:
        One item per label; empty for a network without a cross-modal block, or with a map of a single position.
    """
    network, metadata = load_model(weights)
    if not hasattr(network, "cross_modal"):
        return []
    dataset = ClipDataset(features, [speaker], "both", metadata.normalization)
    clips = dataset.clips.drop_duplicates("label")
    batch = dataset.batch(clips.index.tolist())
    output = network.explain(batch["frames"], batch["mfcc"])
    assert output.attention is not None
    weights_over_face = output.attention.mean(dim=1).numpy()  # (N, H', W')
    if weights_over_face[0].size == 1:
        return []
    predicted = [features.labels[index] for index in output.logits.argmax(dim=1).tolist()]
    result = []
    for row, (label, clip) in enumerate(zip(clips["label"], clips["clip_id"], strict=True)):
        frames = features.frames(clip)  # (T, H, W, 3)
        caption = label if predicted[row] == label else f"{label}\n(predicted {predicted[row]})"
        result.append(AttentionMap(caption, frames[len(frames) // 2], weights_over_face[row]))
    return result
