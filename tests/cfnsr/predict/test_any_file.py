"""Whatever a user may name: containers, codecs, phones' videos, broken files, files without a person or a sound."""

import numpy as np
import pytest
from helpers.media_files import chirp, cut, silence
from helpers.permissions import permissions_count
from helpers.small_models import write_model
from helpers.talking_files import CENTRE, people, promise, write_talk
from helpers.video_files import draw_face

from cfnsr.errors import ClipError
from cfnsr.media.audio import read_audio
from cfnsr.media.video import read_frames
from cfnsr.predict import Failure, Flag, Options, Predictor, windows

SECONDS = 1.6  # one answer of the small network


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    with Predictor.from_pretrained(write_model(tmp_path_factory.mktemp("model") / "model.safetensors")) as predictor:
        yield predictor


def centre(moment):
    x, y, width, height = moment.box
    return x + width / 2, y + height / 2


@pytest.mark.parametrize(
    ("name", "video", "audio", "more"),
    [
        ("Mein Gespräch um 12:30 über 感情.mp4", "libx264", "aac", {}),
        ("talk.mp4", "libsvtav1", "aac", {"layout": "stereo"}),
        ("talk.mov", "prores_ks", "pcm_s24le", {"pix_fmt": "yuv422p10le"}),
        ("talk.mkv", "libx265", "flac", {"pix_fmt": "yuv420p10le"}),
        ("talk.webm", "libvpx-vp9", "libopus", {}),
        ("talk.avi", "mpeg4", "libmp3lame", {}),
        ("talk.mpg", "mpeg2video", "mp2", {}),
        ("talk.flv", "flv", "libmp3lame", {"rate": 44100}),
        ("talk.wmv", "wmv2", "wmav2", {}),
    ],
)
def test_any_container_and_codec(predictor, tmp_path, name, video, audio, more):
    stereo = np.repeat(chirp(SECONDS, more.get("rate", 48000)), 2, axis=0) if "layout" in more else None
    clip = write_talk(tmp_path / name, SECONDS, sound=stereo, video=video, audio=audio, **more)
    prediction = predictor(clip)
    assert prediction.answer.inputs == "both"
    assert prediction.flags == ()
    assert prediction.duration == pytest.approx(SECONDS, abs=0.15)
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    (moment,) = prediction.moments
    assert centre(moment) == pytest.approx(CENTRE, abs=15)


@pytest.mark.parametrize(("name", "codec"), [("voice.wav", "pcm_s16le"), ("voice.mp3", "libmp3lame")])
def test_a_sound_file_is_answered_from_the_voice(predictor, tmp_path, name, codec):
    clip = write_talk(tmp_path / name, SECONDS, video=None, audio=codec)
    prediction = predictor(clip)
    assert prediction.answer.inputs == "audio"
    assert prediction.flags == (Flag.NO_VIDEO,)
    assert prediction.moments[0].box is None


@pytest.mark.parametrize(
    ("name", "audio", "codec", "unknown", "left", "flag"),
    [
        ("talk.mp4", "aac", b"avc1", b"zzzz", "audio", Flag.NO_VIDEO),
        ("talk.mkv", "libopus", b"A_OPUS", b"A_ZPUS", "video", Flag.NO_AUDIO),
    ],
)
@pytest.mark.parametrize("seconds", [SECONDS, 4.0])
def test_of_a_track_in_an_unknown_codec_the_other_one_is_used(
    predictor, tmp_path, seconds, name, audio, codec, unknown, left, flag
):
    clip = write_talk(tmp_path / name, seconds, audio=audio)
    content = clip.read_bytes()
    assert codec in content
    clip.write_bytes(content.replace(codec, unknown))
    prediction = predictor(clip)
    assert {moment.answer.inputs for moment in prediction.moments} == {left}
    assert flag in prediction.flags
    with pytest.raises(ClipError, match=r"codec that FFmpeg can't decode|Decoder not found"):
        list(read_frames(clip)) if left == "audio" else read_audio(clip, 16000)


def test_a_silent_film_is_answered_from_the_face(predictor, tmp_path):
    silent = predictor(write_talk(tmp_path / "silent.mp4", SECONDS, sound=silence(SECONDS)))
    no_track = predictor(write_talk(tmp_path / "no-track.mp4", SECONDS, audio=None))
    assert (silent.answer.inputs, silent.flags) == ("video", (Flag.SILENT,))
    assert (no_track.answer.inputs, no_track.flags) == ("video", (Flag.NO_AUDIO,))
    assert silent.probabilities == pytest.approx(no_track.probabilities, abs=1e-6)


def test_a_film_without_a_person_is_answered_from_the_voice(predictor, tmp_path):
    clip = write_talk(tmp_path / "wall.mp4", SECONDS, frames=[people()] * 99)
    prediction = predictor(clip)
    assert (prediction.answer.inputs, prediction.flags) == ("audio", (Flag.NO_FACE,))


def test_with_neither_face_nor_voice_there_is_no_answer(predictor, tmp_path):
    clip = write_talk(tmp_path / "wall.mp4", SECONDS, frames=[people()] * 99, sound=silence(SECONDS))
    with pytest.raises(ClipError, match=r"no face found in any frame.* and the sound is silent"):
        predictor(clip)


def test_a_phone_held_upright(predictor, tmp_path):
    """The camera stores the picture lying and says how to turn it."""
    image = np.rot90(people((120, 160), width=240, height=320), -1)
    clip = write_talk(tmp_path / "phone.mp4", SECONDS, frames=[image] * 99, rotation=90)
    prediction = predictor(clip)
    assert prediction.answer.inputs == "both"
    assert centre(prediction.moments[0]) == pytest.approx((120, 160), abs=15)


