"""What the options of training do, on a small set of features."""

import shutil
from functools import partial
from pathlib import Path

import lightning
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from feature_files import PROFILE, write_features, write_params
from lightning.pytorch.loggers import CSVLogger
from published_weights import parity_case, weights
from safetensors.torch import load_file

from cfnsr.augment import drop_modalities, mixup
from cfnsr.checkpoint import load_model, save_model
from cfnsr.config import FusionSettings, MfccSettings, PhaseSettings, Settings
from cfnsr.data import ClipDataset, Draw, Features
from cfnsr.errors import InputError
from cfnsr.folds import actor_folds
from cfnsr.manifest import read_manifest
from cfnsr.model import CFNSR
from cfnsr.normalize import Normalization
from cfnsr.outcome import FoldResult
from cfnsr.pretrained import Ancestors, begin_with
from cfnsr.task import EmotionTask
from cfnsr.training import predict, train_fold

PHASE = {"epochs": 2, "batch_size": 8, "optimizer": "adamw", "lr": 0.003}


def train_first_fold(root: Path, write: bool = True, callbacks=(), **train) -> tuple[Settings, FoldResult]:
    root.mkdir(exist_ok=True)
    sections = {"pretrain": {"audio": PHASE, "video": PHASE}, "fusion": PHASE, **train}
    settings = write_params(root, train=sections)
    if write:
        write_features(settings)
    features = Features.load(settings.layout)
    fold = actor_folds(settings.params.dataset.actors, settings.params.train)[0]
    loggers = partial(CSVLogger, root / "log")
    return settings, train_fold(features, fold, settings, root / "fold", loggers, callbacks)


def predictions(root: Path) -> pd.DataFrame:
    return pd.read_csv(root / "fold" / "predictions.csv")


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
        {"fusion": {**PHASE, "warmup": 0.5}},
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
    network, config = load_model(tmp_path / "fold" / "model.safetensors")
    dataset = ClipDataset(
        Features.load(settings.layout), result.validation, "both", Normalization.from_dict(config["normalization"])
    )
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
        _, config = load_model(tmp_path / "fold" / "model.safetensors")
        assert config["inputs"] == ["both", "audio", "video"]
        assert set(config["temperature"]) == {"both", "audio", "video"}
        assert fused.groupby("inputs")["temperature"].nunique().eq(1).all()
        assert config["temperature"]["audio"] == pytest.approx(fused[fused["inputs"] == "audio"]["temperature"].iloc[0])

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


