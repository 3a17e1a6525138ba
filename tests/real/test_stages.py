"""The data stages on a slice of real RAVDESS: the steps one after the other, as `dvc repro` runs them."""

import io

import pytest
import yaml
from helpers.real_ravdess import PROJECT, RAVDESS, needs_ravdess
from PIL import Image

from cfnsr.config.load import load_settings
from cfnsr.corpus.manifest import read_manifest
from cfnsr.errors import InputError
from cfnsr.features.cached import Features
from cfnsr.features.faces.store import read_faces
from components.download import download
from components.faces import faces
from components.manifest import manifest
from components.mfcc import mfcc
from components.run import Run

pytestmark = needs_ravdess

VIDEOS = {"01-01-01-01-01-01", "01-01-01-02-01-01", "01-04-01-02-01-01", "01-08-01-01-02-01"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """The ravdess profile with a local folder, speakers 1 and 2."""
    root = tmp_path_factory.mktemp("project")
    content = yaml.safe_load((PROJECT / "params.yaml").read_text())
    content["profile"] = "ravdess"
    content["ravdess"]["dataset"] |= {"source": "local", "path": str(RAVDESS), "actors": [1, 2]}
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    settings = load_settings(root / "params.yaml")
    for step in (download, manifest, faces, mfcc):
        step(settings)
    return settings


def test_every_take_is_in_the_manifest_and_usable(settings):
    table = read_manifest(settings.layout.manifest)
    assert len(table) == 2 * 60
    assert (table["reason"] == "").all()
    assert set(table[table["has_video"]]["clip_id"]) == VIDEOS


def test_features_are_those_of_the_paper(settings):
    features = Features.load(settings)
    assert {mfcc.shape for mfcc in features.mfcc.values()} == {(13, 212)}
    assert len(features.mfcc) == 120
    assert set(features.having("both")["clip_id"]) == VIDEOS
    assert features.excluded == {}
    for clip in VIDEOS:
        faces = read_faces(settings.layout.faces, clip[-2:], clip)
        assert faces.frames.shape == (30, 224, 224, 3)
        assert (faces.width, faces.height) == (1280, 720)
        assert "not found" not in faces.flags


def test_the_crops_are_jpeg_of_quality_95(settings):
    import pyarrow.parquet as pq

    crop = pq.ParquetFile(settings.layout.faces / "01.parquet").read_row_group(0)["frames"][0][0].as_py()
    picture = Image.open(io.BytesIO(crop))
    assert picture.format == "JPEG"
    assert picture.quantization[0][0] == 2  # 16 at quality 50, scaled by (200 - 2 * 95) / 100 and rounded


def test_training_without_enough_video_says_so(settings):
    with pytest.raises(InputError, match="need 24 speakers, but only 1 have usable clips"):
        Run.open(settings)
