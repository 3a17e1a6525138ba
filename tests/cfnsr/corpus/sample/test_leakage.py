"""A plain probe hears only, sees only, or does both, and is tested on actors it has not met."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from scipy.signal import resample_poly
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import GroupKFold, cross_val_predict

from cfnsr.config.sections import MfccSettings
from cfnsr.corpus.ravdess import EMOTIONS
from cfnsr.corpus.sample.face import render_face
from cfnsr.corpus.sample.plan import HALVES, takes_of
from cfnsr.corpus.sample.voice import render_voice
from cfnsr.features.mfcc import mfcc

SEED = 7
ACTORS = range(1, 7)
MFCC = MfccSettings(
    coefficients=13, sample_rate=16000, offset=0.0, duration=2.0, n_fft=512, hop=256, n_mels=40
)  # as params.yaml, profile sample
HOG = cv2.HOGDescriptor((48, 48), (16, 16), (8, 8), (8, 8), 9)


@dataclass(frozen=True)
class Features:
    actors: np.ndarray
    labels: np.ndarray
    audio: np.ndarray  # statistics of the MFCC
    video: np.ndarray  # gradients of the face

    def accuracy(self, features: np.ndarray, targets: np.ndarray) -> float:
        """Share of right answers over all actors, each answered by a probe of the others."""
        probe = ExtraTreesClassifier(200, random_state=0)
        answers = cross_val_predict(probe, features, targets, groups=self.actors, cv=GroupKFold(3))
        return float(np.mean(answers == targets))


@pytest.fixture(scope="module")
def features() -> Features:
    takes = [take for actor in ACTORS for take in takes_of(actor, 1)]
    return Features(
        actors=np.array([take.actor for take in takes]),
        labels=np.array([take.emotion - 1 for take in takes]),
        audio=np.array([hear(render_voice(take, SEED, 2.0)) for take in takes]),
        video=np.array([see(render_face(take, SEED, 160, 128, 3, 2.0)) for take in takes]),
    )


def hear(sound: np.ndarray) -> np.ndarray:
    coefficients = mfcc(resample_poly(sound, 1, 3).astype(np.float32), MFCC)
    statistics = [coefficients.mean(1), coefficients.std(1), np.diff(coefficients).std(1)]
    return np.concatenate([*statistics, *np.percentile(coefficients, [10, 50, 90], axis=1)])


def see(frames: np.ndarray) -> np.ndarray:
    faces = [cv2.resize(frame[18:108, 35:125], (48, 48), interpolation=cv2.INTER_AREA) for frame in frames]
    gradients = np.array([HOG.compute(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)) for face in faces])
    return np.concatenate([gradients.mean(axis=0), gradients.std(axis=0)])


def group(labels: np.ndarray, half: int) -> np.ndarray:
    return np.array([HALVES[EMOTIONS[label]][half] for label in labels])


def test_hearing_alone_is_not_enough(features: Features) -> None:
    assert 0.4 < features.accuracy(features.audio, features.labels) <= 0.6
    assert features.accuracy(features.audio, group(features.labels, 1)) >= 0.95


def test_seeing_alone_is_not_enough(features: Features) -> None:
    assert 0.4 < features.accuracy(features.video, features.labels) <= 0.6
    assert features.accuracy(features.video, group(features.labels, 0)) >= 0.95


def test_both_together_are(features: Features) -> None:
    both = np.hstack([features.audio, features.video])
    assert features.accuracy(both, features.labels) >= 0.85


@pytest.mark.parametrize(("sense", "half"), [("audio", 1), ("video", 0)])
def test_emotions_of_one_group_look_and_sound_alike(features: Features, sense: str, half: int) -> None:
    """Whoever knows the group answers its larger emotion: anything above that share would be leakage."""
    groups = group(features.labels, half)
    for name in set(groups):
        inside = groups == name
        labels = features.labels[inside]
        part = Features(features.actors[inside], labels, features.audio[inside], features.video[inside])
        chance = np.bincount(labels).max() / len(labels)
        spread = np.sqrt(chance * (1 - chance) / len(labels))
        assert part.accuracy(getattr(part, sense), labels) < chance + 3 * spread