class TestCheckpoint:
    def test_a_phase_begins_with_the_encoders_of_another_run(self, plain, tmp_path):
        """Skipped encoders, taken from the other run, lead to the very same network."""
        kept = {
            name: {**PHASE, "epochs": 0, "checkpoint": str(plain / "fold" / f"{name}.safetensors")}
            for name in ("audio", "video")
        }
        _, result = train_first_fold(tmp_path, pretrain=kept)
        pd.testing.assert_frame_equal(predictions(tmp_path), predictions(plain))
        assert set(pd.read_csv(tmp_path / "fold" / "history.csv")["phase"]) == {"fusion"}
        assert result.seconds > 0
        assert not result.unknown_ancestors

    def test_as_published_a_phase_begins_with_encoders_that_the_test_actors_chose(self, tmp_path):
        train_first_fold(tmp_path / "a", protocol="published")
        kept = {"epochs": 0, "checkpoint": str(tmp_path / "a" / "fold" / "audio.safetensors")}
        train_first_fold(tmp_path / "b", protocol="published", pretrain={"audio": kept, "video": PHASE})
        pd.testing.assert_frame_equal(predictions(tmp_path / "b"), predictions(tmp_path / "a"))
        with pytest.raises(InputError, match="has seen the actors 1, 2, 3, 4, who validate or test fold 0"):
            train_first_fold(tmp_path / "c", pretrain={"audio": kept, "video": PHASE})

    def test_a_checkpoint_of_one_encoder_leaves_the_other_as_it_was_trained(self, plain, tmp_path):
        # At a rate that changes no weight.
        voice = {"epochs": 1, "batch_size": 8, "lr": 1e-30, "checkpoint": str(plain / "fold" / "audio.safetensors")}
        train_first_fold(tmp_path, pretrain={"audio": {"epochs": 0}, "video": PHASE}, fusion=voice)
        ours, theirs = (
            load_file(root / "fold" / f"{name}.safetensors") for root, name in ((tmp_path, "model"), (plain, "video"))
        )
        video = [name for name in theirs if name.startswith("video.") and name.endswith(("weight", "bias"))]
        assert video
        assert [name for name in video if not torch.equal(ours[name], theirs[name])] == []

    def test_a_whole_network_is_tested_without_training(self, plain, tmp_path):
        skipped = {"epochs": 0}
        whole = {"epochs": 0, "checkpoint": str(plain / "fold" / "model.safetensors")}
        _, result = train_first_fold(tmp_path, pretrain={"audio": skipped, "video": skipped}, fusion=whole)
        ours, theirs = predictions(tmp_path), predictions(plain)
        theirs = theirs[theirs["network"] == "fusion"].reset_index(drop=True)
        pd.testing.assert_frame_equal(ours, theirs)
        assert result.selection_accuracy == pytest.approx(FoldResult.load(plain / "fold").selection_accuracy)

    def test_published_weights(self, tmp_path):
        case = parity_case("small")
        published = weights(case["salt"], case["audio_shapes"])
        torch.save({"state_dict": published}, tmp_path / "published.pth")
        phase = {"epochs": 0, "checkpoint": str(tmp_path / "published.pth")}
        as_published = MfccSettings().model_dump(mode="json", exclude={"speeds", "shift"})
        settings = write_params(
            tmp_path,
            model={"modality": "audio", "audio_width": 32},
            train={"pretrain": {"audio": phase}, "fusion": {}, "standardize_mfcc": False},
            mfcc={**PROFILE["mfcc"], **as_published},
        )
        write_features(settings)
        fold = actor_folds(settings.params.dataset.actors, settings.params.train)[0]
        features = Features.load(settings.layout)
        result = train_fold(features, fold, settings, tmp_path / "fold", lambda name: CSVLogger(tmp_path, name))
        network, config = load_model(tmp_path / "fold" / "model.safetensors")
        torch.testing.assert_close(network.audio.conv1.weight, published["conv1.weight"])
        assert result.unknown_ancestors
        assert config["actors"]["unknown"]
        # Whoever begins with these weights inherits that nobody knows whom they have seen, and those who are known.
        kept = Ancestors()
        begin_with(network, tmp_path / "fold" / "model.safetensors", fold, kept, settings)
        assert (kept.unknown, kept.train) == (True, set(fold.train))

    @pytest.mark.parametrize(
        ("sections", "key"),
        [
            ({"mfcc": {**PROFILE["mfcc"], "n_mels": 30}}, "mfcc.n_mels 40, which is 30 here"),
            ({"train": {"standardize_mfcc": False}}, "train.standardize_mfcc True, which is False here"),
            ({"model": {"stem_relu": False}}, "model.stem_relu True, which is False here"),
        ],
    )
    def test_other_inputs_than_theirs_need_training(self, plain, tmp_path, sections, key, caplog):
        plain_phases = {"pretrain": {"audio": PHASE, "video": PHASE}, "fusion": PHASE}
        settings = write_params(tmp_path, **sections | {"train": plain_phases | sections.get("train", {})})
        fold = actor_folds(settings.params.dataset.actors, settings.params.train)[0]
        network = CFNSR.from_settings(settings.params.model, settings.params.mfcc, "both")
        path = plain / "fold" / "model.safetensors"
        with pytest.raises(InputError, match=f"was trained with {key}"):
            begin_with(network, path, fold, Ancestors(), settings, trained=False)
        assert begin_with(network, path, fold, Ancestors(), settings)
        assert f"was trained with {key}; training starts from weights that expect other inputs" in caplog.text

    def test_an_encoder_of_a_fused_network_has_nothing_to_say_alone(self, plain, tmp_path):
        begun = {"epochs": 0, "checkpoint": str(plain / "fold" / "model.safetensors")}
        settings, _ = train_first_fold(tmp_path, pretrain={"audio": begun, "video": PHASE})
        assert set(predictions(tmp_path)["network"]) == {"video", "fusion"}
        alone = {"modality": "audio"}
        settings = write_params(tmp_path, model=alone, train={"pretrain": {"audio": begun}, "fusion": PHASE})
        fold = actor_folds(settings.params.dataset.actors, settings.params.train)[0]
        with pytest.raises(InputError, match="has no classifier for this network; train one"):
            train_fold(
                Features.load(settings.layout), fold, settings, tmp_path / "b", lambda name: CSVLogger(tmp_path, name)
            )

    def test_weights_that_have_seen_the_test_actors_are_refused(self, plain, tmp_path):
        settings, _ = train_first_fold(tmp_path / "a")
        fold = actor_folds(settings.params.dataset.actors, settings.params.train)[1]
        phase = {**PHASE, "checkpoint": str(plain / "fold" / "audio.safetensors")}
        settings = write_params(tmp_path / "a", train={"pretrain": {"audio": phase, "video": PHASE}, "fusion": PHASE})
        with pytest.raises(InputError, match=r"has seen the actors 3, 4, 5, 6, who validate or test fold 1"):
            train_fold(
                Features.load(settings.layout), fold, settings, tmp_path / "b", lambda name: CSVLogger(tmp_path, name)
            )

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (None, "is missing; set the phase's checkpoint to a file that is there"),
            (b"not a file of weights", "is not a file of weights alone"),
            (CFNSR(modality="audio", audio_width=16), r"does not fit the network: audio\.\w+\.\w+ is \("),
            (CFNSR(modality="video", layers=(1, 1, 1, 1), width=8, cardinality=4), "has no encoder that a network of"),
        ],
    )
    def test_weights_that_can_not_be_used_get_a_sentence(self, tmp_path, content, sentence):
        path = tmp_path / "weights.pth"
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            path = tmp_path / "weights.safetensors"
            save_model(path, content, {})
        with pytest.raises(InputError, match=sentence):
            train_first_fold(
                tmp_path / "run", pretrain={"audio": {**PHASE, "checkpoint": str(path)}, "video": PHASE}, fusion=PHASE
            )


def test_a_fold_whose_training_lacks_an_emotion_gets_a_sentence(tmp_path):
    settings = write_params(tmp_path, train={"pretrain": {"audio": PHASE, "video": PHASE}, "fusion": PHASE})
    write_features(settings)
    manifest = pd.read_csv(settings.layout.manifest, dtype=str, keep_default_na=False)
    trains = manifest["actor"].isin(["5", "6"])
    manifest[~(trains & (manifest["emotion"] == "calm"))].to_csv(settings.layout.manifest, index=False)
    with pytest.raises(InputError, match="fold 0 has no training clip that shows calm; add actors or clips"):
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
