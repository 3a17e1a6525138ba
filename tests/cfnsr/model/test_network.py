"""The network's size, shapes, ablations and independence of the clips in a batch."""

import pytest
import torch

from cfnsr import CFNSR
from cfnsr.model.cross_modal import CrossModalBlock, sinusoidal_positions

SMALL = {"layers": (1, 1, 1, 1), "width": 16, "cardinality": 8, "audio_width": 16, "transformer_layers": 1}
FUSIONS = ["cfn_sr", "no_attention", "no_residual", "concat", "average"]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def clips(n: int, frames: int = 8, size: int = 32, length: int = 212) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(n, 3, frames, size, size), torch.randn(n, 13, length)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [({}, 26_301_417), ({"modality": "video"}, 25_882_056), ({"modality": "audio"}, 34_024)],
)
def test_parameter_count_is_the_papers(arguments, expected):
    assert CFNSR(**arguments).parameter_count == expected


def test_cross_modal_block_has_the_papers_parameters():
    assert sum(parameter.numel() for parameter in CrossModalBlock().parameters()) == 385_345


@pytest.mark.parametrize("pooling", ["flatten", "attention"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_logits_do_not_depend_on_the_other_clips(fusion, pooling):
    """The published code sums its attention over the batch and fails this."""
    model = CFNSR(**SMALL, fusion=fusion, audio_pooling=pooling).eval()
    frames, mfcc = clips(4)
    with torch.no_grad():
        together = model(frames, mfcc)
        alone = torch.cat([model(frames[i : i + 1], mfcc[i : i + 1]) for i in range(4)])
        reversed_order = model(frames.flip(0), mfcc.flip(0)).flip(0)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together, reversed_order, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["flatten", "attention"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_parameter_of_an_ablation_is_used(fusion, pooling):
    model = CFNSR(**SMALL, fusion=fusion, audio_pooling=pooling)
    model(*clips(2, frames=16, size=64)).sum().backward()
    unused = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert unused == []


@pytest.mark.parametrize("modality", ["audio", "video"])
def test_one_modality_needs_only_its_input(modality):
    model = CFNSR(**SMALL, modality=modality).eval()
    frames, mfcc = clips(2)
    logits = model(frames if modality == "video" else None, mfcc if modality == "audio" else None)
    assert logits.shape == (2, 8)


@pytest.mark.parametrize(("frames", "size", "length"), [(8, 32, 64), (9, 33, 100), (31, 64, 500)])
def test_any_input_size_from_the_minimum(frames, size, length):
    model = CFNSR(**SMALL).eval()
    with torch.no_grad():
        output = model.explain(*clips(2, frames, size, length))
    assert output.logits.shape == (2, 8)
    assert torch.isfinite(output.logits).all()
    torch.testing.assert_close(output.attention.sum(dim=(2, 3)), torch.ones(output.attention.shape[:2]))


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"frames": 7}, "7 frames of 32 x 32; the network needs at least 8"),
        ({"size": 31}, "31 x 31"),
        ({"length": 63}, "63 frames; pad it to at least 64"),
    ],
)
def test_too_small_an_input_is_refused_with_a_sentence(size, message):
    with pytest.raises(ValueError, match=message):
        CFNSR(**SMALL)(*clips(2, **size))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"fusion": "sum"}, "fusion is 'sum'"),
        ({"modality": "text"}, "modality is 'text'"),
        ({"cardinality": 5}, "cardinality"),
        ({"widht": 8}, "did you mean 'width'"),
    ],
)
def test_impossible_arguments_are_refused(argument, message):
    with pytest.raises(ValueError, match=message):
        CFNSR(**{**SMALL, **argument})


def test_arguments_replace_those_of_a_configuration():
    config = CFNSR(**SMALL).config
    assert CFNSR(config, modality="audio").config == config.model_copy(update={"modality": "audio"})


def test_audio_moves_the_attention_over_the_face():
    """The cross-modal block would be idle if another sound left the weights as they are."""
    model = CFNSR(**SMALL).eval()
    frames, mfcc = clips(1, size=64)
    with torch.no_grad():
        one, other = model.explain(frames, mfcc).attention, model.explain(frames, 3 * mfcc.flip(2)).attention
    assert (one - other).abs().max() > 1e-4


def test_without_the_stem_relu_negative_values_pass_the_stem():
    """The published fused network lacks it; behind the max-pool that shows only where all neighbours are negative."""
    model = CFNSR(**SMALL, modality="video").eval()
    torch.nn.init.constant_(model.video.bn1.bias, -10.0)
    frames, _ = clips(1)
    with torch.no_grad():
        with_relu = model(frames, None)
        model.video.stem_relu = False
        assert (model(frames, None) - with_relu).abs().max() > 0.1


def test_positions_count_from_one():
    table = sinusoidal_positions(26, 64)
    assert table.shape == (26, 64)
    assert table[0, 0].item() == pytest.approx(0.841471, abs=1e-6)  # sin(1)
    assert table[0, 32].item() == pytest.approx(0.540302, abs=1e-6)  # cos(1)
