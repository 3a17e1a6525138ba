"""From clips to their emotions: one thread decodes and finds faces, while the network answers for what is ready.

Shapes: N windows, T frames, H x W pixels, K classes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from cfnsr.config.sections import Modality
from cfnsr.errors import ClipError, InputError
from cfnsr.media.video import Picture
from cfnsr.model.calibration import softmax
from cfnsr.predict.answer import Answer, Failure, Flag, Moment, Prediction, mean_answer
from cfnsr.predict.backend import Backend, TorchBackend
from cfnsr.predict.clip import Ending, Options, Sample
from cfnsr.predict.find import find_detector, find_weights
from cfnsr.predict.onnx_backend import SUFFIX, OnnxBackend, Runtime
from cfnsr.predict.prefetch import overlapped
from cfnsr.predict.recipe import Recipe
from cfnsr.predict.windows import live_samples, prepare_clip

DEFAULT = Options()
Step = Sample | Ending | Failure
"""What the preparing thread hands over: a clip's samples, then its end, or why it can't be used."""

_NO_FILE = Path()

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why the network says what it says of a clip, at the moment where it is surest."""

    prediction: Prediction
    moment: Moment
    frames: NDArray[np.uint8] | None
    """(T, H, W, 3), the face crops it saw; None without a face."""
    attention: NDArray[np.float32] | None
    """(T', H', W'), how much it looked where, summing to 1 over each T'; None where it has no cross-modal attention."""
    contributions: dict[Modality, dict[str, float]]
    """Probabilities by what they are said from: both inputs, and each alone where the network can answer from it."""


