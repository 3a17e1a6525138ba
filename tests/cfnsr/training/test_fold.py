"""What the options of training do, on a small set of features."""

from collections import Counter

import lightning
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from helpers.feature_files import write_features, write_params
from helpers.trained_folds import PHASE, predictions, train_first_fold, write_changed_features
from safetensors.torch import load_file

from cfnsr.config.sections import FusionSettings, PhaseSettings
from cfnsr.corpus.folds import make_folds
from cfnsr.errors import InputError
from cfnsr.features.cached import Features
from cfnsr.model.checkpoint import load_model
from cfnsr.model.network import CFNSR
from cfnsr.model.normalize import Normalization
from cfnsr.training.augment import drop_modalities, mixup
from cfnsr.training.dataset import ClipDataset, Draw
from cfnsr.training.fold import normalization_of, predict
from cfnsr.training.loaders import FoldData
from cfnsr.training.task import EmotionTask


@pytest.mark.parametrize(
    "option",
    [
        {"fusion": {**PHASE, "ema": 0.5}},
        {"fusion": {**PHASE, "mixup": 0.4}},
        {"fusion": {**PHASE, "gradient_clip": 0.01}},
        {"fusion": {**PHASE, "schedule": "cosine", "warmup": 0.25}},
        {"fusion": {**PHASE, "label_smoothing": 0.2}},
        {"fusion": {**PHASE, "modality_dropout": 0.5}},
        {"precision": "bf16"},
    ],
)
def test_every_option_changes_what_is_learnt(plain, tmp_path, option):
    train_first_fold(tmp_path, **option)
    ours, theirs = predictions(tmp_path), predictions(plain)
    both = ours[(ours["network"] == "fusion") & (ours["inputs"] == "both")]
    assert not both["happy"].equals(theirs[theirs["network"] == "fusion"]["happy"])


def test_the_order_of_clips_on_disk_changes_nothing(plain, tmp_path):
    settings = write_changed_features(tmp_path, lambda manifest: manifest.sample(frac=1, random_state=1))
    table = pq.read_table(settings.layout.mfcc)
    pq.write_table(table.take(list(reversed(range(len(table))))), settings.layout.mfcc)
    train_first_fold(tmp_path, write=False)
    pd.testing.assert_frame_equal(predictions(tmp_path), predictions(plain))


def test_the_share_of_faces_from_landmarks_is_recorded(plain, tmp_path):
    assert load_model(plain / "fold/model.safetensors")[1].landmark_share == 0

    def every_other(manifest: pd.DataFrame) -> pd.DataFrame:
        return manifest.assign(landmarks_path=["landmarks.csv" if row % 2 else "" for row in manifest.index])

    settings = write_changed_features(tmp_path, every_other)
    assert Features.load(settings).landmark_share == pytest.approx(0.5, abs=0.01)


def test_the_test_speakers_choose_nothing(plain, tmp_path):
    """They are watched in every epoch: with other labels, epoch, weights and temperatures are the same."""

    def relabelled(manifest: pd.DataFrame) -> pd.DataFrame:
        manifest.loc[manifest["speaker"].isin(["01", "02"]), "label"] = "neutral"
        return manifest

    write_changed_features(tmp_path, relabelled)
    train_first_fold(tmp_path, write=False)
    before, after = (load_file(root / "fold" / "model.safetensors") for root in (plain, tmp_path))
    for name, value in before.items():
        assert torch.equal(value, after[name]), name
    watched = [pd.read_csv(root / "fold" / "history.csv")["test/accuracy"] for root in (plain, tmp_path)]
    assert not watched[0].equals(watched[1])
    temperatures = [predictions(root)["temperature"] for root in (plain, tmp_path)]
    assert temperatures[0].tolist() == temperatures[1].tolist()
    assert temperatures[0].nunique() == 3  # one per network


def test_the_epoch_with_the_best_smoothed_score_is_kept(tmp_path):
    phase = {**PHASE, "epochs": 10, "lr": 0.01}
    pretrain = {"audio": PHASE, "video": PHASE}
    settings, result = train_first_fold(tmp_path, pretrain=pretrain, fusion=phase, smooth_epochs=3)
    history = pd.read_csv(tmp_path / "fold" / "history.csv").query("phase == 'fusion'").reset_index(drop=True)
    smoothed = history["validation/accuracy"].rolling(3, min_periods=1).mean()
    pd.testing.assert_series_equal(history["validation/smoothed"], smoothed, check_names=False)
    assert result.epoch == smoothed.argmax() != history["validation/accuracy"].argmax()
    assert result.selection_score == pytest.approx(smoothed.max())
    network, metadata = load_model(tmp_path / "fold" / "model.safetensors")
    features = Features.load(settings)
    dataset = ClipDataset(features, result.validation, "both", metadata.normalization)
    right = predict(network, dataset, 8, "both").argmax(axis=1) == features.classes(dataset.clips)
    assert right.mean() == pytest.approx(history["validation/accuracy"][result.epoch])


