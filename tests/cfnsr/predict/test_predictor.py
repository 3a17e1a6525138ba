"""What answers are made of: the training features, the calibration of the inputs used, batches that don't matter."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from helpers.media_files import chirp, silence
from helpers.small_models import small_settings, write_model
from helpers.talking_files import people, write_talk

from cfnsr.config.corpus import SampleSettings
from cfnsr.corpus.ravdess import EMOTIONS, Take
from cfnsr.corpus.sample.corpus import clip_path, write_clip
from cfnsr.errors import ClipError, InputError
from cfnsr.features.faces.crop import decode_jpeg
from cfnsr.features.faces.extract import FaceTask, extract_faces
from cfnsr.features.mfcc import mfcc_of_file
from cfnsr.model.checkpoint import load_model, save_model
from cfnsr.predict import Options, Prediction, Predictor

SECONDS = 1.6  # one answer of the small network


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two clips of the sample corpus, one longer talk and models."""
    home = tmp_path_factory.mktemp("home")
    settings = SampleSettings(seconds=SECONDS)
    for emotion in (3, 5):
        write_clip(home, settings, Take(1, 1, emotion, 2, 1, 1))
    write_talk(home / "long.mp4", 4.0, [people((100 + number, 120)) for number in range(100)])
    write_talk(home / "face.mp4", SECONDS, audio=None)
    write_talk(home / "voice.wav", SECONDS, video=None, audio="pcm_s16le")
    write_model(home / "model.safetensors")
    return home


@pytest.fixture
def clips(home):
    return [clip_path(home, Take(1, 1, emotion, 2, 1, 1)) for emotion in (3, 5)]


def as_in_training(model, clip, **sections):
    """Probabilities from what the data stages would have cached of the clip."""
    network, metadata = load_model(model)
    params, scale = small_settings(**sections).params, metadata.normalization
    row = extract_faces(FaceTask(clip.name, 1, "", clip, None, params.faces))
    frames = torch.stack([torch.from_numpy(decode_jpeg(content)).permute(2, 0, 1) for content in row["frames"]])
    mfcc = torch.from_numpy(mfcc_of_file(clip, params.mfcc))
    with torch.no_grad():
        logits = network(scale.frames(frames)[None], scale.mfcc(mfcc)[None])[0]
    return dict(zip(EMOTIONS, logits.softmax(dim=0).tolist(), strict=True))


@pytest.mark.parametrize("kind", ["published", "rich"])
def test_a_clip_of_the_training_length_is_answered_as_in_training(clips, tmp_path, kind):
    sections = {"mfcc": {"kind": kind}}
    model = write_model(tmp_path / "model.safetensors", **sections)
    with Predictor.from_pretrained(model) as predictor:
        answers = [predictor(clip) for clip in clips]
    for clip, answer in zip(clips, answers, strict=True):
        assert answer.probabilities == pytest.approx(as_in_training(model, clip, **sections), abs=1e-6)
        assert answer.emotion == max(answer.probabilities, key=answer.probabilities.get)
        assert answer.confidence == max(answer.probabilities.values())
        assert len(answer.moments) == 1
    assert answers[0].probabilities != pytest.approx(answers[1].probabilities, abs=1e-3)


def test_confidence_is_that_of_the_inputs_that_were_used(home, tmp_path):
    hot = {"both": 1.0, "audio": 3.0, "video": 0.5}
    plain = Predictor.from_pretrained(home / "model.safetensors")
    calibrated = Predictor.from_pretrained(write_model(tmp_path / "model.safetensors", temperature=hot))
    for clip, temperature in (("voice.wav", 3.0), ("face.mp4", 0.5)):
        before = np.log(list(plain(home / clip).probabilities.values())) / temperature
        after = list(calibrated(home / clip).probabilities.values())
        assert after == pytest.approx(np.exp(before) / np.exp(before).sum(), abs=1e-5)


def test_batches_of_windows_and_files_change_nothing(home, clips):
    files = [home / "long.mp4", *clips, home / "voice.wav", home / "face.mp4"]
    answers = []
    for batch_size in (1, 3):
        with Predictor.from_pretrained(home / "model.safetensors", batch_size=batch_size) as predictor:
            answers.append(list(predictor.predict_many(files, Options(hop=0.5))))
    for one, three in zip(*answers, strict=True):
        assert isinstance(one, Prediction)
        assert one.clip == three.clip
        for left, right in zip(one.moments, three.moments, strict=True):
            assert left.answer.probabilities == pytest.approx(right.answer.probabilities, abs=1e-5)
            assert (left.start, left.box, left.flags) == (right.start, right.box, right.flags)


