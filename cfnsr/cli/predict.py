"""`cfnsr predict`: from clips, folders or a camera to tables, pictures, JSON or CSV."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cfnsr.errors import ClipError, InputError
from cfnsr.text import printable

if TYPE_CHECKING:
    from cfnsr.predict import Failure, Moment, Options, Prediction, Predictor

_LISTED = 20  # names of other files in a folder
_LONGEST = 200  # bytes of a clip's name that are kept in the name of its picture; file systems allow 255 in all


def predict(
    clips: Annotated[list[Path] | None, typer.Argument(help="Video or audio files, or folders of them.")] = None,
    model: Annotated[
        str, typer.Option(help="Model: registry URI (models:/cfn-sr@challenger), folder or safetensors file.")
    ] = "models:/cfn-sr@champion",
    window: Annotated[
        float | None,
        typer.Option(help="Seconds per window; default: as in training. Of a longer window only the middle is heard."),
    ] = None,
    hop: Annotated[float, typer.Option(help="Seconds between the starts of successive windows.")] = 1.0,
    faces: Annotated[str, typer.Option(help="largest: follow one face; all: one timeline per face.")] = "largest",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per clip instead of a table.")] = False,
    timeline: Annotated[Path | None, typer.Option(help="CSV file to write, one row per window.")] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file to write, one row per clip, with errors.")] = None,
    picture: Annotated[
        bool | None, typer.Option(help="Write CLIP.emotions.png; default: for a single clip without --json.")
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Write CLIP.explained.png: attention, and face and voice alone."),
    ] = False,
    camera: Annotated[int | None, typer.Option(help="Index of a camera to watch instead of clips.")] = None,
    simulate_camera: Annotated[Path | None, typer.Option(help="Video file to play as a camera.")] = None,
    yunet: Annotated[Path | None, typer.Option(help="YuNet file, if the network was trained with YuNet.")] = None,
) -> None:
    """Recognise the emotion in clips. Not for decisions about people."""
    from cfnsr.predict import Options, Predictor
    from cfnsr.predict.find import clips_of

    options = Options(window, hop, faces)  # type: ignore[arg-type]  # Options validates it
    source = camera if camera is not None else simulate_camera
    if source is not None and (clips or out or timeline or explain or picture):
        raise InputError("a camera can't be combined with clips, --out, --timeline, --explain or --picture; omit them.")
    if source is None and not clips:
        raise InputError("name a video or audio file, a folder of them, or a camera: `cfnsr predict talk.mp4`.")
    chosen, others = clips_of(clips or [])
    if others:
        typer.echo(printable(_not_examined(others)), err=True)
    with Predictor.from_pretrained(model, yunet) as predictor:
        if source is not None:
            _watch(predictor, source, options, as_json)
            return
        show_picture = len(chosen) == 1 and not as_json if picture is None else picture
        outcomes = _explained(predictor, chosen, options) if explain else _predicted(predictor, chosen, options)
        with ExitStack() as files:
            write = _Outputs(files, predictor, timeline, out, as_json, show_picture)
            failed = sum(not write(outcome) for outcome in outcomes)
    if not as_json:
        for path in filter(None, (out, timeline)):
            typer.echo(f"written: {printable(path)}")
    if failed:
        where = f"see the column `error` of {out}" if out else "see the lines above"
        raise InputError(f"{failed} of {len(chosen)} clips could not be processed; {where}.")


def _not_examined(files: list[Path]) -> str:
    """One line that names the files of folders that are no clips."""
    names = [str(file) for file in files[:_LISTED]]
    if len(files) > _LISTED:
        names.append(f"and {len(files) - _LISTED} more")
    return f"not examined, because their suffixes are not those of video or audio: {', '.join(names)}"


class _Names:
    """File names for pictures, numbered if clips in different folders have the same name."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def __call__(self, clip: Path, ending: str) -> Path:
        stem = os.fsdecode(os.fsencode(clip.stem)[:_LONGEST])
        numbered = (f"{stem}-{number}.{ending}" for number in count(2))
        name = next(name for name in chain([f"{stem}.{ending}"], numbered) if name not in self._given)
        self._given.add(name)
        return Path(name)


class _Outputs:
    """Writes and prints the outcome of a clip in all requested forms."""

    def __init__(
        self,
        files: ExitStack,
        predictor: Predictor,
        timeline: Path | None,
        out: Path | None,
        as_json: bool,
        picture: bool,
    ) -> None:
        from cfnsr.predict.show.tables import results_csv, timeline_csv

        labels = predictor.recipe.labels
        self._timeline = files.enter_context(timeline_csv(timeline, labels)) if timeline else None
        self._results = files.enter_context(results_csv(out, labels)) if out else None
        self._names = _Names()
        self._json, self._picture, self._note = as_json, picture, predictor.recipe.note

    def __call__(self, outcome: Prediction | Failure) -> bool:
        """Return False for a clip that could not be processed."""
        from cfnsr.predict import Failure
        from cfnsr.predict.show.picture import draw_prediction
        from cfnsr.predict.show.tables import prediction_json
        from cfnsr.predict.show.terminal import print_prediction

        if self._results:
            self._results(outcome)
        if self._json:
            typer.echo(json.dumps(prediction_json(outcome)))
        if isinstance(outcome, Failure):
            if not self._json and not self._results:
                typer.echo(printable(f"{outcome.clip}: {outcome.reason}"))
            return False
        if self._timeline:
            self._timeline(outcome)
        if not self._json and not self._results:
            print_prediction(outcome, self._note)
        if self._picture:
            path = self._names(outcome.clip, "emotions.png")
            draw_prediction(outcome, path, self._note)
            if not self._json:
                typer.echo(f"picture: {printable(path)}")
        return True


def _predicted(predictor: Predictor, clips: list[Path], options: Options) -> Iterator[Prediction | Failure]:
    from tqdm import tqdm

    from cfnsr.predict.show.palette import clock

    with tqdm(total=len(clips), unit="clip", leave=False, disable=None) as bar:  # None: shown only on a terminal

        def watch(path: Path, moment: Moment) -> None:
            bar.set_postfix_str(f"{printable(path.name)} {clock(moment.end)}")

        for outcome in predictor.predict_many(clips, options, watch):
            bar.update()
            bar.clear()
            yield outcome


def _explained(predictor: Predictor, clips: list[Path], options: Options) -> Iterator[Prediction | Failure]:
    from cfnsr.predict import Failure
    from cfnsr.predict.show.explained import draw_explanation

    names = _Names()
    for clip in clips:
        try:
            explanation = predictor.explain(clip, options)
        except ClipError as error:
            yield Failure(clip, str(error))
            continue
        draw_explanation(explanation, names(clip, "explained.png"), predictor.recipe.note)
        yield explanation.prediction


def _watch(predictor: Predictor, source: int | Path, options: Options, as_json: bool) -> None:
    from rich.live import Live

    from cfnsr.media.camera import camera_pictures
    from cfnsr.predict.show.tables import moment_json
    from cfnsr.predict.show.terminal import live_line
    from cfnsr.predict.windows import picture_spacing

    if "video" not in predictor.recipe.inputs:
        raise InputError("a camera has no sound, and this network can't predict from the face alone; use another.")
    pictures = camera_pictures(source, picture_spacing(predictor.recipe, options))
    moments = predictor.live(pictures, options, drop=isinstance(source, int))
    if as_json:
        for moment in moments:
            typer.echo(json.dumps(moment_json(moment)))
        return
    with Live(refresh_per_second=4) as terminal:
        for moment in moments:
            terminal.update(live_line(moment), refresh=True)
