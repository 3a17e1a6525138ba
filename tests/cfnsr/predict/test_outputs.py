"""Predictions as terminal tables, pictures, CSV and JSON."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from cfnsr.corpus.ravdess import EMOTIONS
from cfnsr.features.faces.crop import encode_jpeg
from cfnsr.predict import Answer, Explanation, Failure, Flag, Moment, Prediction
from cfnsr.predict.answer import mean_answer
from cfnsr.predict.show.explained import draw_explanation
from cfnsr.predict.show.palette import COLOURS, clock, colour
from cfnsr.predict.show.picture import draw_prediction
from cfnsr.predict.show.tables import prediction_json, results_csv, timeline_csv
from cfnsr.predict.show.terminal import live_line, print_prediction

NOTE = "Trained on clips. Not for decisions about people."
FACE = encode_jpeg(np.full((96, 96, 3), 120, np.uint8), 80)


def answer(emotion, share=0.65, inputs="both"):
    rest = (1 - share) / 7
    return Answer.of({name: share if name == emotion else rest for name in EMOTIONS}, inputs)


def moment(start, emotion, flags=(), **more):
    values = {"track": 1, "box": (10.0, 20.0, 30.0, 40.0), "portraits": (FACE,)} | more
    return Moment(start, start + 3.0, answer(emotion) if emotion else None, flags, **values)


def prediction(*moments, clip="talk.mp4"):
    flags = tuple(flag for flag in Flag if any(flag in each.flags for each in moments))
    return Prediction(Path(clip), moments[-1].end, mean_answer(moments), flags, moments)


TALK = prediction(
    *(moment(float(start), "happy") for start in range(5)),
    moment(5.0, "sad", (Flag.SEVERAL_FACES,)),
    moment(6.0, None, (Flag.NO_FACE, Flag.SILENT), track=None, box=None, portraits=()),
    moment(7.0, "sad"),
)


def pixels(path):
    image = cv2.imread(str(path))
    assert image is not None
    return image


def has_colour(image, name):
    red, green, blue = (int(COLOURS[name][start : start + 2], 16) for start in (1, 3, 5))
    return bool((np.abs(image.astype(int) - (blue, green, red)).max(axis=2) < 8).any())


def test_every_label_has_a_colour_of_its_own():
    assert colour("happy") == COLOURS["happy"]
    assert colour("bored") == colour("bored") != colour("amused")


def test_clock():
    assert [clock(seconds) for seconds in (0, 3.46, 65.3, 59.96, 3905.2)] == [
        "0:00.0", "0:03.5", "1:05.3", "1:00.0", "1:05:05",
    ]  # fmt: skip


class TestTable:
    def test_a_clip_with_one_window(self, capsys):
        print_prediction(prediction(moment(0.0, "angry", (Flag.SEVERAL_FACES,))), note=NOTE)
        text = capsys.readouterr().out
        for part in ("talk.mp4", "angry 65%", "face and voice", "several faces", "surprised", NOTE):
            assert part in " ".join(text.split())
        assert "from" not in text.split("surprised")[0].split("\n")[-1]

    def test_successive_windows_with_the_same_prediction_are_joined(self, capsys):
        print_prediction(TALK, note=NOTE)
        rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
        assert ["happy" in row for row in rows] == [True, False, False, False]
        assert "0:00.0" in rows[0]
        assert "0:07.0" in rows[0]
        assert "several faces" in rows[1]
        assert "none" in rows[2]

    def test_control_characters_of_a_name_are_shown(self, capsys):
        print_prediction(prediction(moment(0.0, "angry"), clip="\x1b]0;x\x07.mp4"), note=NOTE)
        assert r"\x1b]0;x\x07.mp4" in capsys.readouterr().out

    def test_a_long_timeline_is_truncated(self, capsys):
        many = prediction(*(moment(float(start), EMOTIONS[start % 8]) for start in range(50)))
        print_prediction(many, note=NOTE)
        assert "20 more rows" in capsys.readouterr().out

    def test_several_faces_are_numbered(self, capsys):
        pair = (moment(0.0, "happy"), moment(0.0, "sad", track=2, followed=False), moment(1.0, "happy"))
        print_prediction(prediction(*pair), note=NOTE)
        rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
        assert [row.split("│")[3].strip() for row in rows] == ["1", "2"]

    def test_a_camera(self):
        console = Console(width=80)
        with console.capture() as captured:
            console.print(live_line(moment(2.0, "calm")))
            console.print(live_line(moment(3.0, None, (Flag.NO_FACE,))))
        assert "calm" in captured.get()
        assert "0:06.0  no face" in captured.get()


class TestPicture:
    def test_a_timeline(self, tmp_path):
        draw_prediction(TALK, tmp_path / "talk.png", note=NOTE)
        image = pixels(tmp_path / "talk.png")
        assert image.shape[1] > 1200
        assert has_colour(image, "happy")
        assert has_colour(image, "sad")

    @pytest.mark.parametrize("values", [{"portraits": (FACE,) * 6}, {"track": None, "box": None, "portraits": ()}])
    def test_one_window_with_or_without_a_face(self, tmp_path, values):
        one = prediction(moment(0.0, "angry", **values), clip="costs $5 and $6.mp4")
        draw_prediction(one, tmp_path / "one.png", note=NOTE)
        assert has_colour(pixels(tmp_path / "one.png"), "angry")

    def test_each_face_has_a_row(self, tmp_path):
        both = [
            replace(each, track=track, followed=track != 2)
            for each in TALK.moments
            for track in ((1, 2) if each.track else (None,))
        ]
        draw_prediction(TALK, tmp_path / "one.png", note=NOTE)
        draw_prediction(prediction(*both), tmp_path / "both.png", note=NOTE)
        assert len(pixels(tmp_path / "both.png")) > 1.6 * len(pixels(tmp_path / "one.png"))

    def test_an_hour(self, tmp_path):
        hour = prediction(*(moment(float(start), EMOTIONS[start // 100 % 8]) for start in range(3600)))
        draw_prediction(hour, tmp_path / "hour.png", note=NOTE)
        assert all(has_colour(pixels(tmp_path / "hour.png"), name) for name in EMOTIONS)

    @pytest.mark.parametrize("attention", [np.full((2, 3, 3), 1 / 9, np.float32), None])
    @pytest.mark.parametrize("frames", [np.zeros((8, 48, 48, 3), np.uint8), None])
    def test_an_explanation(self, tmp_path, frames, attention):
        contributions = {kind: answer("happy", inputs=kind).probabilities for kind in ("both", "audio", "video")}
        explanation = Explanation(TALK, TALK.moments[0], frames, None if frames is None else attention, contributions)
        draw_explanation(explanation, tmp_path / "why.png", note=NOTE)
        assert has_colour(pixels(tmp_path / "why.png"), "happy")


class TestFiles:
    def test_timeline(self, tmp_path):
        with timeline_csv(tmp_path / "t.csv", EMOTIONS) as write:
            write(TALK)
            write(replace(TALK, clip=Path("other.mp4")))
        with (tmp_path / "t.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 16
        assert rows[5]["flags"] == "several faces"
        assert [rows[5][name] for name in ("start", "end", "emotion", "inputs")] == ["5.0", "8.0", "sad", "both"]
        assert float(rows[5]["confidence"]) == float(rows[5]["sad"]) == pytest.approx(0.65)
        assert [rows[5][side] for side in ("x", "y", "width", "height")] == ["10.0", "20.0", "30.0", "40.0"]
        assert {rows[6][column] for column in ("emotion", "confidence", "track", "x", "happy")} == {""}
        assert rows[15]["clip"] == "other.mp4"

    def test_results(self, tmp_path):
        with results_csv(tmp_path / "r.csv", EMOTIONS) as write:
            write(TALK)
            write(Failure(Path("bad, bad.mp4"), "it is empty"))
        with (tmp_path / "r.csv").open(newline="") as file:
            good, bad = csv.DictReader(file)
        assert (good["emotion"], good["duration"], good["error"]) == ("happy", "10.0", "")
        assert good["flags"] == "no face; several faces; silent"
        assert (bad["clip"], bad["error"], bad["emotion"]) == ("bad, bad.mp4", "it is empty", "")

    def test_names_are_no_formulas_and_no_control_characters(self, tmp_path):
        with results_csv(tmp_path / "r.csv", EMOTIONS) as write:
            write(replace(TALK, clip=Path("=1+1.mp4")))
            write(Failure(Path("\x1b[2J;-2.mp4"), "@SUM(A1) is empty"))
        text = (tmp_path / "r.csv").read_text()
        rows = list(csv.DictReader(text.splitlines()))
        assert [row["clip"] for row in rows] == ["'=1+1.mp4", r"\x1b[2J;'-2.mp4"]
        assert rows[1]["error"] == "'@SUM(A1) is empty"
        with timeline_csv(tmp_path / "t.csv", EMOTIONS) as write:
            write(replace(TALK, clip=Path("=1+1.mp4")))
        assert "\n'=1+1.mp4,0.0,3.0,happy," in (tmp_path / "t.csv").read_text()

    def test_an_interrupted_run_keeps_its_rows(self, tmp_path, capsys):
        def run():
            with results_csv(tmp_path / "r.csv", EMOTIONS) as write:
                write(TALK)
                assert "happy" in (tmp_path / "r.csv.part").read_text()  # at once, in case the process is killed
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run()
        assert [path.name for path in tmp_path.iterdir()] == ["r.csv.part"]
        assert f"{tmp_path}/r.csv.part" in capsys.readouterr().err
        kept = (tmp_path / "r.csv.part").read_text()
        with results_csv(tmp_path / "r.csv", EMOTIONS) as write:
            write(TALK)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["r.csv", "r.csv.part-1"]
        assert (tmp_path / "r.csv.part-1").read_text() == kept
        assert f"{tmp_path}/r.csv.part-1" in capsys.readouterr().err

    def test_json(self):
        content = json.loads(json.dumps(prediction_json(TALK)))
        assert content["emotion"] == "happy"
        assert set(content["probabilities"]) == set(EMOTIONS)
        assert content["timeline"][6] == {
            "start": 6.0, "end": 9.0, "emotion": None, "flags": ["no face", "silent"], "track": None, "box": None,
        }  # fmt: skip
        assert prediction_json(Failure(Path("a.mp4"), "it is empty")) == {"clip": "a.mp4", "error": "it is empty"}