def test_the_clips_answer_is_the_mean_of_its_windows(home):
    prediction = Predictor.from_pretrained(home / "model.safetensors")(home / "long.mp4")
    rows = [list(moment.answer.probabilities.values()) for moment in prediction.moments]
    assert len(rows) > 2
    assert list(prediction.probabilities.values()) == pytest.approx(np.mean(rows, axis=0))


class TestMissingModalities:
    @pytest.fixture
    def fused(self, tmp_path):
        return Predictor.from_pretrained(write_model(tmp_path / "model.safetensors", inputs=("both",)))

    @pytest.mark.parametrize(
        ("clip", "sentence"),
        [
            ("voice.wav", "voice.wav can't be answered: it has no video track, and this network answers from face and"),
            ("face.mp4", "face.mp4 can't be answered: it has no audio track, and this network answers from face and"),
        ],
    )
    def test_a_network_that_was_not_trained_for_it_says_so(self, fused, home, clip, sentence):
        with pytest.raises(ClipError, match=sentence):
            fused(home / clip)

    def test_networks_of_one_modality_need_no_more(self, home, tmp_path):
        ears = Predictor.from_pretrained(write_model(tmp_path / "audio.safetensors", modality="audio"))
        eyes = Predictor.from_pretrained(write_model(tmp_path / "video.safetensors", modality="video"))
        assert ears(home / "voice.wav").flags == ears(home / "long.mp4").flags == ()
        assert eyes(home / "face.mp4").flags == eyes(home / "long.mp4").flags == ()
        assert ears(home / "long.mp4").moments[0].box is None
        with pytest.raises(ClipError, match="answers from the voice only"):
            ears(home / "face.mp4")

    def test_a_track_that_is_not_used_may_be_longer(self, tmp_path):
        clip = write_talk(tmp_path / "talk.mkv", 3.0, sound=chirp(5))
        eyes = Predictor.from_pretrained(write_model(tmp_path / "video.safetensors", modality="video"))
        assert eyes(clip).flags == ()
        assert eyes(clip).duration == pytest.approx(3, abs=0.1)

    def test_each_window_is_answered_from_what_it_has(self, home, tmp_path):
        """Sound for nearly two seconds, then none."""
        sound = np.concatenate([chirp(1.9), silence(2.1)], axis=1)
        clip = write_talk(tmp_path / "half.mp4", 4.0, sound=sound)
        prediction = Predictor.from_pretrained(home / "model.safetensors")(clip)
        assert [moment.answer.inputs for moment in prediction.moments] == ["both", "both", "video", "video"]
        assert prediction.answer.inputs == "both"
        fused = Predictor.from_pretrained(write_model(tmp_path / "model.safetensors", inputs=("both",)))(clip)
        assert [moment.answer is None for moment in fused.moments] == [False, False, True, True]
        rows = [list(moment.answer.probabilities.values()) for moment in fused.moments[:2]]
        assert list(fused.probabilities.values()) == pytest.approx(np.mean(rows, axis=0))


class TestExplanation:
    def test_face_and_voice(self, home, clips):
        predictor = Predictor.from_pretrained(home / "model.safetensors")
        explanation = predictor.explain(clips[0])
        assert explanation.frames.shape == (8, 32, 32, 3)
        assert explanation.attention.ndim == 3
        assert explanation.attention.sum(axis=(1, 2)) == pytest.approx(1, abs=1e-5)
        assert set(explanation.contributions) == {"both", "audio", "video"}
        assert explanation.contributions["both"] == pytest.approx(predictor(clips[0]).probabilities, abs=1e-6)
        assert explanation.contributions["audio"] != pytest.approx(explanation.contributions["video"], abs=1e-3)

    def test_it_is_of_the_moment_of_the_surest_answer(self, home):
        explanation = Predictor.from_pretrained(home / "model.safetensors").explain(home / "long.mp4")
        confidences = [moment.answer.confidence for moment in explanation.prediction.moments]
        assert explanation.moment.answer.confidence == max(confidences)

    def test_a_voice_alone(self, home):
        explanation = Predictor.from_pretrained(home / "model.safetensors").explain(home / "voice.wav")
        assert explanation.frames is explanation.attention is None
        assert set(explanation.contributions) == {"audio"}


