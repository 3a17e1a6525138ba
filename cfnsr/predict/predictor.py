"""From clips to their emotions: one thread decodes and finds faces while the network processes what is ready.

Shapes: N windows, T frames, H x W pixels, K classes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cfnsr.config.sections import Modality
from cfnsr.errors import ClipError, InputError
from cfnsr.media.picture import Picture
from cfnsr.model.calibration import scaled_softmax
from cfnsr.predict.answer import Answer, Failure, Flag, Moment, Prediction, mean_answer
from cfnsr.predict.backend import Backend, TorchBackend
from cfnsr.predict.clip import Ending, Options, Sample
from cfnsr.predict.find import find_detector, find_weights
from cfnsr.predict.onnx_backend import SUFFIX, OnnxBackend, Runtime
from cfnsr.predict.prefetch import overlapped
from cfnsr.predict.recipe import Recipe
from cfnsr.predict.windows import live_samples, prepare_clip
from cfnsr.text import printable

DEFAULT = Options()
Step = Sample | Ending | Failure
"""Output of the preparing thread: the samples of a clip and then its end, or why it can't be used."""

_NO_FILE = Path()

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Explanation:
    """An explanation of the answer for a clip, at the moment with the highest confidence."""

    prediction: Prediction
    moment: Moment
    frames: NDArray[np.uint8] | None
    """(T, H, W, 3), the face crops; None without a face."""
    attention: NDArray[np.float32] | None
    """(T', H', W'), spatial attention, summing to 1 for each T'; None for a network without cross-modal attention."""
    contributions: dict[Modality, dict[str, float]]
    """Probabilities by inputs: both, and each alone where the network can answer from it."""


