from __future__ import annotations

import numpy as np
import pytest

from cfnsr.corpus.sample.plan import Manner, takes_of, voice_half
from cfnsr.corpus.sample.speech import articulate
from cfnsr.corpus.sample.voice import SAMPLE_RATE, render_voice

SEED = 7


def test_same_seed_same_sound_and_nothing_else() -> None:
    take, other = takes_of(3, 2)[-2:]
    sound = render_voice(take, SEED, 1.5)
    assert sound.shape == (1.5 * SAMPLE_RATE,)
    assert sound.dtype == np.float32
    assert np.array_equal(sound, render_voice(take, SEED, 1.5))
    for different in (render_voice(other, SEED, 1.5), render_voice(take, SEED + 1, 1.5)):
        assert np.corrcoef(sound, different)[0, 1] < 0.5


def test_nothing_clips_and_loudness_tells_soft_from_energetic() -> None:
    peaks: dict[Manner, list[float]] = {manner: [] for manner in Manner}
    for actor in (1, 2, 5, 8):
        for take in takes_of(actor, 1)[::2]:
            peaks[voice_half(take)[0]].append(float(np.abs(render_voice(take, SEED, 1.0)).max()))
    assert max(map(max, peaks.values())) < 0.9
    assert min(map(min, peaks.values())) > 0.05
    assert max(peaks[Manner.SOFT]) < min(peaks[Manner.ENERGETIC])


@pytest.mark.parametrize("seconds", [1.0, 4.3])
def test_sound_while_speaking_and_silence_around(seconds: float) -> None:
    take = takes_of(2, 1)[-1]
    sound = render_voice(take, SEED, seconds)
    speech = articulate(take, SEED, seconds, np.arange(len(sound)) / SAMPLE_RATE)
    spoken = (speech.position > 0) & (speech.position < 1)
    far_from_speech = np.convolve(spoken, np.ones(4801), "same") == 0
    assert 0.3 < spoken.mean() < 0.9
    assert sound[spoken].std() > 20 * sound[far_from_speech].std()


@pytest.mark.parametrize(("actor", "low", "high"), [(1, 80, 130), (2, 150, 230)])
def test_men_speak_lower_than_women(actor: int, low: float, high: float) -> None:
    soft = next(take for take in takes_of(actor, 1) if voice_half(take)[0] is Manner.SOFT)
    sound = render_voice(soft, SEED, 2.0)
    middle = sound[SAMPLE_RATE * 4 // 5 : SAMPLE_RATE]
    correlation = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    lags = np.arange(SAMPLE_RATE // 400, SAMPLE_RATE // 60)
    assert low < SAMPLE_RATE / lags[correlation[lags].argmax()] < high


def test_rhythm_is_the_actors_and_the_statements_but_not_the_emotions() -> None:
    """Lips follow the rhythm, so it would betray the voice to who only sees."""
    times = np.linspace(0, 2, 200)
    shares: dict[Manner, list[float]] = {manner: [] for manner in Manner}
    for actor in range(1, 25):
        for take in takes_of(actor, 2):
            shares[voice_half(take)[0]].append(articulate(take, SEED, 2.0, times).opening.mean())
    means = np.array([np.mean(values) for values in shares.values()])
    errors = np.array([np.std(values) / np.sqrt(len(values)) for values in shares.values()])
    assert np.ptp(means) < 4 * errors.max()
