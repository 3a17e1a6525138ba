"""The published recipe as this project trains it, compared with an independently written plain training loop."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from helpers.feature_files import write_features
from helpers.paths import PROJECT

from benchmarks.published_recipe import Clips, draws_of_run, train
from cfnsr.corpus.ravdess import EMOTIONS
from cfnsr.features.mfcc import read_mfcc
from components.run import Run
from components.train import train as train_run
from pipelines.studies.experiments import experiments, settings_of

EPOCHS = 12


@pytest.fixture
def settings(tmp_path):
    """The experiment `audio-published`, shortened, with synthetic features of eight actors."""
    (tmp_path / "params.yaml").write_text((PROJECT / "params.yaml").read_text())
    fewer = {"dataset.actors": list(range(1, 9)), "train.folds": 2, "train.pretrain.audio.epochs": EPOCHS}
    overrides = experiments(PROJECT)["audio-published"]["overrides"] | fewer
    settings = settings_of(tmp_path, "audio-published", overrides, seed=3)
    write_features(settings)
    return settings


@pytest.mark.proof
def test_with_the_same_random_draws_a_plain_loop_reaches_the_same_accuracies(settings):
    run = Run.open(settings)
    train_run(run)
    mfcc = read_mfcc(settings.layout.mfcc)
    names = np.array([clip.split("-") for clip in sorted(mfcc)], dtype=np.int64)  # vocal channel, emotion, …, actor
    clips = Clips(np.stack([mfcc[clip] for clip in sorted(mfcc)]), names[:, 1] - 1, names[:, 5])
    assert set(clips.label) == set(range(len(EMOTIONS)))
    curves = []
    for fold in range(2):
        history = pd.read_csv(run.fold_folder(fold) / "history.csv")
        curves.append(train(clips, partial(draws_of_run, settings, EPOCHS), fold))
        assert history["validation/accuracy"].tolist() == pytest.approx(curves[-1], abs=1e-6)
    assert len(np.unique(curves)) >= 6  # the curves vary, so agreement is no accident
