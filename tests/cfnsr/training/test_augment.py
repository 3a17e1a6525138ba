"""Scaling and augmentation: what they keep and what they change."""

import numpy as np
import pytest
import torch

from cfnsr.model.normalize import RGB_MEAN, Normalization
from cfnsr.training.augment import AudioAugment, VideoAugment


def test_standardised_mfcc_has_zero_mean_and_unit_deviation():
    mfccs = [np.random.default_rng(k).normal(-300, 40, (13, 90)).astype(np.float32) for k in range(5)]
    normalization = Normalization.fit(mfccs, 13, standardize=True)
    scaled = torch.cat([normalization.mfcc(torch.from_numpy(mfcc)) for mfcc in mfccs], dim=1)
    torch.testing.assert_close(scaled.mean(dim=1), torch.zeros(13), atol=1e-3, rtol=0)
    torch.testing.assert_close(scaled.std(dim=1), torch.ones(13), atol=1e-2, rtol=0)


def test_the_published_recipe_leaves_the_mfcc_alone():
    mfcc = np.full((13, 90), -321.0, np.float32)
    assert torch.equal(
        Normalization.fit([mfcc], 13, standardize=False).mfcc(torch.from_numpy(mfcc)), torch.tensor(mfcc)
    )


def test_frames_are_scaled_by_channel_and_time_comes_second():
    frames = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    frames[:, 0] = round(255 * RGB_MEAN[0])
    scaled = Normalization((), ()).frames(frames)
    assert scaled.shape == (3, 4, 32, 32)
    assert scaled[0].abs().max() < 0.01
    assert scaled[2].max() < -1


def test_a_clip_is_augmented_with_one_draw_for_all_frames():
    """The published code draws for each frame, so that a still face jumps about."""
    torch.manual_seed(0)
    still = torch.randint(0, 255, (1, 3, 48, 48), dtype=torch.uint8).expand(6, 3, 48, 48)
    augmented = [VideoAugment(48)(still) for _ in range(5)]
    for clip in augmented:
        assert all(torch.equal(clip[0], frame) for frame in clip[1:])
    assert any(not torch.equal(augmented[0], clip) for clip in augmented[1:])


def test_masks_are_as_wide_as_documented():
    torch.manual_seed(0)
    masked = AudioAugment(212).masked(torch.ones(2000, 13, 212))
    coefficients = (masked == 0).all(dim=2).sum(dim=1)  # (N,): masked ones
    assert sorted(set(coefficients.tolist())) == [0, 1]
    assert (coefficients == 1).float().mean().item() == pytest.approx(0.5, abs=0.05)
    frames = (masked == 0).all(dim=1).sum(dim=1)
    assert (frames.min().item(), frames.max().item()) == (0, int(0.15 * 212) - 1)


def test_each_clip_and_coefficient_has_a_colour_of_its_own_throughout():
    torch.manual_seed(0)
    mfcc = torch.randn(2000, 3, 1).sign() * torch.tensor([-1.0, 0.0, 1.0])  # (N, C, L), each -1, 0, 1 or 1, 0, -1
    coloured = AudioAugment(3, gain=0.3, offset=0.1).coloured(mfcc)
    offset = coloured[..., 1]
    gain = (coloured[..., 2] - coloured[..., 0]) / (mfcc[..., 2] - mfcc[..., 0])
    torch.testing.assert_close(coloured, mfcc * gain[..., None] + offset[..., None])
    assert (gain.mean().item(), gain.std().item()) == (pytest.approx(1, abs=0.02), pytest.approx(0.3, abs=0.02))
    assert (offset.mean().item(), offset.std().item()) == (pytest.approx(0, abs=0.01), pytest.approx(0.1, abs=0.01))
    together = torch.corrcoef(torch.cat([gain, offset], dim=1).T) - torch.eye(6)
    assert together.abs().max() < 0.1


def test_training_clips_are_cut_at_every_shift_and_half_of_them_at_another_speed():
    torch.manual_seed(0)
    clips, speeds, frames, shift = 4000, 3, 50, 5
    place = torch.arange(frames + 2 * shift).float()
    views = (1000 * torch.arange(speeds)[:, None, None] + place).expand(clips, speeds, 13, -1)
    cut = AudioAugment(frames).cut(views)
    assert cut.shape == (clips, 13, frames)
    assert (cut[:, 0].diff(dim=1) == 1).all()  # a whole piece, in order
    speed, begin = cut[:, 0, 0].long() // 1000, cut[:, 0, 0].long() % 1000
    assert torch.bincount(speed).div(clips).tolist() == pytest.approx([0.5, 0.25, 0.25], abs=0.03)
    assert torch.bincount(begin).div(clips).tolist() == pytest.approx([1 / 11] * 11, abs=0.02)
