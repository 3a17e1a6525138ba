"""A small set of cached features, written as the data stages write them, for tests that start at training.

Voices and faces are noise around a pattern: the sound tells which half of the emotions it is, the face which of the
four in that half, so a network that learns at all gets above chance within an epoch or two.
"""

from pathlib import Path

import cv2
import numpy as np
import yaml
from helpers.mlflow_runs import add_empty_database

from cfnsr.config.load import Settings, load_settings
from cfnsr.corpus.manifest import manifest_of, manifest_row, read_manifest, write_manifest
from cfnsr.corpus.ravdess import Take, actor_folder
from cfnsr.features.faces.store import SCHEMA as FACES_SCHEMA
from cfnsr.features.mfcc import SCHEMA as MFCC_SCHEMA
from cfnsr.features.packed import speaker_file, write_packed
from components import faces, mfcc

SIZE, FRAMES = 32, 8

_PHASE = {"epochs": 2, "batch_size": 8, "optimizer": "adamw", "lr": 0.003}
_AUDIO, _VIDEO = {**_PHASE, "augment_audio": True}, {**_PHASE, "augment_video": True}
PROFILE = {
    "dataset": {"source": "sample", "actors": [1, 2, 3, 4, 5, 6]},
    "faces": {"frames": FRAMES, "size": SIZE},
    "mfcc": {"sample_rate": 16000, "offset": 0.0, "duration": 1.1, "n_fft": 512, "hop": 256, "n_mels": 40}
    | {"speeds": [1.0, 0.9], "shift": 0.1},
    "model": {
        "layers": [1, 1, 1, 1],
        "width": 8,
        "cardinality": 4,
        "audio_width": 8,
        "transformer_layers": 1,
    },
    "train": {
        "folds": 3,
        "speakers_per_fold": 2,
        "validation_speakers": 2,
        "standardize_mfcc": True,
        "loader_workers": 0,
        "pretrain": {"audio": _AUDIO, "video": _VIDEO},
        "fusion": _AUDIO | _VIDEO,
    },
}


def write_params(root: Path, **sections: dict) -> Settings:
    """params.yaml with the small profile, whose sections' keys `sections` replace, and an empty MLflow database."""
    add_empty_database(root)
    profile = {name: {**content, **sections.get(name, {})} for name, content in PROFILE.items()}
    (root / "params.yaml").write_text(yaml.safe_dump({"profile": "small", "small": profile}))
    return load_settings(root / "params.yaml")


def write_features(settings: Settings) -> None:
    """clips.csv, faces/ and mfcc.parquet for the profile's speakers, 16 takes each."""
    layout, length = settings.layout, settings.params.mfcc.frames
    more = 2 * settings.params.mfcc.shift_frames
    layout.faces.mkdir(parents=True)
    clips, voices, faces_of = [], [], {}
    for actor in settings.params.dataset.actors:
        takes = [Take(actor, 1, emotion, 1, statement, 1) for emotion in range(1, 9) for statement in (1, 2)]
        rows = []
        for take in takes:
            rng = np.random.default_rng([actor, take.emotion, take.statement])
            half, quarter = divmod(take.emotion - 1, 4)
            views = (rng.normal(0, 1, (2, 13, length + more)) + 2 * half).astype(np.float16)
            matrix = views[0, :, more // 2 : more // 2 + length].astype(float)
            frame = rng.integers(0, 60, (FRAMES, SIZE, SIZE, 3))
            frame[:, 8 * quarter : 8 * quarter + 8] += 150
            jpegs = [cv2.imencode(".jpg", picture.astype(np.uint8))[1].tobytes() for picture in frame]
            rows.append(
                {
                    "clip_id": take.clip_id,
                    "reason": "",
                    "frames": jpegs,
                    "boxes": [[0.0, 0.0, SIZE, SIZE]] * FRAMES,
                    "flags": ["detected"] * FRAMES,
                    "times": [index / 10 for index in range(FRAMES)],
                    "width": SIZE,
                    "height": SIZE,
                }
            )
            voices.append(
                {
                    "clip_id": take.clip_id,
                    "reason": "",
                    "source": "mp4",
                    "mfcc": matrix.tolist(),
                    "views": views.tobytes(),
                }
            )
            name = f"{actor_folder(actor)}/01-{take.clip_id}.mp4"
            clips.append(
                manifest_row(
                    **{key: getattr(take, key) for key in ("clip_id", "speaker", "sex", "label")},
                    **{"has_video": True, "has_audio": True, "duration": 2.0, "video_path": name, "audio_path": name},
                    **{"video_digest": "digest", "audio_digest": "digest"},
                )
            )
        faces_of[speaker_file(layout.faces, takes[0].speaker)] = rows
    write_manifest(manifest_of(clips), layout.manifest)
    assert len(read_manifest(layout.manifest)) == len(clips)
    for path, rows in faces_of.items():
        write_packed(path, rows, FACES_SCHEMA, faces.keys(settings)[path])
    write_packed(layout.mfcc, voices, MFCC_SCHEMA, mfcc.keys(settings)[layout.mfcc])
