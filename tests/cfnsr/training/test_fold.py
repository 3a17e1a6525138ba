"""What the options of training do, on a small set of features."""

import shutil
from pathlib import Path

import lightning
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from helpers.feature_files import write_features, write_params
from helpers.trained_folds import PHASE, predictions, train_first_fold
from safetensors.torch import load_file

from cfnsr.config.sections import FusionSettings, PhaseSettings
from cfnsr.corpus.manifest import read_manifest
from cfnsr.errors import InputError
from cfnsr.features.cached import Features
from cfnsr.model.checkpoint import load_model
from cfnsr.model.network import CFNSR
from cfnsr.model.normalize import Normalization
from cfnsr.training.augment import drop_modalities, mixup
from cfnsr.training.dataset import ClipDataset, Draw
from cfnsr.training.fold import predict
from cfnsr.training.task import EmotionTask


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """A fold trained without any option."""
    root = tmp_path_factory.mktemp("plain")
    train_first_fold(root)
    return root


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
    settings = write_params(tmp_path, train={"pretrain": {"audio": PHASE, "video": PHASE}, "fusion": PHASE})
    write_features(settings)
    manifest = pd.read_csv(settings.layout.manifest, dtype=str, keep_default_na=False)
    manifest.sample(frac=1, random_state=1).to_csv(settings.layout.manifest, index=False)
    table = pq.read_table(settings.layout.mfcc)
    pq.write_table(table.take(list(reversed(range(len(table))))), settings.layout.mfcc)
    train_first_fold(tmp_path, write=False)
    pd.testing.assert_frame_equal(predictions(tmp_path), predictions(plain))


def test_the_network_says_how_many_faces_were_found_by_landmarks(plain, tmp_path):
    without = plain / "fold/model.safetensors"
    assert load_model(without)[1].landmark_share == 0
    settings = write_params(tmp_path, train={"pretrain": {"audio": PHASE, "video": PHASE}, "fusion": PHASE})
    write_features(settings)
    manifest = pd.read_csv(settings.layout.manifest, dtype=str, keep_default_na=False)
    manifest.loc[manifest.index % 2 == 0, "landmarks_path"] = "landmarks.csv"
    manifest.to_csv(settings.layout.manifest, index=False)
    assert Features.load(settings.layout).landmark_share == pytest.approx(0.5, abs=0.01)


def test_what_the_test_actors_show_changes_no_weight(plain, tmp_path):
    """They are watched in every epoch, but choose nothing: with other labels the same epoch and weights come out."""
    settings = write_params(tmp_path, train={"pretrain": {"audio": PHASE, "video": PHASE}, "fusion": PHASE})
    write_features(settings)
    manifest = pd.read_csv(settings.layout.manifest, dtype=str, keep_default_na=False)
    tested = manifest["actor"].isin(["1", "2"])
    manifest.loc[tested, "label"] = "0"
    manifest.loc[tested, "emotion"] = "neutral"
    manifest.to_csv(settings.layout.manifest, index=False)
    train_first_fold(tmp_path, write=False)
    before, after = (load_file(root / "fold" / "model.safetensors") for root in (plain, tmp_path))
    for name, value in before.items():
        assert torch.equal(value, after[name]), name
    watched = [pd.read_csv(root / "fold" / "history.csv")["test/accuracy"] for root in (plain, tmp_path)]
    assert not watched[0].equals(watched[1])


def test_the_epoch_with_the_best_smoothed_score_is_kept(tmp_path):
    phase = {**PHASE, "epochs": 10, "lr": 0.01}
    pretrain = {"audio": PHASE, "video": PHASE}
    settings, result = train_first_fold(tmp_path, pretrain=pretrain, fusion=phase, smooth_epochs=3)
    history = pd.read_csv(tmp_path / "fold" / "history.csv").query("phase == 'fusion'").reset_index(drop=True)
    smoothed = history["validation/accuracy"].rolling(3, min_periods=1).mean()
    pd.testing.assert_series_equal(history["validation/smoothed"], smoothed, check_names=False)
    assert result.epoch == smoothed.argmax() != history["validation/accuracy"].argmax()
    assert result.selection_accuracy == pytest.approx(smoothed.max())
    network, metadata = load_model(tmp_path / "fold" / "model.safetensors")
    dataset = ClipDataset(Features.load(settings.layout), result.validation, "both", metadata.normalization)
    right = predict(network, dataset, 8, "both").argmax(axis=1) == dataset.clips["label"].to_numpy()
    assert right.mean() == pytest.approx(history["validation/accuracy"][result.epoch])


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
    assert (moved.epoch, moved.selection_accuracy) == (whole.epoch, whole.selection_accuracy)
    ours, theirs = (load_file(root / "fold" / "model.safetensors") for root in (after, tmp_path / "whole"))
    assert [name for name, weight in ours.items() if not torch.equal(weight, theirs[name])] == []


def test_where_the_test_actors_choose_it_is_their_best_single_epoch(tmp_path):
    train_first_fold(tmp_path, smooth_epochs=3, protocol="published")
    history = pd.read_csv(tmp_path / "fold" / "history.csv")
    assert history["validation/smoothed"].tolist() == pytest.approx(history["validation/accuracy"].tolist())


def test_unwatched_test_actors_change_no_weight_either(plain, tmp_path):
    train_first_fold(tmp_path, watch_test=False)
    assert "test/accuracy" not in pd.read_csv(tmp_path / "fold" / "history.csv")
    pd.testing.assert_frame_equal(predictions(tmp_path), predictions(plain))


