"""Results as HTML for the web page, styled by `page.css`."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from cfnsr.features.faces.crop import encode_jpeg
from cfnsr.predict.answer import Flag, Prediction
from cfnsr.predict.predictor import Explanation
from cfnsr.predict.show.attention import Image, faces_with_attention
from cfnsr.predict.show.cells import Cell, cells_of, spread_portraits, stretches
from cfnsr.predict.show.palette import INPUTS, clock, colour

_PORTRAITS = 8  # over a timeline
_FACES = 6
_FACE_QUALITY = 85  # of the JPEG
_TICKS = 5
_LABEL = 0.12  # share of the duration; shorter stretches of an emotion are not labelled


def timeline(prediction: Prediction) -> str:
    """Faces, probabilities and the most probable emotion over time, with a playhead that follows the player."""
    cells = cells_of(prediction.moments)
    duration = cells[-1].end
    parts = [_strip(cells, duration)]
    if len(cells) > 1:
        parts.append(_areas(cells, duration))
    parts += [_band(cells, duration), *_flag_rows(cells, duration), '<div class="playhead"></div>']
    hint = "Click to jump to a moment." if len(cells) > 1 else "One prediction for the whole clip."
    return (
        f'<section class="card"><h2>Over time</h2><p class="hint">{hint}</p>'
        f'<div class="track" data-seconds="{duration:.3f}">{"".join(parts)}</div>'
        f'<div class="ticks">{_ticks(duration)}</div>{_legend(cells) if len(cells) > 1 else ""}</section>'
    )


def headline(prediction: Prediction) -> str:
    """The prediction for the whole clip."""
    answer = prediction.answer
    flags = "".join(f'<li class="flag">{flag}</li>' for flag in prediction.flags)
    mean = f", averaged over {len(prediction.moments)} moments" if len(prediction.moments) > 1 else ""
    return (
        f'<section class="card headline" style="--emotion: {colour(answer.emotion)}">'
        f'<p class="name">{escape(prediction.clip.name)} · {clock(prediction.duration)}</p>'
        f'<p class="emotion">{escape(answer.emotion)} <span>{answer.confidence:.0%}</span></p>'
        f'<p class="hint">from {INPUTS[answer.inputs]}{mean}</p>'
        f"{f'<ul>{flags}</ul>' if flags else ''}</section>"
    )


def details(explanation: Explanation) -> str:
    """Predictions from face and voice alone, and the network's attention."""
    return _contributions(explanation) + _attention(explanation)


def problem(reason: str) -> str:
    """Why there is no prediction for a clip."""
    return f'<section class="card problem" role="alert"><h2>No result</h2><p>Reason: {escape(reason)}.</p></section>'


def welcome(megabytes: float, seconds: float) -> str:
    """Shown in place of the prediction until a clip is uploaded."""
    return (
        '<section class="card welcome"><h2>Upload or record a video</h2>'
        "<p>It should show one person who is speaking. If the face or the voice is missing, the prediction uses only "
        f"the other.</p><p class='hint'>Up to {megabytes:g} MB and {_length(seconds)}. Your clip stays on this server "
        "while this page shows it and is then deleted.</p></section>"
    )


def footer(note: str) -> str:
    """The limits of use."""
    return f"<footer>{escape(note)}</footer>"


def _contributions(explanation: Explanation) -> str:
    kinds = explanation.contributions
    title = "Face, voice and both" if len(kinds) > 1 else "All emotions"
    moment = explanation.moment
    when = f"At the most confident moment, {clock(moment.start)} to {clock(moment.end)}"
    hint = f'<p class="hint">{when}</p>' if len(explanation.prediction.moments) > 1 else ""
    head = "".join(f"<th>{INPUTS[kind]}</th>" for kind in kinds)
    rows = []
    for emotion in next(iter(kinds.values())):
        cells = "".join(
            _bar(emotion, shares[emotion], emotion == max(shares, key=shares.__getitem__)) for shares in kinds.values()
        )
        rows.append(f'<tr><th scope="row">{escape(emotion)}</th>{cells}</tr>')
    return (
        f'<section class="card"><h2>{title}</h2>{hint}'
        f'<table class="bars"><thead><tr><td></td>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></section>'
    )


def _bar(emotion: str, share: float, best: bool) -> str:
    weight = ' class="best"' if best else ""
    return (
        f'<td{weight}><div class="bar"><i style="width: {share:.1%}; background: {colour(emotion)}"></i></div>'
        f"<b>{share:.0%}</b></td>"
    )


