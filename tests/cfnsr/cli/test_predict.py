"""`cfnsr predict` as a user types it."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.media_files import silence
from helpers.paths import PROJECT
from helpers.small_models import write_model
from helpers.talking_files import write_talk

from cfnsr.cli import main
from cfnsr.corpus.ravdess import EMOTIONS


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A model, a folder with clips good and bad, a long talk."""
    home = tmp_path_factory.mktemp("home")
    write_model(home / "model.safetensors")
    folder = home / "clips"
    (folder / "day 2").mkdir(parents=True)
    write_talk(folder / "a.mp4", 1.6)
    write_talk(folder / "day 2" / "b.WAV", 1.6, video=None, audio="pcm_s16le")
    write_talk(folder / "silent.mkv", 1.6, sound=silence(1.6))
    (folder / "empty.mp4").touch()
    (folder / "text.mov").write_text("no film")
    (folder / "notes.txt").write_text("not looked at")
    (folder / "day 2" / "talk.m3u8").write_text("#EXTM3U\n../a.mp4\n")
    (folder / ".hidden.mp4").touch()
    write_talk(home / "talk.mp4", 4.0)
    return home


@pytest.fixture
def predict(home, tmp_path, monkeypatch, capsys):
    """Run it in an empty folder; gives exit code, stdout and stderr."""

    def run(*arguments, model=home / "model.safetensors"):
        command = ["cfnsr", "predict", *map(str, arguments), "--model", str(model)]
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_clip_gives_a_table_and_a_picture(predict, home, tmp_path):
    code, text, _ = predict(home / "talk.mp4")
    assert code == 0
    for part in ("talk.mp4", "from face and voice", "│", "picture: talk.emotions.png", "not for real people"):
        assert part in text
    assert [path.name for path in tmp_path.iterdir()] == ["talk.emotions.png"]


def test_json_and_timeline(predict, home, tmp_path):
    code, text, _ = predict(home / "talk.mp4", "--json", "--timeline", "timeline.csv", "--hop", "0.5")
    assert code == 0
    answer = json.loads(text)
    assert set(answer["probabilities"]) == set(EMOTIONS)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    table = rows(tmp_path / "timeline.csv")
    assert [float(row["start"]) for row in table] == [moment["start"] for moment in answer["timeline"]]
    assert [row["emotion"] for row in table] == [moment["emotion"] for moment in answer["timeline"]]
    assert [path.name for path in tmp_path.iterdir()] == ["timeline.csv"]


def test_a_folder_never_stops_at_a_bad_file(predict, home, tmp_path):
    code, _, said = predict(home / "clips", "--out", "results.csv")
    assert code == 2
    assert "2 of 5 clips could not be processed; see the column `error` of results.csv" in said
    assert "Traceback" not in said
    others = f"{home / 'clips' / 'notes.txt'}, {home / 'clips' / 'day 2' / 'talk.m3u8'}"
    assert f"not examined, because their suffixes are not those of video or audio: {others}\n" in said
    table = {Path(row["clip"]).name: row for row in rows(tmp_path / "results.csv")}
    assert set(table) == {"a.mp4", "b.WAV", "silent.mkv", "empty.mp4", "text.mov"}
    assert {name: row["inputs"] for name, row in table.items() if row["inputs"]} == {
        "a.mp4": "both", "b.WAV": "audio", "silent.mkv": "video",
    }  # fmt: skip
    assert table["silent.mkv"]["flags"] == "silent"
    assert "is empty" in table["empty.mp4"]["error"]
    assert "damaged or not a media file" in table["text.mov"]["error"]
    assert {table[name]["emotion"] in EMOTIONS for name in ("a.mp4", "b.WAV", "silent.mkv")} == {True}


def test_control_characters_of_names_do_not_reach_the_terminal(predict, home, tmp_path):
    for name in ("\x1b[2Ja.mp4", "b\n\x9b2J.mp4", "c\x1b[2J.txt"):
        shutil.copy(home / "clips" / "empty.mp4", tmp_path / name)
    code, text, said = predict(tmp_path, tmp_path / "no\x1b[2J.mp4")
    assert code == 2
    assert r"\x1b[2Ja.mp4: " in text
    assert r"b\n\x9b2J.mp4: " in text
    assert r"no\x1b[2J.mp4: " in text
    assert r"c\x1b[2J.txt" in said
    assert set("\x1b\x9b").isdisjoint(text + said)


