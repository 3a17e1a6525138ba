"""Two processes on the CPU train as one does with twice the batch."""

import pandas as pd
import pytest
import torch
from helpers.feature_files import write_features, write_params
from helpers.gloo_processes import gradients_of_processes, small_network, step_of
from lightning.pytorch.loggers import CSVLogger

from cfnsr.config.sections import TrainSettings
from cfnsr.corpus.folds import actor_folds
from cfnsr.errors import InputError
from cfnsr.features.cached import Features
from cfnsr.training.distributed import BatchNormSync, ProcessBatchNorm
from cfnsr.training.fold import train_fold
from cfnsr.training.loaders import EpochSampler
from cfnsr.training.phase import _devices


def test_two_processes_have_the_gradients_of_one_with_twice_the_batch(tmp_path):
    alone = step_of(small_network(), 0, 1)
    together = gradients_of_processes(2, tmp_path)
    assert set(alone) == set(together)
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_two_processes_have_the_loss_of_one_with_twice_the_batch(tmp_path):
    """Of the video encoder, which has no dropout; at a rate at which rounding does not grow from step to step."""
    histories = []
    for devices, batch_size in ((1, 16), (2, 8)):
        root = tmp_path / str(devices)
        root.mkdir()
        phase = {"epochs": 2, "batch_size": batch_size, "lr": 1e-7, "ema": 0.9}
        settings = write_params(
            root,
            model={"modality": "video"},
            train={"devices": devices, "pretrain": {"video": phase}, "smooth_epochs": 2},
        )
        write_features(settings)
        features = Features.load(settings.layout)
        fold = actor_folds(settings.params.dataset.actors, settings.params.train)[0]
        result = train_fold(features, fold, settings, root / "fold", lambda name, root=root: CSVLogger(root, name))
        assert result.epoch in (0, 1)
        histories.append(pd.read_csv(root / "fold" / "history.csv").drop(columns=["seconds", "phase"]))
    assert len(histories[0]) == 2
    pd.testing.assert_frame_equal(*histories, rtol=1e-5)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_is_a_sentence_from_any_process(tmp_path):
    phase = {"epochs": 1, "batch_size": 8, "lr": 1e30}
    settings = write_params(tmp_path, model={"modality": "video"}, train={"devices": 2, "pretrain": {"video": phase}})
    write_features(settings)
    fold = actor_folds(settings.params.dataset.actors, settings.params.train)[0]
    with pytest.raises(InputError, match=r"^the training loss became (nan|inf) in epoch 0; lower this phase's lr"):
        train_fold(
            Features.load(settings.layout), fold, settings, tmp_path / "fold", lambda name: CSVLogger(tmp_path, name)
        )


def test_gpus_get_the_batch_norm_of_pytorch(monkeypatch):
    """The layers are changed before the network is moved to its GPU."""
    layers = torch.nn.Sequential(torch.nn.Conv1d(2, 4, 3), torch.nn.BatchNorm1d(4))
    assert type(BatchNormSync().apply(layers)[1]) is ProcessBatchNorm
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    layers = torch.nn.Sequential(torch.nn.Conv1d(2, 4, 3), torch.nn.BatchNorm1d(4))
    assert type(BatchNormSync().apply(layers)[1]) is torch.nn.SyncBatchNorm


def test_half_precision_is_not_summed_in_half_precision(tmp_path):
    """Of 6,021,120 values, as in a stem's batch, and not of the 6,029,312 that bfloat16 would make of it."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        values = torch.randn(16, 2, 376_320 // 8, generator=torch.Generator().manual_seed(0)) * 3 + 100
        ours, theirs = (torch.nn.BatchNorm1d(2) for _ in range(2))
        BatchNormSync().apply(ours)
        said = ours(values.bfloat16())
        assert said.dtype == torch.bfloat16
        expected = theirs(values.bfloat16().float())
        torch.testing.assert_close(said.float(), expected, rtol=0.01, atol=0.01)
        torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-2, atol=1e-3)
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("asked", "there", "given"), [("auto", 0, 1), ("auto", 3, 3), (2, 3, 2), (2, 0, 2), (2, 1, None)]
)
def test_no_more_devices_than_there_are(monkeypatch, asked, there, given):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    if given is None:
        with pytest.raises(InputError, match=r"train\.devices is 2, but GPUs here: 1; lower it"):
            _devices(TrainSettings(devices=asked))
    else:
        assert _devices(TrainSettings(devices=asked)) == given


def test_the_batches_of_processes_are_together_those_of_one():
    alone = list(EpochSampler(11, seed=3))
    parts = [list(EpochSampler(11, seed=3, rank=rank, processes=2)) for rank in range(2)]
    assert [draw for pair in zip(*parts, strict=True) for draw in pair] == alone[:10]
