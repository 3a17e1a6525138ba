import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.landmark_files import write_landmarks
from helpers.media_files import chirp, cut, silence, write_media

from cfnsr.config.corpus import EMOTIONS, DatasetSettings
from cfnsr.corpus.manifest import COLUMNS, NOT_SELECTED, dataset_digest, faults, read_manifest, write_manifest
from cfnsr.corpus.ravdess_manifest import ravdess_manifest
from cfnsr.errors import InputError
from cfnsr.files import file_digest

SPEECH = DatasetSettings(source="sample")


def name(modality, emotion=1, repetition=1, speaker=1, suffix=".mp4", vocal=1):
    return f"{modality:02d}-{vocal:02d}-{emotion:02d}-01-01-{repetition:02d}-{speaker:02d}{suffix}"


def clip_id(emotion=1, repetition=1, speaker=1, vocal=1):
    return name(1, emotion, repetition, speaker, suffix="", vocal=vocal)[3:]


def sound(path, seconds=1.0):
    return write_media(path, chirp(seconds))


def clip(path, seconds=1.0):
    return write_media(path, chirp(seconds), picture=seconds)


def mute_clip(path):
    return write_media(path, picture=1)


def rows_of(manifest, **values):
    for column, value in values.items():
        manifest = manifest[manifest[column] == value]
    return manifest.to_dict("records")


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A folder with every kind of take and of fault; each emotion or repetition is one case."""
    raw = tmp_path_factory.mktemp("raw")
    one, two = raw / "Actor_01", raw / "Actor_02"
    # speaker 1: sound takes
    clip(one / name(1, emotion=1), seconds=1.2)
    write_media(one / name(2, emotion=1), silence(1.2), picture=1.2)
    sound(one / name(3, emotion=1, suffix=".wav"))
    write_landmarks(one / name(1, emotion=1, suffix=".csv"), [(160, 120)], [1])
    sound(one / name(3, emotion=2, suffix=".flac"))
    write_media(one / name(2, emotion=3), silence(1), picture=1)
    mute_clip(one / name(1, emotion=4))
    sound(one / name(3, emotion=4, suffix=".wav"))
    clip(one / name(1, emotion=5)).rename(one / name(1, emotion=5, suffix=".MP4"))
    # speaker 2: trouble
    mute_clip(two / name(1, emotion=1, speaker=2))
    (two / name(1, emotion=2, speaker=2)).touch()
    (two / name(1, emotion=3, speaker=2)).write_text("the clip will be here soon\n" * 99)
    cut(clip(two / name(1, emotion=4, speaker=2)), 0.6)
    (two / name(1, emotion=6, speaker=2)).symlink_to("nowhere.mp4")
    cut(sound(two / name(3, emotion=7, speaker=2, suffix=".wav")), 0.5)
    cut(clip(two / name(1, emotion=8, speaker=2)), 0.6)
    write_media(two / name(2, emotion=8, speaker=2), picture=1)
    sound(two / name(3, emotion=8, speaker=2, suffix=".flac"))
    sound(two / name(3, emotion=3, repetition=2, speaker=2, suffix=".flac"))
    (two / name(1, emotion=3, repetition=2, speaker=2, suffix=".csv")).write_text("a,b\n1,2\n")
    # duplicates: a whole one, and one whose first file is broken
    sound(raw / "copy" / name(3, emotion=2, suffix=".flac"))
    sound(one / name(3, emotion=2, suffix=".wav"))
    sound(two / name(3, emotion=1, repetition=2, speaker=2, suffix=".wav"))
    cut(sound(raw / "Actor_02" / "again" / name(3, emotion=1, repetition=2, speaker=2, suffix=".wav")), 0.5)
    (two / name(3, emotion=1, repetition=2, speaker=2, suffix=".flac")).touch()
    # names
    clip(raw / "holiday.mp4")
    sound(raw / "01-01-09-01-01-01-01.wav")
    sound(one / name(1, emotion=6, suffix=".wav"))
    (one / name(1, emotion=6, suffix=".avi")).touch()
    sound(one / name(3, vocal=2, suffix=".wav"))
    # not media
    (raw / "README.md").write_text("read me")
    (one / ".hidden.mp4").touch()
    (raw / "__MACOSX").mkdir()
    (raw / "__MACOSX" / f"._{name(1)}").touch()
    (one / name(1, emotion=7, suffix=".mp4.part")).touch()
    (raw / ".cache").mkdir()
    (raw / ".cache" / name(1, emotion=7)).touch()
    return raw


@pytest.fixture(scope="module")
def manifest(raw):
    return ravdess_manifest(raw, SPEECH, 2)


def take(manifest, **fields):
    """The one usable row of a take."""
    rows = rows_of(manifest, clip_id=clip_id(**fields), reason="")
    assert len(rows) == 1
    return rows[0]


class TestTakes:
    def test_the_files_of_a_take_are_one_row(self, raw, manifest):
        row = take(manifest, emotion=1)
        video, landmarks = f"Actor_01/{name(1)}", f"Actor_01/{name(1, suffix='.csv')}"
        digest = file_digest(raw / video)
        assert np.isnan([row.pop("start"), row.pop("end")]).all()
        assert row == {
            "clip_id": "01-01-01-01-01-01",
            "speaker": "01",
            "sex": "male",
            "group": "normal",
            "language": "English",
            "split": "",
            "label": "neutral",
            "has_video": True,
            "has_audio": True,
            "duration": pytest.approx(1.2, abs=0.01),
            "video_path": video,
            "audio_path": video,
            "landmarks_path": landmarks,
            "video_digest": digest,
            "audio_digest": digest,
            "landmarks_digest": file_digest(raw / landmarks),
            "video_reason": "",
            "audio_reason": "",
            "reason": "",
        }

    def test_the_silence_of_a_video_only_file_is_not_used(self, manifest):
        row = take(manifest, emotion=3)
        assert (row["has_video"], row["has_audio"], row["audio_path"]) == (True, False, "")
        assert row["audio_reason"] == ""

    def test_a_mute_clip_gets_the_sound_of_the_audio_file(self, manifest):
        row = take(manifest, emotion=4)
        assert row["video_path"] == f"Actor_01/{name(1, emotion=4)}"
        assert row["audio_path"] == f"Actor_01/{name(3, emotion=4, suffix='.wav')}"
        assert row["audio_reason"] == ""

    def test_capital_letters_in_the_suffix(self, manifest):
        assert take(manifest, emotion=5)["audio_path"] == f"Actor_01/{name(1, emotion=5, suffix='.MP4')}"

    def test_a_mute_clip_alone_is_video_and_a_fault(self, manifest):
        row = take(manifest, emotion=1, speaker=2)
        assert (row["has_video"], row["has_audio"]) == (True, False)
        assert faults(manifest)[clip_id(speaker=2)] == row["audio_reason"] == f"{name(1, speaker=2)} has no audio track"

    def test_a_broken_clip_is_replaced_by_what_else_the_take_has(self, manifest):
        row = take(manifest, emotion=8, speaker=2)
        assert (row["has_video"], row["has_audio"]) == (True, True)
        assert row["video_path"] == f"Actor_02/{name(2, emotion=8, speaker=2)}"
        broken = rows_of(manifest, video_path=f"Actor_02/{name(1, emotion=8, speaker=2)}")
        assert [("cut off" in row["reason"], row["has_video"]) for row in broken] == [(True, False)]

    def test_a_bad_landmark_table_does_not_exclude_its_take(self, manifest):
        assert take(manifest, emotion=3, repetition=2, speaker=2)["landmarks_path"] == ""
        path = f"Actor_02/{name(1, emotion=3, repetition=2, speaker=2, suffix='.csv')}"
        (row,) = rows_of(manifest, landmarks_path=path)
        assert "not a landmark table" in row["reason"]


class TestExcluded:
    @pytest.mark.parametrize(
        ("emotion", "reason"),
        [
            (2, "is empty (zero bytes)"),
            (3, "damaged or not a media file"),
            (4, "is cut off"),
            (6, "can't be read"),
            (7, "is cut off"),
        ],
    )
    def test_a_broken_take_is_a_row_with_its_reason(self, manifest, emotion, reason):
        (row,) = rows_of(manifest, clip_id=clip_id(emotion, speaker=2))
        modality, suffix = (3, ".wav") if emotion == 7 else (1, ".mp4")
        assert reason in row["reason"]
        assert name(modality, emotion, speaker=2, suffix=suffix) in row["reason"]
        assert (row["has_video"], row["has_audio"], row["label"]) == (False, False, EMOTIONS[emotion - 1])

    def test_a_duplicate_names_the_file_that_is_used(self, manifest):
        used = f"Actor_01/{name(3, emotion=2, suffix='.flac')}"
        copies = [f"copy/{name(3, emotion=2, suffix='.flac')}", f"Actor_01/{name(3, emotion=2, suffix='.wav')}"]
        for path in copies:
            (row,) = rows_of(manifest, audio_path=path)
            assert (row["reason"], row["clip_id"]) == (f"duplicate of {used}", clip_id(emotion=2))

    def test_the_intact_one_of_several_duplicates_is_used(self, manifest):
        row = take(manifest, emotion=1, repetition=2, speaker=2)
        assert row["audio_path"] == f"Actor_02/{name(3, emotion=1, repetition=2, speaker=2, suffix='.wav')}"
        others = manifest[(manifest["clip_id"] == row["clip_id"]) & (manifest["reason"] != "")]
        assert sorted(others["reason"].str.contains("cut off")) == [False, True]
        assert sorted(others["reason"].str.contains("zero bytes")) == [False, True]

    @pytest.mark.parametrize(
        ("column", "path", "reason"),
        [
            ("video_path", "holiday.mp4", "'holiday' is not a RAVDESS name"),
            ("audio_path", "01-01-09-01-01-01-01.wav", "has emotion 09, which must be 01 to 08"),
            ("audio_path", f"Actor_01/{name(1, emotion=6, suffix='.wav')}", "a file of modality 01 must be .mp4"),
            ("video_path", f"Actor_01/{name(1, emotion=6, suffix='.avi')}", "a file of modality 01 must be .mp4"),
        ],
    )
    def test_a_wrong_name(self, manifest, column, path, reason):
        (row,) = rows_of(manifest, **{column: path})
        assert reason in row["reason"]
        assert (row["clip_id"], row["speaker"], row["label"], row["has_video"], row["has_audio"]) == (
            "",
            "",
            "",
            False,
            False,
        )

    def test_a_song(self, manifest):
        (row,) = rows_of(manifest, reason=f"{NOT_SELECTED}song")
        assert row["video_path"] not in faults(manifest)
        assert row["audio_path"] == f"Actor_01/{name(3, vocal=2, suffix='.wav')}"


def test_songs_and_some_labels_can_be_selected(raw):
    choice = DatasetSettings(
        source="local", path="clips", vocal="both", labels={"low": ["neutral", "calm"], "sad": "sad"}
    )
    manifest = ravdess_manifest(raw, choice, 2)
    usable = manifest[manifest["reason"] == ""]
    assert set(usable["label"]) == {"low", "sad"}
    assert clip_id(vocal=2) in set(usable["clip_id"])
    assert "not selected: label happy" in set(manifest["reason"])


def test_no_media_file_is_silently_dropped(raw, manifest):
    everything = manifest.to_csv()
    unseen = {"README.md", ".hidden.mp4", f"._{name(1)}", name(1, emotion=7), name(1, emotion=7, suffix=".mp4.part")}
    stand_by = {name(2, emotion=1), name(3, emotion=1, suffix=".wav")}  # of a take whose 01 file has it all
    missed = {path.name for path in raw.rglob("*") if not path.is_dir() and path.name not in everything}
    assert missed == unseen | stand_by


def test_reading_gives_back_what_was_written(manifest, tmp_path):
    write_manifest(manifest, tmp_path / "clips.csv")
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "clips.csv"), manifest)


def test_the_same_folder_gives_the_same_bytes(raw, manifest, tmp_path):
    write_manifest(manifest, tmp_path / "a.csv")
    write_manifest(ravdess_manifest(raw, SPEECH, 1), tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


class TestDigest:
    def test_order_and_excluded_files_do_not_matter(self, manifest):
        digest = dataset_digest(manifest)
        assert dataset_digest(manifest.sample(frac=1, random_state=0)) == digest
        assert dataset_digest(manifest[manifest["reason"] == ""]) == digest

    def test_content_matters(self, manifest):
        other = manifest.copy()
        other.loc[other["reason"] == "", "audio_digest"] = "0" * 32
        assert dataset_digest(other) != dataset_digest(manifest)
        assert dataset_digest(manifest[manifest["clip_id"] != clip_id(emotion=2)]) != dataset_digest(manifest)


class TestFolders:
    def test_missing(self, tmp_path):
        with pytest.raises(InputError, match="is not a folder: run `dvc repro`"):
            ravdess_manifest(tmp_path / "raw", SPEECH, 1)

    def test_without_media(self, tmp_path):
        (tmp_path / "README.txt").write_text("nothing yet")
        with pytest.raises(InputError, match=r"holds no \.mp4, \.wav or \.flac file"):
            ravdess_manifest(tmp_path, SPEECH, 1)

    def test_links_are_followed_once(self, tmp_path):
        sound(tmp_path / "elsewhere" / name(3, suffix=".wav"))
        raw = tmp_path / "raw"
        raw.mkdir()
        (raw / "Actor_01").symlink_to(tmp_path / "elsewhere")
        (raw / "Actor_02").symlink_to(raw)
        manifest = ravdess_manifest(raw, SPEECH, 1)
        assert manifest["audio_path"].tolist() == [f"Actor_01/{name(3, suffix='.wav')}"]
        assert manifest["reason"].tolist() == [""]

    def test_a_name_in_another_encoding(self, tmp_path):
        path = sound(tmp_path / name(3, suffix=".wav"))
        folder = os.fsdecode(os.fsencode(tmp_path / "Grüße").replace("ü".encode(), b"\xfc"))
        Path(folder).mkdir()
        shutil.move(path, folder)
        manifest = ravdess_manifest(tmp_path, SPEECH, 1)
        write_manifest(manifest, tmp_path / "clips.csv")
        assert "not valid UTF-8" in manifest["reason"].item()

    def test_hostile_names(self, tmp_path):
        sound(tmp_path / "=1+1.wav")
        sound(tmp_path / "\x1b[2J" / name(3, suffix=".wav"))
        manifest = ravdess_manifest(tmp_path, SPEECH, 1)
        assert manifest["audio_path"].tolist() == ["'=1+1.wav", rf"\x1b[2J/{name(3, suffix='.wav')}"]
        assert "control characters" in manifest["reason"][1]


class TestReading:
    def test_missing(self, tmp_path):
        with pytest.raises(InputError, match="is missing: run `dvc repro manifest`"):
            read_manifest(tmp_path / "clips.csv")

    @pytest.mark.parametrize("text", ["", "clip_id,speaker\n01,1\n", f"{','.join(COLUMNS)}\n,one{',' * 19}\n"])
    def test_another_table(self, tmp_path, text):
        (tmp_path / "clips.csv").write_text(text)
        with pytest.raises(InputError, match="manifest --force"):
            read_manifest(tmp_path / "clips.csv")
