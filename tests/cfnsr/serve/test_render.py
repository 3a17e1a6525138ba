"""Results as HTML."""

from pathlib import Path

from cfnsr.corpus.ravdess import EMOTIONS
from cfnsr.predict import Answer, Explanation, Flag, Moment, Prediction
from cfnsr.serve import render


def answer(emotion: str) -> Answer:
    return Answer.of({name: 0.65 if name == emotion else 0.05 for name in EMOTIONS}, "audio")


def prediction(*emotions: str | None, clip: str = "talk.mp4") -> Prediction:
    moments = tuple(
        Moment(float(start), start + 3.0, answer(emotion) if emotion else None, () if emotion else (Flag.NO_FACE,))
        for start, emotion in enumerate(emotions)
    )
    return Prediction(Path(clip), moments[-1].end, answer("sad"), (Flag.NO_FACE,), moments)


def test_file_names_are_escaped():
    page = render.headline(prediction("sad", clip="<img src=x onerror=alert(1)>.mp4"))
    assert "<img" not in page
    assert "&lt;img" in page
    assert "<b>" not in render.problem("<b>.mp4 is missing")


def test_moments_without_a_prediction_leave_a_gap():
    page = render.timeline(prediction("sad", None, "happy", "happy"))
    assert page.count("<path") == len(EMOTIONS)
    assert page.count("Z") == 3 * len(EMOTIONS)  # one step for each of the three moments with a prediction
    assert "<span>no face</span>" in page
    assert page.count("<span style") == 2  # two stretches with an emotion


def test_a_clip_without_a_face_has_bars_but_no_faces():
    whole = prediction("sad")
    explanation = Explanation(whole, whole.moments[0], None, None, {"audio": answer("sad").probabilities})
    page = render.details(explanation)
    assert "<img" not in page
    assert page.count('class="bar"') == len(EMOTIONS)
    assert "width: 65.0%" in page