def test_a_variable_frame_rate(predictor, tmp_path):
    """The face jumps to the right for the last third of the time, which has nearly all of the frames."""
    times = [0.0, 0.3, 0.7, 1.0, *np.linspace(1.1, 1.58, 40)]
    frames = [people((100, 120))] * 4 + [people((220, 120))] * 40
    prediction = predictor(write_talk(tmp_path / "vfr.mp4", SECONDS, frames, times=times))
    assert prediction.answer.inputs == "both"
    assert centre(prediction.moments[0])[0] < 180  # its middle is 0.8 s


def test_a_header_that_claims_two_hours(predictor, tmp_path):
    clip = promise(write_talk(tmp_path / "claim.mkv", SECONDS), 7200)
    prediction = predictor(clip)
    assert prediction.answer.inputs == "both"
    assert prediction.duration == pytest.approx(SECONDS, abs=0.15)
    assert prediction.flags == (Flag.CUT_OFF,)


def test_of_a_file_that_is_cut_off_what_is_there_is_used(predictor, tmp_path):
    clip = write_talk(tmp_path / "cut.mp4", SECONDS, options={"movflags": "faststart"})
    prediction = predictor(cut(clip, 0.8))
    assert prediction.answer.inputs == "both"
    assert prediction.flags == (Flag.CUT_OFF,)


def test_of_two_people_one_is_followed_or_both_are(predictor, tmp_path):
    image = people((170, 180), width=640, height=360)
    draw_face(image, (470, 180), 150)
    clip = write_talk(tmp_path / "two.mp4", SECONDS, [image] * 99)
    one, both = predictor(clip), predictor(clip, Options(faces="all"))
    assert one.flags == both.flags == (Flag.SEVERAL_FACES,)
    assert [centre(moment) for moment in one.moments] == [pytest.approx((470, 180), abs=20)]
    assert both.moments[0].box == one.moments[0].box
    assert centre(both.moments[1]) == pytest.approx((170, 180), abs=20)
    assert [(moment.track, moment.followed) for moment in both.moments] == [(1, True), (2, False)]
    assert both.probabilities == pytest.approx(one.probabilities, abs=1e-5)  # the clip's are the followed face's
    assert both.moments[1].answer.probabilities != pytest.approx(one.probabilities, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("text.mp4", b"this is no film\n" * 99, "text.mp4 is damaged or not a media file"),
        ("empty.mp4", b"", r"empty.mp4 is empty \(zero bytes\)"),
    ],
)
def test_what_is_no_media_file_has_a_sentence(predictor, tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ClipError, match=sentence):
        predictor(tmp_path / name)


def test_a_missing_file_a_folder_and_a_file_cut_before_its_index(predictor, tmp_path):
    with pytest.raises(ClipError, match=r"nothing.mp4 is missing"):
        predictor(tmp_path / "nothing.mp4")
    with pytest.raises(ClipError):
        predictor(tmp_path)
    clip = write_talk(tmp_path / "cut.mp4", SECONDS)  # whose index is at its end
    with pytest.raises(ClipError, match=r"cut.mp4 is damaged or not a media file"):
        predictor(cut(clip, 0.5))


def test_a_file_without_read_permission(predictor, tmp_path):
    clip = write_talk(tmp_path / "secret.mp4", SECONDS)
    clip.chmod(0)
    with permissions_count(), pytest.raises(ClipError, match="may not be read; change its permissions"):
        predictor(clip)


def test_bad_files_among_good_ones_stop_nothing(predictor, tmp_path):
    good = write_talk(tmp_path / "good.mp4", SECONDS)
    bad = tmp_path / "bad.mp4"
    bad.write_text("no film")
    outcomes = list(predictor.predict_many([bad, good, tmp_path / "missing.mp4", good]))
    assert [isinstance(outcome, Failure) for outcome in outcomes] == [True, False, True, False]
    assert [outcome.clip for outcome in outcomes] == [bad, good, tmp_path / "missing.mp4", good]
    assert outcomes[1].probabilities == pytest.approx(outcomes[3].probabilities)


def test_a_fault_with_one_file_costs_no_other_its_answer(predictor, tmp_path, monkeypatch):
    good, odd = (write_talk(tmp_path / name, SECONDS) for name in ("good.mp4", "odd.mp4"))
    read = windows.read_extent

    def faulty(reader, limit):
        if reader.name == odd.name:
            raise ZeroDivisionError("a fault of ours")
        return read(reader, limit)

    monkeypatch.setattr(windows, "read_extent", faulty)
    outcomes = list(predictor.predict_many([good, odd, good]))
    assert [isinstance(outcome, Failure) for outcome in outcomes] == [False, True, False]
    assert outcomes[1].reason == "odd.mp4 can't be used (ZeroDivisionError: a fault of ours)"


def test_a_download_that_is_zeros_behind_its_index_says_so(predictor, tmp_path):
    clip = write_talk(tmp_path / "zeros.mp4", 9.0, options={"movflags": "faststart"})
    content = clip.read_bytes()
    begin = content.index(b"mdat") + 4
    clip.write_bytes(content[:begin] + bytes(len(content) - begin))
    with pytest.raises(ClipError, match=r"zeros.mp4 can't be answered: \w.*"):
        predictor(clip)