class Predictor:
    """Says which emotion clips show: `Predictor.from_pretrained(...)("clip.mp4")`.

    Use it as a context manager to let go of the network's memory at the end.

    Args:
        backend: runs the network.
        recipe: how its inputs are made.
        batch_size: windows, of one clip or several, that the network is given at once.

    Raises:
        InputError: the batch size makes no sense.
    """

    def __init__(self, backend: Backend, recipe: Recipe, batch_size: int = 4) -> None:
        if batch_size < 1:
            raise InputError(f"a batch of {batch_size} windows is none; take 1 or more.")
        if recipe.looks and recipe.landmark_share:
            logger.warning(
                "This network was trained on faces that OpenFace's landmarks had found (%.0f%% of its clips). Here a "
                "detector finds them, whose boxes are not quite the same: its figures may not hold for your clips.",
                100 * recipe.landmark_share,
            )
        self.recipe = recipe
        self._backend: Backend | None = backend
        self._batch_size = batch_size

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        yunet: Path | None = None,
        *,
        batch_size: int = 4,
        device: str | None = None,
        runtime: Runtime | None = None,
    ) -> Predictor:
        """Load a model; only safetensors and ONNX files are read, never a pickle.

        Args:
            source: a registry URI (`models:/cfn-sr@champion`), a safetensors file, a folder that has one in it, the
                folder of a training run, of which the fold with the best selection score is taken, or an ONNX file
                that `cfnsr export` wrote, which runs without PyTorch.
            yunet: the detector's file, for a network that was trained on faces that YuNet had found; None: the one that
                the registry keeps with it.
            batch_size: see class.
            device: as PyTorch calls it; None: a GPU where there is one. ONNX files run on the CPU.
            runtime: for an ONNX file, see `OnnxBackend`.

        Raises:
            InputError: there is no such model, or it was not written by this project.
        """
        path = find_weights(source)
        yunet = yunet or find_detector(path)
        if path.suffix == SUFFIX:
            exported = OnnxBackend(path, runtime)
            return cls(exported, Recipe.from_config(exported.config, yunet), batch_size)
        from cfnsr.model.checkpoint import load_model

        network, config = load_model(path)
        return cls(TorchBackend(network, config, device), Recipe.from_config(config, yunet), batch_size)

    def __call__(self, clip: str | Path, options: Options = DEFAULT) -> Prediction:
        """Predict one clip: one answer for a clip as long as those it was trained on, a timeline for a longer one.

        Raises:
            ClipError: the file can't be read, or has no face or no voice where the network needs one.
        """
        (outcome,) = self.predict_many([clip], options)
        if isinstance(outcome, Failure):
            raise ClipError(outcome.reason)
        return outcome

    def predict_many(
        self,
        clips: Iterable[str | Path],
        options: Options = DEFAULT,
        watch: Callable[[Path, Moment], None] | None = None,
    ) -> Iterator[Prediction | Failure]:
        """Predict clips, in their order; a clip that can't be used is a `Failure` and stops nothing.

        Args:
            clips: files.
            options: windows and faces.
            watch: told of every moment of a clip when it is answered.
        """
        moments: list[Moment] = []
        missing: tuple[str, ...] = ()
        with closing(overlapped(self._steps(clips, options), self._waiting)) as steps:
            for path, step, answer in self._answered(steps):
                match step:
                    case Sample():
                        moments.append(replace(step.moment, answer=answer))
                        missing = missing or step.missing
                        if watch:
                            watch(path, moments[-1])
                    case Failure():
                        yield step
                        moments, missing = [], ()
                    case Ending():
                        yield self._outcome(path, step, moments, missing)
                        moments, missing = [], ()

    def timeline(self, clip: str | Path, options: Options = DEFAULT) -> Iterator[Moment]:
        """A clip's moments as they are answered; memory does not grow with the clip's length.

        Raises:
            ClipError: the file can't be read.
        """
        with closing(overlapped(self._steps([clip], options), self._waiting)) as steps:
            yield from self._moments(steps)

    def live(self, pictures: Iterator[Picture], options: Options = DEFAULT, *, drop: bool = True) -> Iterator[Moment]:
        """Moments of a camera's pictures as they are answered.

        Args:
            pictures: of the camera, see `cfnsr.media.camera`.
            options: windows and faces.
            drop: leave out windows that the network is too slow for, so that the answers don't fall behind.
        """
        steps: Iterator[tuple[Path, Step]] = ((_NO_FILE, step) for step in live_samples(pictures, self.recipe, options))
        with closing(overlapped(steps, 1, drop=drop)) as kept:
            yield from self._moments(kept, batch_size=1)

    def answer(self, samples: Iterable[Sample]) -> Iterator[Moment]:
        """Moments of samples that are prepared already."""
        yield from self._moments((_NO_FILE, sample) for sample in samples)

    def explain(
        self, clip: str | Path, options: Options = DEFAULT, watch: Callable[[Moment], None] | None = None
    ) -> Explanation:
        """Predict a clip, and look into the network where it is surest.

        Args:
            clip: a file.
            options: windows and faces.
            watch: told of every moment when it is answered.

        Raises:
            ClipError: as for a call.
        """
        moments: list[Moment] = []
        surest: tuple[Sample, Answer] | None = None
        missing: tuple[str, ...] = ()
        outcome: Prediction | Failure | None = None
        with closing(overlapped(self._steps([clip], options), self._waiting)) as steps:
            for path, step, answer in self._answered(steps):
                if isinstance(step, Sample):
                    moments.append(replace(step.moment, answer=answer))
                    missing = missing or step.missing
                    if watch:
                        watch(moments[-1])
                    if answer and step.moment.followed and (surest is None or answer.confidence > surest[1].confidence):
                        surest = step, answer
                else:
                    outcome = step if isinstance(step, Failure) else self._outcome(path, step, moments, missing)
        if isinstance(outcome, Failure):
            raise ClipError(outcome.reason)
        assert outcome is not None
        assert surest is not None  # a prediction has an answered moment
        return self._look_into(outcome, *surest)

    def close(self) -> None:
        """Let go of the network."""
        self._backend = None

    def __enter__(self) -> Predictor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _waiting(self) -> int:
        return 2 * self._batch_size

    def _steps(self, clips: Iterable[str | Path], options: Options) -> Iterator[tuple[Path, Step]]:
        for path in map(Path, clips):
            try:
                for step in prepare_clip(path, self.recipe, options):
                    yield path, step
            except ClipError as error:
                yield path, Failure(path, str(error))
            except InputError:  # of the model's or the user's, not of this file
                raise
            except Exception as error:  # a fault of ours with one file must not cost the answers for the others
                logger.exception("%s can't be used", path)
                yield path, Failure(path, f"{path.name} can't be used ({type(error).__name__}: {error})")

    def _moments(self, steps: Iterator[tuple[Path, Step]], batch_size: int | None = None) -> Iterator[Moment]:
        for _, step, answer in self._answered(steps, batch_size):
            if isinstance(step, Failure):
                raise ClipError(step.reason)
            if isinstance(step, Sample):
                yield replace(step.moment, answer=answer)

    def _answered(
        self, steps: Iterator[tuple[Path, Step]], batch_size: int | None = None
    ) -> Iterator[tuple[Path, Step, Answer | None]]:
        """The steps in their order, the samples with their answers, which the network gives in batches."""
        held: list[tuple[Path, Step]] = []
        for step in steps:
            held.append(step)
            if sum(isinstance(item, Sample) for _, item in held) == (batch_size or self._batch_size):
                yield from self._with_answers(held)
                held = []
        yield from self._with_answers(held)

    def _with_answers(self, steps: list[tuple[Path, Step]]) -> Iterator[tuple[Path, Step, Answer | None]]:
        samples = [item for _, item in steps if isinstance(item, Sample)]
        answers: dict[int, Answer] = {}
        for inputs in self.recipe.inputs:
            chosen = [sample for sample in samples if sample.inputs == inputs]
            if chosen:
                rows = self._probabilities(chosen, inputs)
                answers.update((id(sample), Answer.of(row, inputs)) for sample, row in zip(chosen, rows, strict=True))
        for path, item in steps:
            yield path, item, answers.get(id(item))

    def _probabilities(self, samples: list[Sample], inputs: Modality) -> list[dict[str, float]]:
        """Calibrated probabilities by emotion, from these inputs of the samples."""
        logits = self._network.logits(*_stacked(samples, inputs))  # (N, K)
        shares = softmax(logits, self.recipe.temperature.get(inputs, 1.0))
        return [dict(zip(self.recipe.labels, row, strict=True)) for row in shares.tolist()]

    def _look_into(self, prediction: Prediction, sample: Sample, answer: Answer) -> Explanation:
        there = {"both", "audio", "video"} if sample.inputs == "both" else {sample.inputs}
        kinds = [inputs for inputs in self.recipe.inputs if inputs in there]
        contributions = {inputs: self._probabilities([sample], inputs)[0] for inputs in kinds}
        attention = None
        if sample.frames is not None and sample.inputs is not None:
            frames, mfcc = _stacked([sample], sample.inputs)
            assert frames is not None
            attention = self._network.attention(frames, mfcc)
        moment = replace(sample.moment, answer=answer)
        return Explanation(
            prediction, moment, sample.frames, None if attention is None else attention[0], contributions
        )

    def _outcome(
        self, path: Path, ending: Ending, moments: list[Moment], missing: tuple[str, ...]
    ) -> Prediction | Failure:
        answer = mean_answer(moments)
        raised = {flag for moment in moments for flag in moment.flags} | set(ending.flags)
        if answer is None:
            return Failure(path, f"{path.name} can't be answered: {self._reason(missing)}")
        flags = tuple(flag for flag in Flag if flag in raised)
        return Prediction(path, ending.duration, answer, flags, tuple(moments))

    def _reason(self, missing: tuple[str, ...]) -> str:
        if not missing:
            return "nothing in it can be decoded"
        if len(self.recipe.inputs) > 1:  # it can do with less than both, but not with nothing
            return " and ".join(missing)
        wanted = {"both": "face and voice together", "audio": "the voice", "video": "the face"}
        return f"{' and '.join(missing)}, and this network answers from {wanted[self.recipe.inputs[0]]} only"

    @property
    def _network(self) -> Backend:
        if self._backend is None:
            raise InputError("this predictor is closed; make another one.")
        return self._backend


def _stacked(samples: list[Sample], inputs: Modality) -> tuple[NDArray[np.uint8] | None, NDArray[np.float32] | None]:
    """Frames (N, T, H, W, 3) and MFCC (N, C, L) of samples that have these inputs."""
    frames = [sample.frames for sample in samples if sample.frames is not None and inputs != "audio"]
    mfccs = [sample.mfcc for sample in samples if sample.mfcc is not None and inputs != "video"]
    return np.stack(frames) if frames else None, np.stack(mfccs) if mfccs else None