@pytest.mark.slow
def test_a_training_goes_on_in_another_folder(tmp_path):
    """The epochs after the move are worse than the best one before it, which is kept all the same."""
    phase = {**PHASE, "epochs": 12, "lr": 0.01}
    _, whole = train_first_fold(tmp_path / "whole", pretrain={"audio": PHASE, "video": PHASE}, fusion=phase)
    stopped_at = whole.epoch + 2
    assert stopped_at < phase["epochs"]

    class Stop(lightning.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == stopped_at:
                raise RuntimeError("the power is gone")

    before, after = tmp_path / "before", tmp_path / "after"
    with pytest.raises(RuntimeError, match="the power is gone"):
        train_first_fold(before, callbacks=[Stop()], pretrain={"audio": PHASE, "video": PHASE}, fusion=phase)
    before.rename(after)
    _, moved = train_first_fold(after, write=False, pretrain={"audio": PHASE, "video": PHASE}, fusion=phase)
    assert (moved.epoch, moved.selection_score) == (whole.epoch, whole.selection_score)
    ours, theirs = (load_file(root / "fold" / "model.safetensors") for root in (after, tmp_path / "whole"))
    assert [name for name, weight in ours.items() if not torch.equal(weight, theirs[name])] == []


def test_unwatched_test_speakers_change_no_weight_either(plain, tmp_path):
    train_first_fold(tmp_path, watch_test=False)
    assert "test/accuracy" not in pd.read_csv(tmp_path / "fold" / "history.csv")
    pd.testing.assert_frame_equal(predictions(tmp_path), predictions(plain))


def test_drawing_a_batch_leaves_the_generators_of_gpus_alone(plain, monkeypatch):
    """Else the dropout of a GPU would depend on whether batches are made in this process or in others."""
    settings = write_params(plain, train={"pretrain": {"audio": PHASE, "video": PHASE}, "fusion": PHASE})
    features, seeded = Features.load(settings), []
    phase = PhaseSettings(augment_audio=True, augment_video=True)
    scaled = Normalization.fit(features.mfcc.values(), settings.params.mfcc.channels, standardize=True)
    dataset = ClipDataset(features, ("01", "02"), "both", scaled, phase, settings.params.mfcc)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    torch.manual_seed(5)
    assert seeded == [5]
    before = torch.random.get_rng_state()
    first, second, again = (dataset.batch([Draw(0, seed), Draw(1, 3)]) for seed in (7, 8, 7))
    assert seeded == [5]
    assert torch.equal(torch.random.get_rng_state(), before)
    for name in ("frames", "mfcc"):
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], second[name])


def test_with_modality_dropout_one_network_answers_from_face_voice_and_both(tmp_path):
    """Also with a last batch of one clip (32 in batches of 31), which batch norm can't use."""
    phase = {**PHASE, "batch_size": 31}
    train_first_fold(tmp_path, pretrain={"audio": phase, "video": phase}, fusion={**phase, "modality_dropout": 0.5})
    table = predictions(tmp_path)
    fused = table[table["network"] == "fusion"]
    assert fused.groupby("inputs").size().to_dict() == {"audio": 32, "both": 32, "video": 32}
    _, metadata = load_model(tmp_path / "fold" / "model.safetensors")
    assert metadata.inputs == ("both", "audio", "video")
    assert fused.groupby("inputs")["temperature"].nunique().eq(1).all()
    assert metadata.temperatures["audio"] == pytest.approx(fused[fused["inputs"] == "audio"]["temperature"].iloc[0])


def test_no_clip_loses_both_modalities_and_the_shares_are_as_set():
    present = drop_modalities(20_000, 0.3, torch.device("cpu"))
    assert present.any(dim=1).all()
    assert (~present).float().mean(dim=0).tolist() == pytest.approx([0.15, 0.15], abs=0.01)


