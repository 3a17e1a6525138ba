"""Steps train, evaluate, register and results on a small set of features: one real run serves most tests."""

import json
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from helpers.feature_files import write_features, write_params
from helpers.mlflow_runs import client, runs

from cfnsr.config.load import Settings, load_settings
from cfnsr.corpus.ravdess import EMOTIONS
from cfnsr.errors import InputError
from cfnsr.evaluation.report import read_table
from components.evaluate import evaluate
from components.register import register
from components.results import results
from components.run import Run
from components.train import exclusive, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Settings:
    """A profile trained, evaluated and registered, in a project folder of its own."""
    root = tmp_path_factory.mktemp("project")
    settings = write_params(root)
    write_features(settings)
    train(Run.open(settings))
    evaluate(Run.open(settings))
    register(Run.open(settings))
    return settings


def test_every_test_clip_is_predicted_once_by_a_network_that_never_saw_its_speaker(trained):
    seen = []
    for index in range(3):
        folder = trained.layout.run / f"fold-{index}"
        fold = json.loads((folder / "fold.json").read_text())
        predictions = read_table(folder / "predictions.csv")
        assert set(predictions["speaker"]) == set(fold["test"])
        assert not set(fold["test"]) & {*fold["train"], *fold["validation"]}
        assert predictions[list(EMOTIONS)].sum(axis=1).between(0.999, 1.001).all()
        seen += zip(predictions["clip_id"], predictions["network"], strict=True)
        results_of_fold = {"fold.json", "history.csv", "predictions.csv"}
        weights = {f"{name}.safetensors" for name in ("model", "audio", "video")}
        assert {path.name for path in folder.iterdir()} == results_of_fold | weights
    assert len(seen) == len(set(seen)) == 6 * 16 * 3
    assert {network for _, network in seen} == {"fusion", "audio", "video"}


def test_the_epoch_is_the_one_with_the_best_validation_score(trained):
    history = pd.read_csv(trained.layout.run / "fold-0" / "history.csv")
    fusion = history[history["phase"] == "fusion"]
    fold = json.loads((trained.layout.run / "fold-0" / "fold.json").read_text())
    assert list(history["phase"].unique()) == ["audio", "video", "fusion"]
    assert fold["selection_score"] == pytest.approx(fusion["validation/smoothed"].max())
    assert fusion["validation/smoothed"].iloc[fold["epoch"]] == pytest.approx(fold["selection_score"])
    assert fusion["validation/smoothed"].tolist() == pytest.approx(fusion["validation/accuracy"].tolist())


def test_the_metrics_file_says_what_it_measured(trained):
    content = json.loads(trained.layout.metrics.read_text())
    assert content["corpus"] == "synthetic sample corpus"
    assert content["protocol"] == "honest"
    assert content["clips"] == 96
    assert sum(sum(row) for row in content["confusion"]) == 96
    low, high = content["interval"]["accuracy"]
    assert low <= content["pooled"]["accuracy"] <= high
    assert set(content["groups"]["sex"]) == {"female", "male"}
    assert len(content["speakers"]) == 6
    assert content["network"] == "fusion"
    assert {name: figures["clips"] for name, figures in content["encoders"].items()} == {"audio": 96, "video": 96}


def test_mlflow_has_a_parent_run_and_a_child_for_each_fold(trained):
    parent, children = runs(trained)
    assert {run.info.run_name for run in children} == {"fold-0", "fold-1", "fold-2"}
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in children)
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"}
    assert parent.data.params["train.fusion.lr"] == "0.003"
    assert parent.data.tags["corpus"] == "synthetic sample corpus"
    assert len(parent.data.tags["dataset_digest"]) == 64
    assert parent.data.metrics["param_count"] == json.loads(trained.layout.metrics.read_text())["parameters"]
    artifacts = {item.path for item in client(trained).list_artifacts(parent.info.run_id)}
    assert {"environment.txt", "small.json", "plots"} <= artifacts
    epochs = client(trained).get_metric_history(children[0].info.run_id, "fusion-validation/accuracy")
    assert len(epochs) == 2


