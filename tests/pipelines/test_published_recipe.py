"""The published recipe as this project trains it, beside a plain loop that was written down independently."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from helpers.feature_files import write_features
from helpers.paths import PROJECT

from benchmarks.published_recipe import Clips, draws_of_run, train
from cfnsr.corpus.ravdess import EMOTIONS
from cfnsr.features.mfcc import read_mfcc
from components import train as pipeline
from pipelines.studies.experiments import experiments, settings_of

EPOCHS = 12


@pytest.fixture
def settings(tmp_path):
    """Experiment `audio-published`, shortened, on voices of eight actors that were made up."""
    (tmp_path / "params.yaml").write_text((PROJECT / "params.yaml").read_text())
    fewer = {"dataset.actors": list(range(1, 9)), "train.folds": 2, "train.pretrain.audio.epochs": EPOCHS}
    overrides = experiments(PROJECT)["audio-published"]["overrides"] | fewer
    settings = settings_of(tmp_path, "audio-published", overrides, seed=3)
    write_features(settings)
    return settings


def test_with_the_same_draws_the_plain_loop_goes_through_the_same_accuracies(settings):
    pipeline.train(settings)
    mfcc = read_mfcc(settings.layout.mfcc)
    names = np.array([clip.split("-") for clip in sorted(mfcc)], dtype=np.int64)  # vocal channel, emotion, …, actor
    clips = Clips(np.stack([mfcc[clip] for clip in sorted(mfcc)]), names[:, 1] - 1, names[:, 5])
    assert set(clips.label) == set(range(len(EMOTIONS)))
    curves = []
    for fold in range(2):
        history = pd.read_csv(pipeline.fold_folder(settings, fold) / "history.csv")
        curves.append(train(clips, partial(draws_of_run, settings, EPOCHS), fold))
        assert history["validation/accuracy"].tolist() == pytest.approx(curves[-1], abs=1e-6)
    assert len(np.unique(curves)) >= 6  # they move, so that equal ones say something
