"""Long files: where the windows lie, whose face they show, what is in them, and that memory does not grow."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.media_files import chirp, cut, silence, write_media
from helpers.paths import PROJECT
from helpers.pictures import picture
from helpers.small_models import small_settings, write_model
from helpers.talking_files import CENTRE, FPS, SIZE, people, write_talk
from helpers.video_files import background, draw_face

from cfnsr.features.faces.crop import crop_face, decode_jpeg, encode_jpeg
from cfnsr.features.faces.detect import load_detector
from cfnsr.features.mfcc import LEAD, mfcc
from cfnsr.media.audio import read_audio
from cfnsr.predict import Flag, Options, Predictor
from cfnsr.predict.clip import Ending
from cfnsr.predict.windows import prepare_clip

LENGTH = 1.1  # s, the small network's window


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    with Predictor.from_pretrained(write_model(tmp_path_factory.mktemp("model") / "model.safetensors")) as predictor:
        yield predictor


def samples(predictor, clip, options=None):
    """What the network is given of a long clip."""
    *given, ending = prepare_clip(clip, predictor.recipe, options or Options())
    assert isinstance(ending, Ending)
    return given


def spans(moments):
    return [(round(moment.start, 3), round(moment.end, 3)) for moment in moments]


class TestWhereTheyLie:
    def test_hops_from_the_start_and_a_last_one_at_the_end(self, predictor, tmp_path):
        clip = write_talk(tmp_path / "talk.mkv", 4.0, audio="pcm_s16le")
        assert spans(predictor(clip).moments) == [(0.0, 1.1), (1.0, 2.1), (2.0, 3.1), (2.9, 4.0)]
        longer = predictor(clip, Options(window=1.5, hop=1.25)).moments
        assert spans(longer) == [(0.0, 1.5), (1.25, 2.75), (2.5, 4.0)]
        assert spans(predictor(clip, Options(hop=2.0)).moments) == [(0.0, 1.1), (2.0, 3.1), (2.9, 4.0)]

    def test_a_long_window_makes_one_answer_of_a_longer_clip(self, predictor, tmp_path):
        clip = write_talk(tmp_path / "talk.mkv", 4.0, audio="pcm_s16le")
        for window in (4.0, 9.0):
            (moment,) = predictor(clip, Options(window=window)).moments
            assert (moment.start, moment.end) == (0.0, pytest.approx(4.0, abs=0.05))
            assert moment.answer.inputs == "both"

    def test_sound_that_goes_on_after_the_picture(self, predictor, tmp_path):
        clip = write_talk(tmp_path / "talk.mkv", 2.0, sound=chirp(5), audio="pcm_s16le")
        moments = predictor(clip).moments
        assert [moment.answer.inputs for moment in moments] == ["both", "both", "audio", "audio", "audio"]
        assert [Flag.NO_VIDEO in moment.flags for moment in moments] == [False, False, True, True, True]

    def test_a_gap_of_an_hour_in_the_time_stamps_is_not_filled(self, predictor, tmp_path):
        times = [*np.arange(0, 2, 1 / FPS), *np.arange(3600, 3602, 1 / FPS)]
        clip = write_talk(tmp_path / "gap.mkv", 2.0, audio=None, times=times)
        moments = predictor(clip).moments
        assert len(moments) < 10
        assert {moment.answer.inputs for moment in moments} == {"video"}
        assert moments[-1].end == pytest.approx(3602, abs=0.1)

    def test_a_file_that_breaks_off_is_answered_up_to_there(self, predictor, tmp_path):
        clip = write_talk(tmp_path / "talk.mkv", 6.0, audio="pcm_s16le")
        whole, rest = predictor(clip), predictor(cut(clip, 0.6))
        assert whole.flags == ()
        assert rest.flags == (Flag.CUT_OFF,)
        assert 2.5 < rest.duration < 5
        assert rest.moments[0].answer.probabilities == pytest.approx(whole.moments[0].answer.probabilities, abs=1e-5)


class TestWhatIsInThem:
    @pytest.mark.parametrize(("suffix", "codec", "rate"), [(".wav", "pcm_s16le", 44100), (".mp4", "aac", 48000)])
    def test_the_sound_of_their_time(self, predictor, tmp_path, suffix, codec, rate):
        clip = write_media(tmp_path / f"voice{suffix}", chirp(6, rate), rate=rate, codec=codec)
        settings = predictor.recipe.mfcc
        for sample in samples(predictor, clip):
            expected = mfcc(read_audio(clip, settings.sample_rate, sample.moment.start, LENGTH), settings)
            assert sample.mfcc.shape == expected.shape
            assert np.abs(sample.mfcc - expected).mean() < 1.0  # of values up to 200

    def test_of_a_window_longer_than_the_networks_own_the_middle_is_heard(self, predictor, tmp_path):
        clip = write_media(tmp_path / "voice.wav", chirp(6), codec="pcm_s16le")
        first = samples(predictor, clip, Options(window=3.0))[0]
        expected = mfcc(read_audio(clip, predictor.recipe.mfcc.sample_rate, 0.95, LENGTH), predictor.recipe.mfcc)
        assert np.abs(first.mfcc - expected).mean() < 1.0

    @pytest.mark.parametrize(("seconds", "begin", "window"), [(1.9, 1.3, None), (8.0, 6.5, 8.0)])
    def test_a_voice_that_begins_late_is_heard(self, predictor, tmp_path, seconds, begin, window):
        """Later than all that the network would hear: from where it begins, as much as always."""
        voice = chirp(seconds - begin)
        late = np.concatenate([silence(begin), voice], axis=1)
        clip = write_media(tmp_path / "late.wav", late, codec="pcm_s16le")
        (moment,) = predictor(clip, Options(window=window)).moments
        assert moment.flags == (Flag.NO_VIDEO,)
        lead = predictor.recipe.mfcc.offset + LEAD * predictor.recipe.mfcc.hop / predictor.recipe.mfcc.sample_rate
        early = np.concatenate([silence(lead), voice], axis=1)
        same = predictor(write_media(tmp_path / "early.wav", early, codec="pcm_s16le"))
        assert moment.answer.probabilities == pytest.approx(same.probabilities, abs=0.02)

    def test_a_picture_that_stands_still_is_still_shown(self, predictor, tmp_path):
        """As screens and calls are recorded: no picture comes while nothing moves."""
        times = [*np.arange(0, 2, 1 / FPS), *np.arange(5, 6, 1 / FPS)]
        still = write_talk(tmp_path / "still.mkv", 6.0, sound=chirp(6), audio="pcm_s16le", times=times)
        prediction = predictor(still)
        assert prediction.flags == ()
        assert {moment.answer.inputs for moment in prediction.moments} == {"both"}
        long = [*np.arange(0, 2, 1 / FPS), *np.arange(12, 13, 1 / FPS)]
        gone = write_talk(tmp_path / "gone.mkv", 13.0, sound=chirp(13), audio="pcm_s16le", times=long)
        inputs = [moment.answer.inputs for moment in predictor(gone).moments]
        assert inputs == ["both"] * 7 + ["audio"] * 4 + ["both"] * 2  # a window of which a part is shown has a face

    def test_a_delayed_sound_stays_where_it_is(self, predictor, tmp_path):
        clip = write_media(tmp_path / "late.mkv", chirp(2), codec="pcm_s16le", sound_delay=2.5, picture=5)
        moments = predictor(clip).moments
        assert [Flag.NO_AUDIO in moment.flags for moment in moments] == [True, True, False, False, False]

    def test_the_face_of_their_time(self, predictor, tmp_path):
        """The picture gets darker and darker: the crops' brightness tells their time."""
        frames = [(people(CENTRE) * (1 - number / 200)).astype(np.uint8) for number in range(100)]
        clip = write_talk(tmp_path / "darker.mkv", 4.0, frames, audio=None)
        for sample in samples(predictor, clip):
            assert sample.frames.shape == (8, 32, 32, 3)
            brightness = sample.frames.mean(axis=(1, 2, 3)) / brightness_of(people(CENTRE), predictor)
            times = (1 - brightness) * 200 / FPS
            expected = sample.moment.start + LENGTH * (np.arange(8) + 0.5) / 8
            assert times == pytest.approx(expected, abs=0.12)

    def test_a_moving_face_is_in_the_middle_of_the_crops(self, predictor, tmp_path):
        path = [(80 + 2 * number, 120) for number in range(80)]
        clip = write_talk(tmp_path / "moving.mkv", 3.2, [people(at) for at in path], audio=None)
        for moment in predictor(clip).moments:
            x, _, width, _ = moment.box
            middle = (moment.start + moment.end) / 2
            assert x + width / 2 == pytest.approx(80 + 2 * FPS * middle, abs=12)
            assert width == pytest.approx(SIZE * 1.08, rel=0.1)


