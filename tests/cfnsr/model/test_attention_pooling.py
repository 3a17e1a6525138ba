"""How a clip's features are made of its audio tokens."""

import pytest
import torch

from cfnsr import CFNSR
from cfnsr.model.audio import ATTENTION_HEADS, AttentionPooling


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_weighted_means_and_the_maximum():
    pooling = AttentionPooling(3, 5)
    tokens = torch.randn(2, 3, 7)
    features = pooling(tokens).view(2, ATTENTION_HEADS + 1, 3)
    means, maximum = features[:, :-1], features[:, -1]
    torch.testing.assert_close(maximum, tokens.amax(dim=2))
    assert (means <= tokens.amax(dim=2)[:, None]).all()
    assert (means >= tokens.amin(dim=2)[:, None]).all()
    torch.nn.init.zeros_(pooling.scores.weight)  # all scores alike
    plain = pooling(tokens).view(2, ATTENTION_HEADS + 1, 3)[:, :-1]
    torch.testing.assert_close(plain, tokens.mean(dim=2)[:, None].expand(-1, ATTENTION_HEADS, -1))


def test_the_scores_choose_the_token():
    """With a score far above the others, a head's mean is that token."""
    pooling = AttentionPooling(2, 2)
    with torch.no_grad():
        pooling.hidden.weight.copy_(torch.eye(2)[:, :, None])
        pooling.hidden.bias.zero_()
        pooling.scores.weight.zero_()
        pooling.scores.weight[0, 0] = 100.0  # the first head looks for the first channel
    tokens = torch.tensor([[[0.0, 5.0, 0.0], [1.0, 2.0, 3.0]]])
    torch.testing.assert_close(pooling(tokens)[0, :2], torch.tensor([5.0, 2.0]))


@pytest.mark.parametrize("modality", ["audio", "both"])
def test_parameters_are_counted(modality):
    """Of width 32: hidden layer 64 x 32 + 32, scores 32 x 4 + 4; 5 x 64 audio features instead of 26 x 64."""
    small = {"layers": (1, 1, 1, 1), "width": 16, "cardinality": 8, "transformer_layers": 1, "modality": modality}
    pooled, flat = CFNSR(**small, audio_pooling="attention"), CFNSR(**small)
    added = 64 * 32 + 32 + 32 * 4 + 4
    assert pooled.parameter_count == flat.parameter_count + added - (26 - 5) * 64 * 8
