"""A source-filter voice: glottal pulses and breath noise, filtered by the formants of the vocal tract.

The filter is applied to short overlapping frames in the frequency domain, to all frames of a clip at once.

Shapes: S samples, N frames, K frequencies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cfnsr.corpus.ravdess import Take
from cfnsr.corpus.sample.plan import Manner, random_for, voice_half
from cfnsr.corpus.sample.speech import Speech, articulate

SAMPLE_RATE = 48_000
"""Hz, as in RAVDESS."""

_FRAME = 1024  # samples: 21 ms, a few periods of the voice
_HOP = 256
_N_FFT = 2048  # longer than the frame, to leave room for the filters' ringing
_FREQUENCIES = np.fft.rfftfreq(_N_FFT, 1 / SAMPLE_RATE)  # (K)
_HIGHER_FORMANTS = (
    3500.0,
    4500.0,
)  # Hz, fourth and fifth formant of a male voice, which characterize the speaker, not the vowel
_BANDWIDTHS = (70.0, 90.0, 130.0, 200.0, 260.0)  # Hz
_ROOM_NOISE = 10 ** (-64 / 20)  # standard deviation relative to full scale


@dataclass(frozen=True)
class _Throat:
    """Voice of an actor."""

    pitch: float  # Hz
    tract: float  # formants relative to a male voice
    brightness: float  # dB per octave
    breath: float  # level of the breath noise relative to the pulses
    gain: float  # dB, differs with the distance to the microphone

    @classmethod
    def of(cls, actor: int, seed: int) -> _Throat:
        random = random_for("throat", seed, actor)
        male = actor % 2 == 1
        return cls(
            pitch=random.uniform(100, 130) if male else random.uniform(185, 225),
            tract=random.uniform(0.95, 1.05) if male else random.uniform(1.12, 1.22),
            brightness=random.uniform(-1, 1),
            breath=random.uniform(0.0, 0.05),
            gain=random.uniform(-1.5, 0),
        )


@dataclass(frozen=True)
class _Delivery:
    """Parameters of a manner; pitch in semitones relative to the actor's own."""

    level: float  # dB of the peak
    pitch: float  # shift
    glide: float  # rise over the statement
    melody: float  # rise on a stressed syllable
    tilt: float  # dB per octave above 500 Hz, in addition to the -6 of the pulses
    tremor: float  # depth of the loudness tremor, 0 to 1; the pitch follows it
    breath: float  # level of the breath noise relative to the pulses
    creak: float  # share by which every second pulse is weaker
    attack: float  # 1: syllables swell and fade evenly; above: short and punchy; below: they run together


_DELIVERIES = {
    Manner.SOFT: _Delivery(-17, -2.0, -5.0, 0.8, -7.0, 0.0, 0.02, 0.0, 0.7),
    Manner.FLAT: _Delivery(-9, -1.0, 0.0, 0.0, -1.5, 0.0, 0.0, 0.65, 0.5),
    Manner.ENERGETIC: _Delivery(-1.5, 4.0, -1.0, 7.0, 3.0, 0.0, 0.0, 0.0, 1.7),
    Manner.TREMBLING: _Delivery(-6, 7.0, 5.0, 1.5, -2.5, 0.7, 0.8, 0.0, 1.0),
}
_ORDINARY = _Delivery(-8, 0.0, -1.0, 1.5, -1.5, 0.0, 0.02, 0.0, 1.0)