def test_the_version_is_described_and_has_the_alias(trained):
    version = client(trained).get_model_version_by_alias("cfn-sr", "challenger")
    assert version.tags["corpus"] == "synthetic sample corpus"
    assert version.tags["parameters"].isdigit()
    assert "synthetic sample corpus" in version.description
    scores = [
        json.loads((trained.layout.run / f"fold-{index}" / "fold.json").read_text())["selection_score"]
        for index in range(3)
    ]
    assert scores[int(version.tags["fold"])] == max(scores)


def test_the_version_has_a_model_card_with_the_figures_of_the_run(trained):
    version = client(trained).get_model_version_by_alias("cfn-sr", "challenger")
    folder = mlflow.artifacts.download_artifacts(
        run_id=version.run_id, artifact_path="model_card.md", tracking_uri=client(trained).tracking_uri
    )
    card = Path(folder).read_text()
    content = json.loads(trained.layout.metrics.read_text())
    assert card.startswith("# CFN-SR, trained on the synthetic sample corpus")
    assert f"| all inputs | {content['pooled']['accuracy']:.1%} |" in card
    for name, group in content["groups"]["sex"].items():
        assert f"| sex {name} | 3 | {group['accuracy']:.1%} |" in card
    assert "Not for decisions about people" in card
    assert version.tags["dataset_digest"] in card


def test_results_say_where_everything_is(trained, capsys):
    results(trained)
    shown = capsys.readouterr().out
    for part in ("synthetic sample corpus", "cfn-sr version 1", "metrics/small.json", "mlflow ui"):
        assert part in shown


def test_an_interrupted_registration_is_completed(trained):
    mlflow_client, run = client(trained), Run.open(trained)
    mlflow_client.delete_model_version_tag("cfn-sr", "1", "registration")
    mlflow_client.delete_registered_model_alias("cfn-sr", "challenger")
    assert register(run) == register(run) == 1
    assert mlflow_client.get_model_version_by_alias("cfn-sr", "challenger").tags["registration"] == "complete"


def test_figures_of_another_run_are_neither_shown_nor_registered(trained):
    kept = trained.layout.metrics.read_text()
    trained.layout.metrics.write_text(json.dumps({**json.loads(kept), "run": "another"}))
    for step in (results, lambda settings: register(Run.open(settings))):
        with pytest.raises(InputError, match=r"components\.evaluate"):
            step(trained)
    trained.layout.metrics.write_text(kept)


def test_two_processes_do_not_train_the_same_profile_at_once(trained):
    with exclusive(trained), pytest.raises(InputError, match="another process is training the profile small"):
        train(Run.open(trained))


ONE_EPOCH = {"epochs": 1, "batch_size": 8, "lr": 0.003}
TWO_EPOCHS = {**ONE_EPOCH, "epochs": 2}
SHORT = {"folds": 1, "pretrain": {"audio": ONE_EPOCH, "video": ONE_EPOCH}, "fusion": ONE_EPOCH}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "train_settings", "networks"),
    [
        ({"modality": "video"}, {"tuned": True}, {"video"}),
        ({"fusion": "average"}, {"loader_workers": 2}, {"audio", "video", "fusion"}),
        ({"fusion": "concat"}, {"standardize_mfcc": False}, {"audio", "video", "fusion"}),
        ({"stem_relu": False}, {"pretrain": {"audio": {"epochs": 0}, "video": {"epochs": 0}}}, {"fusion"}),
    ],
)
def test_every_way_of_training_ends_with_figures(tmp_path, model, train_settings, networks):
    settings = write_params(tmp_path, model=model, train={**SHORT, **train_settings})
    write_features(settings)
    train(Run.open(settings))
    content = evaluate(Run.open(settings))
    assert {content["network"], *content["encoders"]} == networks
    assert content["clips"] == 2 * 16
    assert ("settings searched on validation speakers" in content["claim"]) == settings.params.train.tuned
    predictions = pd.read_csv(settings.layout.run / "fold-0" / "predictions.csv")
    assert set(predictions["network"]) == networks
    # dvc.yaml names the columns of all phases, and DVC draws nothing where one is missing.
    assert list(pd.read_csv(settings.layout.plots / "curves.csv")) == ["epoch", "audio", "video", "fusion"]


