"""The network answers what the published code answers on the same weights (tests/fixtures/parity.json)."""

import pytest
import torch
from helpers.published_weights import inputs, parity_case, weights

from cfnsr import CFNSR, from_published

CASES = ["small", pytest.param("paper", marks=pytest.mark.slow)]
RELATIVE = 1e-4


def assert_close(logits: torch.Tensor, published: list[float]) -> None:
    expected = torch.tensor(published)
    assert (logits - expected).abs().max() <= RELATIVE * expected.abs().max()


@pytest.mark.parametrize("name", CASES)
def test_fused_network(name):
    case = parity_case(name)
    model = CFNSR(stem_relu=False)
    model.load_state_dict(from_published(weights(case["salt"], case["shapes"])))
    frames, mfcc = inputs(case)
    with torch.no_grad():
        output = model.eval().explain(frames, mfcc)
        tokens, video_map = model.audio(mfcc), model.video(frames)
    assert_close(output.logits[0], case["logits"])
    assert list(output.attention.shape[1:]) == case["attention_map_shape"]
    first = output.attention[0, 0].flatten()[:8]
    torch.testing.assert_close(first, torch.tensor(case["attention_map_first_frame"]), rtol=1e-3, atol=1e-5)
    assert tokens.mean().item() == pytest.approx(case["audio_tokens_mean"], rel=RELATIVE)
    assert video_map.mean().item() == pytest.approx(case["video_map_in_mean"], rel=RELATIVE)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("modality", ["video", "audio"])
def test_encoder_alone(name, modality):
    case = parity_case(name)
    model = CFNSR(modality=modality)
    model.load_state_dict(from_published(weights(case["salt"], case[f"{modality}_shapes"])))
    frames, mfcc = inputs(case)
    with torch.no_grad():
        logits = model.eval()(frames, mfcc)
    assert_close(logits[0], case["unimodal"][f"{modality}_logits"])
