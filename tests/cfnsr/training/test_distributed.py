"""Two processes on the CPU train as one does with twice the batch."""

import lightning
import pandas as pd
import pytest
import torch
from helpers.feature_files import write_features, write_params
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import load_file
from torch.nn.modules.batchnorm import _BatchNorm

from cfnsr.config.sections import TrainSettings
from cfnsr.corpus.folds import make_folds
from cfnsr.errors import InputError
from cfnsr.features.cached import Features
from cfnsr.training.fold import train_fold
from cfnsr.training.loaders import EpochSampler
from cfnsr.training.phase import _devices


class FrozenBatchNorm(lightning.Callback):
    """Fixes the statistics of batch norm, which PyTorch can't compute over several processes on the CPU."""

    def on_train_epoch_start(self, trainer, pl_module):
        for module in pl_module.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def train_video_encoder(root, devices, **phase):
    settings = write_params(
        root, model={"modality": "video"}, train={"devices": devices, "pretrain": {"video": phase}, "smooth_epochs": 2}
    )
    write_features(settings)
    features = Features.load(settings)
    fold = make_folds(features.clips, settings.params.train)[0]
    train_fold(features, fold, settings, root / "fold", lambda name: CSVLogger(root, name), [FrozenBatchNorm()])


@pytest.mark.slow
def test_two_processes_have_the_loss_and_weights_of_one_with_twice_the_batch(tmp_path):
    """The video encoder has no dropout, so that the results are comparable."""
    histories, weights = [], []
    for devices, batch_size in ((1, 16), (2, 8)):
        root = tmp_path / str(devices)
        root.mkdir()
        train_video_encoder(root, devices, epochs=2, batch_size=batch_size, lr=1e-4, ema=0.9)
        histories.append(pd.read_csv(root / "fold" / "history.csv").drop(columns=["seconds", "phase"]))
        weights.append(load_file(root / "fold" / "model.safetensors"))
    assert len(histories[0]) == 2
    pd.testing.assert_frame_equal(*histories, rtol=1e-4)
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-5)


@pytest.mark.proof
def test_a_loss_that_is_not_finite_is_reported_by_any_process(tmp_path):
    with pytest.raises(InputError, match=r"^the training loss became (nan|inf) in epoch 0; lower this phase's lr"):
        train_video_encoder(tmp_path, 2, epochs=1, batch_size=8, lr=1e30)


def test_more_devices_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match=r"train\.devices is 2, but this machine has 1 GPUs"):
        _devices(TrainSettings(devices=2))


def test_the_batches_of_processes_are_together_those_of_one():
    alone = list(EpochSampler(11, seed=3))
    parts = [list(EpochSampler(11, seed=3, rank=rank, processes=2)) for rank in range(2)]
    assert [draw for pair in zip(*parts, strict=True) for draw in pair] == alone[:10]