@pytest.mark.slow
def test_published_figures_are_called_what_they_are(tmp_path):
    settings = write_params(
        tmp_path, train={**SHORT, "fusion": TWO_EPOCHS, "protocol": "published", "smooth_epochs": 3}
    )
    with pytest.raises(InputError, match="dvc repro"):
        Run.open(settings)
    write_features(settings)
    for step in (evaluate, register):
        with pytest.raises(InputError, match=r"fold-0 .*components\.train"):
            step(Run.open(settings))
    train(Run.open(settings))
    content = evaluate(Run.open(settings))
    fold = json.loads((settings.layout.run / "fold-0" / "fold.json").read_text())
    assert fold["validation"] == []
    history = pd.read_csv(settings.layout.run / "fold-0" / "history.csv")
    assert history["validation/smoothed"].tolist() == pytest.approx(history["validation/accuracy"].tolist())
    assert content["claim"].startswith("best test epoch")
    # The epoch was chosen on the test speakers, so its selection accuracy is the test accuracy.
    assert content["pooled"]["accuracy"] == pytest.approx(fold["selection_score"])
    register(Run.open(settings))
    version = client(settings).get_model_version_by_alias("cfn-sr", "challenger")
    assert "best test epoch" in version.description
    assert "validation" not in version.description


def test_a_run_with_other_settings_is_kept_aside(tmp_path, capsys):
    settings = write_params(tmp_path, train=SHORT, model={"modality": "audio"})
    write_features(settings)
    train(Run.open(settings))
    weights = (settings.layout.run / "fold-0" / "model.safetensors").read_bytes()
    slower = write_params(tmp_path, train={**SHORT, "loader_workers": 1}, model={"modality": "audio"})
    train(Run.open(slower))  # decides about speed only: the same run
    assert "kept in" not in capsys.readouterr().out
    other = write_params(tmp_path, train={**SHORT, "seed": 1}, model={"modality": "audio"})
    train(Run.open(other))
    assert "the earlier run is kept in" in capsys.readouterr().out
    (aside,) = settings.layout.run.parent.glob("small.*[!k]")
    assert (aside / "fold-0" / "model.safetensors").read_bytes() == weights


def test_mlflow_runs_that_are_gone_are_made_anew(tmp_path):
    """Somebody deleted them in the UI; the finished fold is not lost."""
    settings = write_params(tmp_path, train=SHORT, model={"modality": "audio"})
    write_features(settings)
    train(Run.open(settings))
    finished = (settings.layout.run / "fold-0" / "fold.json").stat().st_mtime_ns
    old, old_children = runs(settings)
    for run in [old, *old_children]:
        client(settings).delete_run(run.info.run_id)
    train(Run.open(settings))
    evaluate(Run.open(settings))
    assert (settings.layout.run / "fold-0" / "fold.json").stat().st_mtime_ns == finished
    parent, children = runs(settings)
    assert parent.data.tags["corpus"] == "synthetic sample corpus"
    assert len(children) == 1


def test_a_failed_training_is_marked_as_failed(tmp_path):
    phase = {"epochs": 1, "batch_size": 8, "lr": 1e30}
    settings = write_params(tmp_path, train={"pretrain": {"audio": phase, "video": phase}, "fusion": phase})
    write_features(settings)
    with pytest.raises(InputError, match=r"training loss became (nan|inf)"):
        train(Run.open(settings))
    parent, children = runs(settings)
    assert {run.info.status for run in [parent, *children]} == {"FAILED"}
    assert len(children) == 3  # one fold's failure does not keep the others from being trained


@pytest.mark.parametrize("step", [evaluate, register])
def test_nothing_is_reported_of_a_run_with_other_settings(trained, step):
    changed = load_settings(trained.params_file, trained.profile, {"train.seed": 7})
    with pytest.raises(InputError, match="trained with other settings, data or code"):
        step(Run.open(changed))
    assert json.loads(trained.layout.metrics.read_text())["seed"] == 0