class Predictor:
    """Predicts the emotion in clips: `Predictor.from_pretrained(...)("clip.mp4")`.

    Use it as a context manager to free the memory of the network at the end.

    Args:
        backend: runs the network.
        recipe: preprocessing and calibration of the network.
        batch_size: number of windows, of one clip or several, in one batch.
    """

    def __init__(self, backend: Backend, recipe: Recipe, batch_size: int = 4) -> None:
        if recipe.uses_video and recipe.landmark_share:
            logger.warning(
                "This network was trained on faces from OpenFace landmarks (%.0f%% of its clips). For your clips a "
                "detector finds the faces, and its boxes differ slightly: the published accuracy may not hold.",
                100 * recipe.landmark_share,
            )
        self.recipe = recipe
        self._backend = backend
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
            source: a registry URI (`models:/cfn-sr@champion`), a safetensors file, a folder that holds one, the
                folder of a training run, of which the fold with the best selection score is used, or an ONNX file
                from `cfnsr export`, which runs without PyTorch.
            yunet: the file of the detector, for a network that was trained on faces from YuNet; None: the file that is
                registered with the network.
            batch_size: see the class.
            device: a PyTorch device; None: a GPU if there is one. ONNX files run on the CPU.
            runtime: for an ONNX file, see `OnnxBackend`.

        Raises:
            InputError: there is no such model, or this project did not write it.
        """
        path = find_weights(source)
        yunet = yunet or find_detector(path)
        if path.suffix == SUFFIX:
            exported = OnnxBackend(path, runtime)
            return cls(exported, Recipe.from_metadata(exported.metadata, yunet), batch_size)
        from cfnsr.model.checkpoint import load_model

        network, metadata = load_model(path)
        return cls(TorchBackend(network, metadata, device), Recipe.from_metadata(metadata, yunet), batch_size)

    def __call__(self, clip: str | Path, options: Options = DEFAULT) -> Prediction:
        """Predict one clip: a single answer for a clip as long as the training clips, a timeline for a longer one.

        Raises:
            ClipError: the file can't be read, or lacks a face or a voice that the network needs.
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
        """Predict clips in order; a clip that can't be used yields a `Failure`, and the others are still predicted.

        Args:
            clips: files.
            options: windows and faces.
            watch: called with the clip and each of its moments as soon as it has an answer.
        """
        with self._prefetched(clips, options) as steps:
            for outcome, _ in self._outcomes(steps, watch):
                yield outcome

    def timeline(self, clip: str | Path, options: Options = DEFAULT) -> Iterator[Moment]:
        """Yield the moments of a clip as soon as they have answers; memory does not grow with the length.

        Raises:
            ClipError: the file can't be read.
        """
        with self._prefetched([clip], options) as steps:
            yield from self._moments(steps)

    def live(self, pictures: Iterator[Picture], options: Options = DEFAULT, *, drop: bool = True) -> Iterator[Moment]:
        """Yield the moments of the pictures of a camera as soon as they have answers.

        Args:
            pictures: of the camera, see `cfnsr.media.camera`.
            options: windows and faces.
            drop: skip windows when the network is too slow, so that the answers don't fall behind.
        """
        steps: Iterator[tuple[Path, Step]] = ((_NO_FILE, step) for step in live_samples(pictures, self.recipe, options))
        with closing(overlapped(steps, 1, drop=drop)) as kept:
            yield from self._moments(kept, batch_size=1)

    def explain(
        self, clip: str | Path, options: Options = DEFAULT, watch: Callable[[Path, Moment], None] | None = None
    ) -> Explanation:
        """Predict a clip, and explain the answer at the moment with the highest confidence.

        Args:
            clip: a file.
            options: windows and faces.
            watch: see `predict_many`.

        Raises:
            ClipError: as for a call.
        """
        with self._prefetched([clip], options) as steps:
            ((outcome, best),) = self._outcomes(steps, watch)
        if isinstance(outcome, Failure):
            raise ClipError(outcome.reason)
        assert best is not None  # a prediction has an answered moment
        return self._explanation(outcome, *best)

    def close(self) -> None:
        """Free the network."""
        del self._backend

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prefetched(
        self, clips: Iterable[str | Path], options: Options
    ) -> closing[Generator[tuple[Path, Step], None, None]]:
        return closing(overlapped(self._steps(clips, options), 2 * self._batch_size))

    def _steps(self, clips: Iterable[str | Path], options: Options) -> Iterator[tuple[Path, Step]]:
        for path in map(Path, clips):
            try:
                for step in prepare_clip(path, self.recipe, options):
                    yield path, step
            except ClipError as error:
                yield path, Failure(path, str(error))
            except InputError:  # a fault of the model or the options, not of this file
                raise
            except Exception as error:  # a bug with one file must not stop the others
                logger.exception("%s can't be used", printable(path))
                yield path, Failure(path, printable(f"{path.name} can't be used ({type(error).__name__}: {error})"))

    def _outcomes(
        self, steps: Iterator[tuple[Path, Step]], watch: Callable[[Path, Moment], None] | None
    ) -> Iterator[tuple[Prediction | Failure, tuple[Sample, Answer] | None]]:
        """Each clip's outcome, and the sample and answer of the followed face with the highest confidence."""
        moments: list[Moment] = []
        missing: tuple[str, ...] = ()
        best: tuple[Sample, Answer] | None = None
        for path, step, answer in self._answered(steps):
            if isinstance(step, Sample):
                moments.append(replace(step.moment, answer=answer))
                missing = missing or step.missing
                if watch:
                    watch(path, moments[-1])
                if answer and step.moment.followed and (best is None or answer.confidence > best[1].confidence):
                    best = step, answer
            else:
                yield step if isinstance(step, Failure) else self._outcome(path, step, moments, missing), best
                moments, missing, best = [], (), None

    def _moments(self, steps: Iterator[tuple[Path, Step]], batch_size: int | None = None) -> Iterator[Moment]:
        for _, step, answer in self._answered(steps, batch_size):
            if isinstance(step, Failure):
                raise ClipError(step.reason)
            if isinstance(step, Sample):
                yield replace(step.moment, answer=answer)

    def _answered(
        self, steps: Iterator[tuple[Path, Step]], batch_size: int | None = None
    ) -> Iterator[tuple[Path, Step, Answer | None]]:
        """The steps in order; samples come with their answers, which are computed in batches."""
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
        """Calibrated probabilities by emotion, computed from these inputs of the samples."""
        logits = self._backend.logits(*_stacked(samples, inputs))  # (N, K)
        shares = scaled_softmax(logits, self.recipe.temperatures[inputs])
        return [dict(zip(self.recipe.labels, row, strict=True)) for row in shares.tolist()]

    def _explanation(self, prediction: Prediction, sample: Sample, answer: Answer) -> Explanation:
        present = {"both", "audio", "video"} if sample.inputs == "both" else {sample.inputs}
        kinds = [inputs for inputs in self.recipe.inputs if inputs in present]
        contributions = {inputs: self._probabilities([sample], inputs)[0] for inputs in kinds}
        attention = None
        if sample.frames is not None and sample.inputs is not None:
            frames, mfcc = _stacked([sample], sample.inputs)
            assert frames is not None
            attention = self._backend.attention(frames, mfcc)
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
        if len(self.recipe.inputs) > 1:  # it can answer from one modality
            return " and ".join(missing)
        wanted = {"both": "face and voice together", "audio": "the voice", "video": "the face"}
        return f"{' and '.join(missing)}, and this network answers from {wanted[self.recipe.inputs[0]]} only"


def _stacked(samples: list[Sample], inputs: Modality) -> tuple[NDArray[np.uint8] | None, NDArray[np.float32] | None]:
    """Frames (N, T, H, W, 3) and MFCC (N, C, L) of samples that have these inputs."""
    frames = [sample.frames for sample in samples if sample.frames is not None and inputs != "audio"]
    mfccs = [sample.mfcc for sample in samples if sample.mfcc is not None and inputs != "video"]
    return np.stack(frames) if frames else None, np.stack(mfccs) if mfccs else None
