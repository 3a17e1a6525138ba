"""Pitch and harmonicity of a voice: the melody of speech, which MFCC do not capture.

Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a sampled
sound", IFA Proceedings 17, 1993: the autocorrelation of a windowed frame over that of the window. Libraries
compute either the frequency or the voicing fast, but not both.

Shapes: n samples, F frames, w samples of a frame, K lags.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cfnsr.config.sections import LOWEST_PITCH

HIGHEST_PITCH = 600.0
"""Hz; the voices of adults, even excited ones, lie below."""
OCTAVE_COST = 0.01
"""How much more periodic a lag twice as long must be to win (Boersma's value)."""
FINE = 44_100
"""Minimum of lags per second; coarser steps can miss the peak of a high voice, so that the octave below wins."""
MIDDLE = 7.6
"""log2 of 194 Hz, between male and female voices."""


def pitch(
    sound: NDArray[np.float32], sample_rate: int, n_fft: int, hop: int, speed: float = 1.0
) -> NDArray[np.float32]:
    """Pitch, pitch relative to the clip's own, and harmonicity, one value per frame; 0 where there is no voice.

    Args:
        sound: (n,) of a whole clip, because the result depends on its mean pitch and its loudest frame.
        sample_rate: Hz
        n_fft: w, at least two periods of the lowest voice.
        hop: samples between frames.
        speed: at which the sound is played; it scales the pitch of voices.

    Returns:
        (3, F), with the F of an STFT with centred frames, each row scaled to about unit standard deviation.
    """
    window = np.hanning(n_fft + 1)[:-1]
    padded = np.pad(sound.astype(np.float64), n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]  # (F, w)
    finer = math.ceil(FINE / sample_rate)
    own = _autocorrelation(window, finer)
    correlation = _autocorrelation((frames - frames.mean(axis=1, keepdims=True)) * window, finer)  # (F, finer w/2)
    energy, rate = correlation[:, 0], finer * sample_rate  # lags a second
    shortest = int(rate / (speed * HIGHEST_PITCH))
    longest = min(int(rate / (speed * LOWEST_PITCH)), len(own))
    lags = np.arange(shortest, longest)
    periodicity = (correlation / (energy[:, None] + 1e-7) * own[0] / own)[:, shortest:longest]  # (F, K), 1: a pure tone
    best = (periodicity - OCTAVE_COST * np.log2(lags * LOWEST_PITCH / rate)).argmax(axis=1)
    best = best.clip(1, len(lags) - 2)
    before, peak, after = (np.take_along_axis(periodicity, (best + step)[:, None], 1)[:, 0] for step in (-1, 0, 1))
    bend = before - 2 * peak + after
    shift = np.divide(0.5 * (before - after), bend, out=np.zeros_like(bend), where=np.abs(bend) > 1e-6).clip(-0.5, 0.5)
    height = np.log2(rate / (lags[best] + shift))  # at the vertex of the parabola through the three values
    peak, level = peak.clip(0, 1), np.log10(energy + 1e-7)
    # Voiced: periodic and within about 40 dB of the loudest; soft, so that frames at the border don't flicker.
    voiced = _sigmoid(12 * (peak - 0.5)) * _sigmoid(4 * (level - level.max() + 4))
    mean = (voiced * height).sum() / max(voiced.sum(), 1)
    tracks = [voiced * (height - MIDDLE) * 2, voiced * (height - mean) * 4, (peak * voiced - 0.3) * 2.5]
    return np.stack(tracks).astype(np.float32)


def _autocorrelation(frames: NDArray[np.float64], finer: int) -> NDArray[np.float64]:
    """`(…, w)` to the lags below w/2, in steps of 1/finer samples, computed from the spectrum.

    Zero-padded twice: in time, so that nothing wraps around, and in frequency, for the finer steps.
    """
    length = frames.shape[-1]
    power = np.abs(np.fft.rfft(frames, 2 * length)) ** 2
    return np.fft.irfft(power, 2 * length * finer)[..., : length * finer // 2] * finer


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-values))