def test_the_timeline_comes_as_it_is_answered(home):
    moments = Predictor.from_pretrained(home / "model.safetensors", batch_size=1).timeline(home / "long.mp4")
    first = next(moments)
    assert (first.start, first.answer.inputs) == (0.0, "both")
    moments.close()  # whoever stops listening leaves no thread behind
    assert not [thread for thread in threading.enumerate() if thread.name == "prepare"]


def test_one_predictor_serves_many_threads(home, clips):
    predictor = Predictor.from_pretrained(home / "model.safetensors")
    files = [*clips, home / "long.mp4", home / "face.mp4"] * 3
    alone = [predictor(file).probabilities for file in files]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda file: predictor(file).probabilities, files))
    for one, other in zip(alone, together, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"window": 0.1}, "too short to tell an emotion"),
        ({"hop": 0.0}, "take 0.05 s or more"),
        ({"faces": "some"}, "must be one of largest, all"),
    ],
)
def test_impossible_options(options, sentence):
    with pytest.raises(InputError, match=sentence):
        Options(**options)


def test_a_network_of_landmarks_faces_says_so(home, tmp_path, caplog):
    network, metadata = load_model(write_model(tmp_path / "model.safetensors"))
    Predictor.from_pretrained(tmp_path / "model.safetensors")
    assert caplog.text == ""
    save_model(tmp_path / "model.safetensors", network, metadata.model_copy(update={"landmark_share": 0.75}))
    Predictor.from_pretrained(tmp_path / "model.safetensors")
    assert "trained on faces from OpenFace landmarks (75% of its clips)" in caplog.text


def test_a_device_that_there_is_not(home):
    with pytest.raises(InputError, match="device 'abacus' can't be used"):
        Predictor.from_pretrained(home, device="abacus")


class TestFindingTheModel:
    def test_a_folder_with_one(self, home, clips):
        assert Predictor.from_pretrained(home)(clips[0]).emotion in EMOTIONS

    def test_a_folder_with_several(self, tmp_path):
        for name in ("a", "b"):
            write_model(tmp_path / name / "model.safetensors")
        with pytest.raises(InputError, match="has 2 networks in it"):
            Predictor.from_pretrained(tmp_path)

    def test_a_pickle_is_not_loaded(self, tmp_path):
        torch.save({"weights": torch.zeros(3)}, tmp_path / "model.pt")
        with pytest.raises(InputError, match="is not a safetensors file"):
            Predictor.from_pretrained(tmp_path / "model.pt")

    def test_a_network_of_yunets_faces_needs_the_same_file(self, tmp_path):
        model = write_model(tmp_path / "model.safetensors", faces={"frames": 8, "size": 32, "yunet": "face.onnx"})
        with pytest.raises(InputError, match="name the same file"):
            Predictor.from_pretrained(model)

    @pytest.mark.parametrize("content", ["[" * 90_000, " " * 200_000 + "{}", "{}", '{"fold": "x"}', "\x00"])
    def test_a_run_with_a_damaged_summary(self, tmp_path, content):
        (tmp_path / "fold-0").mkdir()
        (tmp_path / "fold-0" / "fold.json").write_text(content)
        with pytest.raises(InputError, match=r"fold-0/fold\.json is damaged"):
            Predictor.from_pretrained(tmp_path)

    @pytest.mark.parametrize(
        ("description", "message"),
        [
            (
                "flavors: {python_function: {artifacts: {yunet: {path: ../secret.onnx}}}}",
                "is outside the model's folder",
            ),
            ("flavors: {python_function: {artifacts: {yunet: {path: /etc/passwd}}}}", "is outside the model's folder"),
            ("flavors: {python_function: {artifacts: {yunet: {path: [1]}}}}", "is damaged"),
            ("flavors: {python_function: []}", "is damaged"),
            ("{" * 100_000, "is damaged"),
            ("# " + "x" * 2_000_000, "is damaged"),
            ("flavors: \x00", "is damaged"),
        ],
    )
    def test_a_model_that_names_a_detector_elsewhere_or_is_damaged(self, tmp_path, description, message):
        model = write_model(tmp_path / "model" / "artifacts" / "model.safetensors")
        (tmp_path / "model" / "MLmodel").write_text(description)
        with pytest.raises(InputError, match=message):
            Predictor.from_pretrained(model)