def test_the_test_actors_have_no_part_in_the_temperature(plain, tmp_path):
    shutil.copytree(plain / "data", tmp_path / "data")
    manifest = write_params(tmp_path).layout.manifest
    clips, tested = read_manifest(manifest), predictions(plain)["actor"].unique()
    clips.loc[clips["actor"].isin(tested), "label"] = 7 - clips["label"]
    clips.to_csv(manifest, index=False)
    train_first_fold(tmp_path, write=False)
    ours, theirs = predictions(plain), predictions(tmp_path)
    assert (ours["label"] != theirs["label"]).all()
    assert ours["temperature"].tolist() == theirs["temperature"].tolist()
    assert ours["temperature"].nunique() == 3  # one a network


def test_drawing_a_batch_leaves_the_generators_of_gpus_alone(plain, monkeypatch):
    """Else the dropout of a GPU would depend on whether batches are made in this process or in others."""
    settings = write_params(plain, train={"pretrain": {"audio": PHASE, "video": PHASE}, "fusion": PHASE})
    features, seeded = Features.load(settings.layout), []
    phase = PhaseSettings(augment_audio=True, augment_video=True)
    scaled = Normalization.fit(features.mfcc.values(), settings.params.mfcc.channels, standardize=True)
    dataset = ClipDataset(features, (1, 2), "both", scaled, phase, settings.params.mfcc)
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


class TestModalityDropout:
    def test_one_network_answers_from_face_voice_and_both(self, tmp_path):
        train_first_fold(tmp_path, fusion={**PHASE, "modality_dropout": 0.5})
        table = predictions(tmp_path)
        fused = table[table["network"] == "fusion"]
        assert fused.groupby("inputs").size().to_dict() == {"audio": 32, "both": 32, "video": 32}
        _, metadata = load_model(tmp_path / "fold" / "model.safetensors")
        assert metadata.inputs == ("both", "audio", "video")
        assert fused.groupby("inputs")["temperature"].nunique().eq(1).all()
        assert metadata.temperatures["audio"] == pytest.approx(fused[fused["inputs"] == "audio"]["temperature"].iloc[0])

    def test_nobody_loses_both_and_the_shares_are_as_asked(self):
        present = drop_modalities(20_000, 0.3, torch.device("cpu"))
        assert present.any(dim=1).all()
        assert (~present).float().mean(dim=0).tolist() == pytest.approx([0.15, 0.15], abs=0.01)


@pytest.mark.parametrize("fusion", ["cfn_sr", "no_attention", "no_residual", "concat", "average"])
class TestMissingModality:
    def network(self, fusion):
        torch.manual_seed(0)
        sizes = {"layers": (1, 1, 1, 1), "width": 8, "cardinality": 4, "mfcc_frames": 68, "audio_width": 8}
        return CFNSR(**sizes, transformer_layers=1, fusion=fusion).eval()

    def test_it_is_the_same_as_dropping_it(self, fusion):
        network = self.network(fusion)
        frames, mfcc = torch.randn(2, 3, 8, 32, 32), torch.randn(2, 13, 68)
        silent, unseen = torch.tensor([[True, False]] * 2), torch.tensor([[False, True]] * 2)
        torch.testing.assert_close(network(frames, None), network(frames, mfcc, silent))
        torch.testing.assert_close(network(None, mfcc), network(frames, mfcc, unseen))
        torch.testing.assert_close(network(frames, mfcc), network(frames, mfcc, torch.ones(2, 2, dtype=torch.bool)))

    def test_what_is_missing_has_no_influence(self, fusion):
        network = self.network(fusion)
        frames, mfcc = torch.randn(2, 3, 8, 32, 32), torch.randn(2, 13, 68)
        present = torch.tensor([[True, False], [False, True]])
        other = network(torch.cat([frames[:1], frames[1:] + 1]), torch.cat([mfcc[:1] + 1, mfcc[1:]]), present)
        torch.testing.assert_close(network(frames, mfcc, present), other)

    def test_without_anything_it_says_so(self, fusion):
        with pytest.raises(ValueError, match="neither frames nor MFCC"):
            self.network(fusion)(None, None)


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
    settings = write_params(tmp_path, train={"pretrain": {"audio": PHASE, "video": PHASE}, "fusion": PHASE})
    write_features(settings)
    manifest = pd.read_csv(settings.layout.manifest, dtype=str, keep_default_na=False)
    trains = manifest["actor"].isin(["5", "6"])
    manifest[~(trains & (manifest["emotion"] == "calm"))].to_csv(settings.layout.manifest, index=False)
    with pytest.raises(InputError, match="fold 0 has no training clip of calm; add actors or clips"):
        train_first_fold(tmp_path, write=False)


def test_a_last_batch_of_one_is_left_out(tmp_path):
    """32 training clips in batches of 31: batch norm could do nothing with the last one."""
    phase = {**PHASE, "batch_size": 31}
    train_first_fold(tmp_path, pretrain={"audio": phase, "video": phase}, fusion=phase)
    assert len(predictions(tmp_path)) == 3 * 32


def test_a_dataset_gives_the_same_clip_whatever_else_is_in_the_batch(tmp_path):
    settings = write_params(tmp_path)
    write_features(settings)
    features = Features.load(settings.layout)
    dataset = ClipDataset(features, [1, 2], "both", Normalization.fit([], 13, False))
    batch, single = dataset.batch([3, 5]), dataset.batch([5])
    torch.testing.assert_close(batch["frames"][1:], single["frames"])
    torch.testing.assert_close(batch["mfcc"][1:], single["mfcc"])
    network = CFNSR.from_settings(settings.params.model, settings.params.mfcc)
    assert predict(network, dataset, 8, "both").shape == (32, 8)