@pytest.mark.parametrize("fusion", ["cfn_sr", "no_attention", "no_residual", "concat", "average"])
def test_a_dropped_modality_has_no_influence(fusion):
    torch.manual_seed(0)
    sizes = {"layers": (1, 1, 1, 1), "width": 8, "cardinality": 4, "mfcc_frames": 68, "audio_width": 8}
    network = CFNSR(**sizes, transformer_layers=1, fusion=fusion).eval()
    frames, mfcc = torch.randn(3, 3, 8, 32, 32), torch.randn(3, 13, 68)
    present = torch.tensor([[True, False], [False, True], [True, True]])
    alone = [network(frames[:1], None), network(None, mfcc[1:2]), network(frames[2:], mfcc[2:])]
    torch.testing.assert_close(network(frames, mfcc, present), torch.cat(alone))
    with pytest.raises(ValueError, match="needs frames or an MFCC"):
        network(None, None)


def test_mixup_mixes_both_modalities_alike():
    torch.manual_seed(0)
    mixed = mixup(6, 0.4, torch.device("cpu"))
    faces, voices = torch.arange(6.0).view(6, 1), 10 * torch.arange(6.0).view(6, 1)
    torch.testing.assert_close(10 * mixed(faces), mixed(voices))
    share = mixed.share[:, None]
    torch.testing.assert_close(mixed(faces), share * faces + (1 - share) * faces[mixed.partner])
    assert mixed.share.shape == (6,)
    assert (mixed.share >= 0).all()
    assert (mixed.share <= 1).all()
    assert len(set(mixed.share.tolist())) == 6


def test_the_rate_rises_and_falls_to_zero():
    phase = FusionSettings(lr=1.0, schedule="cosine", warmup=0.1, optimizer="adamw")
    task = EmotionTask(CFNSR(modality="audio"), phase)
    task._trainer = type("Steps", (), {"estimated_stepping_batches": 100})()
    plan = task.configure_optimizers()
    rates = []
    for _ in range(100):
        rates.append(plan["optimizer"].param_groups[0]["lr"])
        plan["optimizer"].step()
        plan["lr_scheduler"]["scheduler"].step()
    assert rates[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[10] == pytest.approx(1)
    assert rates[-1] < 0.001


def test_a_fold_whose_training_lacks_an_emotion_gets_a_sentence(tmp_path):
    write_changed_features(tmp_path, lambda manifest: manifest.query("speaker not in ['05', '06'] or label != 'calm'"))
    with pytest.raises(InputError, match="fold 0 has no training clip of calm; add speakers or clips"):
        train_first_fold(tmp_path, write=False)


def test_a_dataset_gives_the_same_clip_whatever_else_is_in_the_batch(tmp_path):
    settings = write_params(tmp_path)
    write_features(settings)
    features = Features.load(settings)
    dataset = ClipDataset(features, ["01", "02"], "both", Normalization.fit([], 13, False))
    batch, single = dataset.batch([3, 5]), dataset.batch([5])
    torch.testing.assert_close(batch["frames"][1:], single["frames"])
    torch.testing.assert_close(batch["mfcc"][1:], single["mfcc"])
    network = CFNSR.from_settings(settings.params.model, settings.params.mfcc, 8)
    assert predict(network, dataset, 8, "both").shape == (32, 8)


def test_labels_are_balanced_by_the_loss_or_by_the_draws(tmp_path):
    """Every other clip of the training speakers is calm."""
    settings = write_changed_features(
        tmp_path, lambda manifest: manifest.assign(label=np.where(manifest.index % 2, "calm", manifest["label"]))
    )
    features = Features.load(settings)
    (fold, *_), phase = make_folds(features.clips, settings.params.train), PhaseSettings(batch_size=8)
    scaled = normalization_of(features, fold, settings)

    def data(balance):
        return FoldData(features, fold, settings.changed({"train.balance": balance}), "audio", phase, scaled)

    counts = np.bincount(features.classes(data("none").train.clips))
    assert data("none").class_weights is None
    np.testing.assert_allclose(data("loss").class_weights.numpy() * counts, counts.sum() / 8, rtol=1e-6)
    loader, drawn = data("sampling").train_dataloader(), Counter()
    for epoch in range(20):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            drawn.update(batch["label"].tolist())
    assert max(drawn.values()) < 1.6 * min(drawn.values())
    assert max(counts) > 4 * min(counts)


@pytest.mark.slow
def test_the_epoch_can_be_selected_by_uar(tmp_path):
    train_first_fold(tmp_path, select_by="uar", smooth_epochs=1, balance="loss")
    history = pd.read_csv(tmp_path / "fold" / "history.csv")
    pd.testing.assert_series_equal(history["validation/smoothed"], history["validation/uar"], check_names=False)