def test_a_target_that_is_a_folder_is_refused_before_the_work(predict, home, tmp_path):
    (tmp_path / "results").mkdir()
    code, _, said = predict(home / "clips", "--out", "results")
    assert code == 2
    assert "results is a folder; name a file to write" in said
    assert list((tmp_path / "results").iterdir()) == []


def test_names_that_are_no_text_or_very_long_have_pictures(predict, tmp_path, recwarn):
    clips = tmp_path / "clips"
    clips.mkdir()
    names = [b"odd\xff\xe9.mp4", "漢字.mp4".encode(), b"n" * 240 + b".mp4"]
    for name in names:
        write_talk(clips / "talk.mp4", 1.6).rename(os.fsdecode(os.fsencode(clips) + b"/" + name))
    assert predict(clips, "--out", "results.csv", "--picture")[0] == 0
    pictures = {os.fsencode(path.name) for path in tmp_path.glob("*.emotions.png")}
    assert pictures == {b"odd\xff\xe9.emotions.png", "漢字.emotions.png".encode(), b"n" * 200 + b".emotions.png"}
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_clips_of_the_same_name_have_a_picture_each(predict, tmp_path):
    for name in ("x/a.mp4", "y/a-2.mp4", "y/a.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_talk(tmp_path / name, 1.6)
    assert predict(tmp_path / "x", tmp_path / "y", "--out", "results.csv", "--picture")[0] == 0
    pictures = sorted(path.name for path in tmp_path.glob("*.emotions.png"))
    assert pictures == ["a-2.emotions.png", "a-3.emotions.png", "a.emotions.png"]


def test_an_explanation_is_drawn(predict, home, tmp_path):
    assert predict(home / "clips" / "a.mp4", "--explain", "--no-picture")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.explained.png"]
    code, text, _ = predict(home / "clips" / "empty.mp4", "--explain")
    assert code == 2
    assert "is empty" in text


def test_a_camera_is_answered_from_the_face(predict, home):
    code, text, _ = predict("--simulate-camera", home / "talk.mp4", "--json")
    assert code == 0
    moments = [json.loads(line) for line in text.splitlines()]
    assert [moment["start"] for moment in moments][:3] == [0.0, 1.0, 2.0]
    assert {moment["inputs"] for moment in moments} == {"video"}
    code, text, _ = predict("--simulate-camera", home / "talk.mp4")
    assert code == 0
    assert any(emotion in text for emotion in EMOTIONS)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name a video or audio file, a folder of them, or a camera"),
        (["--camera", "97"], "the camera 97 can't be opened"),
        (["talk.mp4", "--window", "0.1"], "too short to tell an emotion"),
        ([".", "--out", "r.csv"], "there is no video or audio file below"),
    ],
)
def test_what_can_not_be_done_has_a_sentence(predict, arguments, sentence):
    code, _, said = predict(*arguments)
    assert code == 2
    assert sentence in said
    assert said.count("error:") == 1


def test_a_camera_needs_a_network_that_can_do_without_sound(predict, home, tmp_path):
    model = write_model(tmp_path / "both.safetensors", inputs=("both",))
    code, _, said = predict("--simulate-camera", home / "talk.mp4", model=model)
    assert code == 2
    assert "can't predict from the face alone" in said


def test_no_bar_and_no_noise_where_output_is_read_by_programs(home, tmp_path):
    command = [sys.executable, "-m", "cfnsr.cli", "predict", home / "clips", "--json"]
    done = subprocess.run(
        [*command, "--model", home / "model.safetensors"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert [set(json.loads(line)) >= {"clip"} for line in done.stdout.splitlines()] == [True] * 5
    others, error = done.stderr.splitlines()
    assert others.startswith("not examined")
    assert error == "error: 2 of 5 clips could not be processed; see the lines above."