def brightness_of(image, predictor):
    """Mean brightness of the crop of this picture's face."""
    shown = picture(image)
    box = load_detector(None)(shown)[0]
    settings = small_settings().params.faces
    crop = crop_face(shown.bgr(), box, size=settings.size, margin=settings.margin, square=True)
    return float(decode_jpeg(encode_jpeg(crop, 95)).mean())


class TestWhoseFace:
    """A picture of 640 x 360 with people who come and go."""

    LEFT, RIGHT = (170, 180), (470, 180)

    def clip(self, path, who, seconds=6.0):
        """`who(time)` gives the sizes of the left and of the right face; 0: nobody."""

        def frames():
            for number in range(round(seconds * FPS)):
                image = background(640, 360)
                for centre, size in zip((self.LEFT, self.RIGHT), who(number / FPS), strict=True):
                    if size:
                        draw_face(image, centre, size)
                yield image

        return write_talk(path, seconds, frames(), audio=None)

    def side(self, moment):
        return "left" if moment.box[0] + moment.box[2] / 2 < 320 else "right"

    def test_two_people_have_a_timeline_each(self, predictor, tmp_path):
        clip = self.clip(tmp_path / "two.mp4", lambda _: (130, 160))
        moments = predictor(clip, Options(faces="all")).moments
        sides = {track: {self.side(moment) for moment in moments if moment.track == track} for track in (1, 2)}
        assert sides in ({1: {"left"}, 2: {"right"}}, {1: {"right"}, 2: {"left"}})
        assert {self.side(moment) for moment in moments if moment.followed} == {"right"}  # the larger one
        assert all(moment.flags == (Flag.SEVERAL_FACES, Flag.NO_AUDIO) for moment in moments)
        assert len(moments) == 2 * len({moment.start for moment in moments})

    def test_who_is_followed_stays_followed(self, predictor, tmp_path):
        clip = self.clip(tmp_path / "visitor.mp4", lambda time: (130, 170 if time > 2 else 0))
        moments = predictor(clip).moments
        assert {self.side(moment) for moment in moments} == {"left"}
        assert {moment.track for moment in moments} == {1}
        assert [Flag.SEVERAL_FACES in moment.flags for moment in moments] == [False, False, *[True] * 4]

    def test_when_the_followed_one_leaves_the_other_is_followed(self, predictor, tmp_path):
        clip = self.clip(tmp_path / "leaves.mp4", lambda time: (130 if time < 3 else 0, 100))
        sides = [self.side(moment) for moment in predictor(clip).moments]
        assert sides[0] == "left"
        assert sides[-1] == "right"
        assert sides == sorted(sides)

    def test_a_face_that_is_away_for_a_moment_keeps_its_number(self, predictor, tmp_path):
        clip = self.clip(tmp_path / "away.mp4", lambda time: (0, 0 if 2.2 < time < 3.4 else 150))
        moments = predictor(clip, Options(hop=0.5)).moments
        assert {moment.track for moment in moments} == {1, None}
        assert any(Flag.NO_FACE in moment.flags and moment.answer is None for moment in moments)
        assert Flag.NO_FACE not in moments[-1].flags


@pytest.mark.proof
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_does_not_grow_with_the_length(tmp_path):
    """Four more minutes cost less than a third of what the network was given of them: the rest is chance."""
    crops, size = 16, 96
    model = write_model(tmp_path / "model.safetensors", faces={"frames": crops, "size": size})
    code = (
        "import re, sys; from pathlib import Path; from cfnsr.predict import Predictor\n"
        "count = len(Predictor.from_pretrained(sys.argv[1])(sys.argv[2]).moments)\n"
        # Not getrusage: a process inherits the peak of the one that started it.
        "print(count, re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    figures = []
    for seconds in (60, 300):
        clip = write_talk(tmp_path / f"{seconds}.mp4", seconds)
        command = [sys.executable, "-c", code, model, clip]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT)
        figures.append([int(figure) for figure in done.stdout.split()])
    (few, short), (many, long) = figures
    given = (many - few) * crops * size * size * 3 / 1024  # KiB
    assert given > 50 * 1024
    assert long - short < given / 3
    assert long < 1.2 * short