def render_voice(take: Take, seed: int, seconds: float) -> np.ndarray:
    """Sound of a take, (S,) float32 at 48 kHz in -1 to 1; deterministic.

    Loudness tells the manners apart, so clips are not normalised to the same peak.
    """
    manner, strength = voice_half(take)
    throat = _Throat.of(take.actor, seed)
    random = random_for("voice", seed, take)
    delivery = _between(_ORDINARY, _DELIVERIES[manner], strength * random.uniform(0.9, 1.1))
    samples = round(seconds * SAMPLE_RATE)
    frames = 1 + -(-samples // _HOP)
    frame_times = np.arange(frames) * _HOP / SAMPLE_RATE
    speech = articulate(take, seed, seconds, frame_times)

    voiced, breath = _excite(speech, delivery, throat, random, samples, frame_times)
    tilt = delivery.tilt + throat.brightness
    slope = (np.maximum(_FREQUENCIES, 500) / 500) ** (tilt / (20 * np.log10(2)))  # (K)
    tract = _tract(speech.formants, throat.tract)  # (N, K)
    consonants = _frames(random.standard_normal(samples)) * _consonant_filter(speech)
    sound = _overlap_add((_frames(voiced) * slope + _frames(breath)) * tract + consonants, samples)

    peak = 10 ** ((delivery.level + throat.gain + random.uniform(-1, 1)) / 20)
    sound *= min(peak, 0.85) / np.abs(sound).max()  # 0.85: AAC overshoots a little
    sound += _ROOM_NOISE * random.standard_normal(samples)
    return sound.astype(np.float32)


def _between(start: _Delivery, end: _Delivery, share: float) -> _Delivery:
    changed = {name: value + share * (getattr(end, name) - value) for name, value in vars(start).items()}
    changed["breath"] = max(changed["breath"], 0.0)
    return replace(start, **changed)


def _excite(
    speech: Speech,
    delivery: _Delivery,
    throat: _Throat,
    random: np.random.Generator,
    samples: int,
    frame_times: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Glottal pulses and breath noise, (S) each."""
    times = np.arange(samples) / SAMPLE_RATE
    trembling = np.sin(2 * np.pi * (random.uniform(6, 7.5) * times + random.uniform()))  # (S)
    semitones = delivery.pitch + delivery.glide * (speech.position - 0.5) + delivery.melody * speech.stress  # (N)
    semitones = np.interp(times, frame_times, semitones) + 1.2 * delivery.tremor * trembling  # (S)
    pitch = throat.pitch * 2 ** ((semitones + random.normal(0, 0.5)) / 12)

    phase = np.cumsum(pitch) / SAMPLE_RATE
    pulse = phase.astype(int)
    count = pulse[-1] + 1
    jitter = random.normal(0, 0.008 + 0.02 * delivery.creak, count)  # of the pulse times, in periods
    shimmer = 1 + random.normal(0, 0.05, count) - delivery.creak * (np.arange(count) % 2)
    loudness = np.interp(times, frame_times, speech.voicing**delivery.attack * (0.7 + 0.3 * speech.stress))
    loudness *= 1 - delivery.tremor * (0.5 + 0.5 * trembling)
    pulses = _glottal_pulse(phase - pulse + jitter[pulse]) * shimmer[pulse] * loudness
    breath = (delivery.breath + throat.breath) * random.standard_normal(samples) * loudness
    return pulses, breath


def _glottal_pulse(phase: np.ndarray) -> np.ndarray:
    """Derivative of the glottal flow by phase: pulse C of Rosenberg, JASA 49(2B), 1971."""
    opening, closing = 0.4, 0.16
    rise = np.sin(np.pi * phase / opening) / opening
    fall = -np.sin(np.pi / 2 * (phase - opening) / closing) / closing
    return np.where(phase < 0, 0, np.where(phase < opening, rise, np.where(phase < opening + closing, fall, 0)))


def _tract(formants: np.ndarray, scale: float) -> np.ndarray:
    """Response of the vocal tract (N, K), a cascade of resonances, for the first three formants (N, 3) in Hz."""
    # Compensates for the missing formants above the fifth.
    damping = _resonance(np.array(_HIGHER_FORMANTS) * scale, _BANDWIDTHS[3:]).prod(axis=0)  # (K)
    damping = (damping / (1 + (_FREQUENCIES / 3000) ** 2) ** 1.5).astype(np.complex64)
    for formant, bandwidth in zip(formants.T * scale, _BANDWIDTHS[:3], strict=True):
        damping = damping * _resonance(formant, bandwidth)  # (N, K)
    return 1 / damping


def _resonance(formants: np.ndarray, bandwidth: float | Sequence[float]) -> np.ndarray:
    """Denominators (F, K) of resonances at `formants` (F) in Hz; single precision for speed."""
    squared = (formants[:, None] ** 2).astype(np.float32)
    loss = np.multiply(np.reshape(bandwidth, (-1, 1)), _FREQUENCIES, dtype=np.float32)
    response = np.empty((len(formants), len(_FREQUENCIES)), np.complex64)
    np.divide(loss, squared, out=response.imag)
    np.subtract(1, (_FREQUENCIES**2).astype(np.float32) / squared, out=response.real)
    return response


def _consonant_filter(speech: Speech) -> np.ndarray:
    """Level of the consonant noise (N, K), a band around its centre."""
    octaves = np.log2(np.maximum(_FREQUENCIES, 1) / speech.noise_centre[:, None])
    return speech.noise[:, None] * np.exp(-0.5 * (octaves / 0.5) ** 2)


def _frames(signal: np.ndarray) -> np.ndarray:
    """Spectra (N, K) of windowed frames centred every `_HOP` samples."""
    padded = np.pad(signal, (_FRAME // 2, _FRAME // 2 + _HOP))
    windows = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP][: 1 + -(-len(signal) // _HOP)]
    return np.fft.rfft(windows * _WINDOW, _N_FFT)


def _overlap_add(spectra: np.ndarray, samples: int) -> np.ndarray:
    """Signal (S) of filtered frames (N, K)."""
    blocks = np.fft.irfft(spectra, _N_FFT).reshape(len(spectra), _N_FFT // _HOP, _HOP)  # (N, 8, hop)
    summed = np.zeros((len(spectra) + _N_FFT // _HOP, _HOP))
    for offset in range(_N_FFT // _HOP):
        summed[offset : offset + len(spectra)] += blocks[:, offset]
    return summed.reshape(-1)[_FRAME // 2 : _FRAME // 2 + samples]


_WINDOW = np.hanning(_FRAME + 1)[:-1] * 2 * _HOP / _FRAME  # overlapping windows add up to one