def _attention(explanation: Explanation) -> str:
    faces = faces_with_attention(explanation, _FACES)
    if not faces:
        return ""
    pairs = "".join(
        f"<figure>{_jpeg(face, 'face')}{'' if heat is None else _jpeg(heat, 'attention over the face')}</figure>"
        for face, heat in faces
    )
    hint = "" if faces[0][1] is None else '<p class="hint">Brighter areas received more attention.</p>'
    return (
        f'<section class="card"><h2>Where the network looked</h2>{hint}<div class="attention">{pairs}</div></section>'
    )


def _jpeg(image: Image, text: str) -> str:
    return _picture(encode_jpeg(np.ascontiguousarray(image[..., ::-1]), _FACE_QUALITY), text)


def _picture(jpeg: bytes, text: str, style: str = "") -> str:
    source = base64.b64encode(jpeg).decode()
    return f'<img src="data:image/jpeg;base64,{source}" alt="{text}"{style}>'


def _strip(cells: Sequence[Cell], duration: float) -> str:
    if len(cells) == 1:
        faces = cells[0].moment.portraits
        placed = [((index + 0.5) * duration / len(faces), face) for index, face in enumerate(faces)]
    else:
        placed = spread_portraits(cells, duration, _PORTRAITS)
    images = "".join(_picture(face, "face", f' style="left: {time / duration:.2%}"') for time, face in placed)
    return f'<div class="strip">{images}</div>' if images else ""


def _areas(cells: Sequence[Cell], duration: float) -> str:
    """Stacked steps, one colour per emotion; empty where there is no prediction."""
    answered = [(cell, cell.moment.answer.probabilities) for cell in cells if cell.moment.answer]
    low = np.zeros(len(answered))
    paths = []
    for emotion in answered[0][1]:
        high = low + [shares[emotion] for _, shares in answered]
        steps = "".join(
            f"M{cell.start:.2f} {1 - bottom:.3f}V{1 - top:.3f}H{cell.end:.2f}V{1 - bottom:.3f}Z"
            for (cell, _), bottom, top in zip(answered, low, high, strict=True)
        )
        paths.append(f'<path d="{steps}" fill="{colour(emotion)}"><title>{escape(emotion)}</title></path>')
        low = high
    return (
        f'<svg class="areas" viewBox="0 0 {duration:.2f} 1" preserveAspectRatio="none" shape-rendering="crispEdges" '
        f'role="img" aria-label="probabilities over time">{"".join(paths)}</svg>'
    )


def _band(cells: Sequence[Cell], duration: float) -> str:
    """The most probable emotion over time."""
    spans = []
    for start, end, emotion in stretches(cells):
        if emotion:
            name = escape(emotion) if end - start >= _LABEL * duration else ""
            style = f"{_place(start, end, duration)}; background: {colour(emotion)}"
            spans.append(f'<span style="{style}" title="{escape(emotion)}">{name}</span>')
    return f'<div class="band">{"".join(spans)}</div>'


def _flag_rows(cells: Sequence[Cell], duration: float) -> Iterable[str]:
    """One row per flag, drawn where the flag is raised."""
    for flag in Flag:
        raised = [cell for cell in cells if flag in cell.moment.flags]
        if raised:
            lines = "".join(f'<i style="{_place(cell.start, cell.end, duration)}"></i>' for cell in raised)
            yield f'<div class="flagged">{lines}<span>{flag}</span></div>'


def _place(start: float, end: float, duration: float) -> str:
    whole = duration or 1.0  # a still image has no duration
    return f"left: {start / whole:.2%}; width: {(end - start) / whole:.2%}"


def _ticks(duration: float) -> str:
    digits = int(duration < 10 * _TICKS)
    return "".join(f"<span>{clock(duration * index / (_TICKS - 1), digits)}</span>" for index in range(_TICKS))


def _legend(cells: Sequence[Cell]) -> str:
    names = next(list(cell.moment.answer.probabilities) for cell in cells if cell.moment.answer)
    entries = "".join(f'<li><i style="background: {colour(name)}"></i>{escape(name)}</li>' for name in names)
    return f'<ul class="legend">{entries}</ul>'


def _length(seconds: float) -> str:
    return f"{seconds:g} seconds" if seconds < 120 else f"{seconds / 60:.3g} minutes"
