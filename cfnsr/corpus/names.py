"""Tables of clips from the file names of published corpora, or from a pattern.

Addresses, sizes and licences of the corpora are in docs/corpora.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

from cfnsr.corpus.ravdess import FileModality, Take, file_kind, parse_name
from cfnsr.corpus.table import Row
from cfnsr.errors import InputError
from cfnsr.files import visible_files

_ORDER = (FileModality.AUDIO_VIDEO, FileModality.AUDIO, FileModality.VIDEO)

_CREMA_D = {"ANG": "angry", "DIS": "disgust", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
_CREMA_D_LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified", "X": "unspecified"}
_SAVEE = {"a": "angry", "d": "disgust", "f": "fearful", "h": "happy", "n": "neutral", "sa": "sad", "su": "surprised"}
_EMO_DB = {"W": "angry", "L": "bored", "E": "disgust", "A": "fearful", "F": "happy", "T": "sad", "N": "neutral"}
"""First letters of Wut, Langeweile, Ekel, Angst, Freude, Trauer, neutral."""
_EMO_DB_MEN = frozenset({"03", "10", "11", "12", "15"})
_ENTERFACE = {"an": "angry", "di": "disgust", "fe": "fearful", "ha": "happy", "sa": "sad", "su": "surprised"}


def _crema_d(match: re.Match[str]) -> dict[str, str]:
    facts = {"speaker": match["speaker"], "label": _CREMA_D[match["label"]]}
    return facts | {"group": _CREMA_D_LEVELS[match["level"]], "language": "English"}


def _savee(match: re.Match[str]) -> dict[str, str]:
    return {"speaker": match["speaker"], "label": _SAVEE[match["label"]], "sex": "male", "language": "English"}


def _emo_db(match: re.Match[str]) -> dict[str, str]:
    sex = "male" if match["speaker"] in _EMO_DB_MEN else "female"
    return {"speaker": match["speaker"], "label": _EMO_DB[match["label"]], "sex": sex, "language": "German"}


def _enterface(match: re.Match[str]) -> dict[str, str]:
    return {"speaker": match["speaker"], "label": _ENTERFACE[match["label"]], "language": "English"}


CORPORA: Mapping[str, tuple[re.Pattern[str], Callable[[re.Match[str]], dict[str, str]]]] = {
    "crema-d": (
        re.compile(r"(?:.*/)?(?P<speaker>1\d{3})_[A-Z]{3}_(?P<label>ANG|DIS|FEA|HAP|NEU|SAD)_(?P<level>LO|MD|HI|XX?)"),
        _crema_d,
    ),
    "savee": (re.compile(r"(?:.*/)?(?P<speaker>DC|JE|JK|KL)[/_](?P<label>sa|su|[adfhn])\d\d"), _savee),
    "emo-db": (re.compile(r"(?:.*/)?(?P<speaker>\d\d)[ab]\d\d(?P<label>[WLEAFTN])[a-z]"), _emo_db),
    "enterface": (re.compile(r"(?:.*/)?s_?(?P<speaker>\d+)_(?P<label>an|di|fe|ha|sa|su)_?\d"), _enterface),
}
"""Pattern of the path without the suffix, and the values of the row, by corpus; RAVDESS is read by `parse_name`."""

NAMED = ("ravdess", *CORPORA)
"""Corpora whose names can be read."""


def table_of_folder(folder: Path, names: str = "", pattern: str = "") -> tuple[list[Row], list[str]]:
    """A table of the media files in a folder and its subfolders.

    Args:
        folder: of the clips.
        names: one of `NAMED`.
        pattern: of the paths below the folder, in place of `names`. `{speaker}`, `{label}`, `{sex}`, `{group}`,
            `{language}` and `{split}` stand for any characters but `/`, `{label:2}` for exactly two; `*` stands for any
            characters but `/`, `?` for one. For example `{speaker}/{label}_*.wav`.

    Returns:
        The rows, and the paths of the files that do not match or that a spreadsheet would take for a formula.

    Raises:
        InputError: the folder holds no media file, none that matches, or the pattern can't be used.
    """
    paths = sorted(
        path.relative_to(folder).as_posix() for path in visible_files(folder) if file_kind(path) in ("audio", "video")
    )
    if not paths:
        raise InputError(f"{folder} holds no audio or video file.")
    if names == "ravdess":
        rows, others = _ravdess_rows(paths)
    else:
        compiled, facts = CORPORA[names] if names else (_compiled(pattern), re.Match.groupdict)
        stems = {path: path if pattern else PurePosixPath(path).with_suffix("").as_posix() for path in paths}
        matches = {path: compiled.fullmatch(stem) for path, stem in stems.items()}
        rows = [Row(path=path, **facts(match)) for path, match in matches.items() if match]
        others = [path for path, match in matches.items() if not match]
    others += [row.path for row in rows if row.fault]
    rows = [row for row in rows if not row.fault]
    if not rows:
        raise InputError(f"none of the {len(paths)} files in {folder} has such a name, for example {paths[0]!r}.")
    return rows, others


def _ravdess_rows(paths: Iterable[str]) -> tuple[list[Row], list[str]]:
    takes: dict[Take, dict[FileModality, str]] = {}
    others = []
    for path in paths:
        try:
            modality, take = parse_name(path)
        except ValueError:
            others.append(path)
        else:
            takes.setdefault(take, {})[modality] = path
    rows = []
    for take, files in takes.items():
        facts = {"label": take.label, "speaker": take.speaker, "sex": take.sex}
        best = next(files[modality] for modality in _ORDER if modality in files)
        rows.append(Row(path=best, **facts, group=f"{take.channel}, {take.strength}", language="English"))
    return sorted(rows), others


def _compiled(pattern: str) -> re.Pattern[str]:
    fields = ("speaker", "label", "sex", "group", "language", "split")
    parts = re.split(r"(\{[^{}]*\}|\*|\?)", pattern)
    expression = ""
    for part in parts:
        field = re.fullmatch(r"\{(\w+)(?::(\d+))?\}", part)
        if field and field[1] in fields and f"(?P<{field[1]}>" not in expression:
            expression += f"(?P<{field[1]}>[^/]{'+?' if field[2] is None else f'{{{field[2]}}}'})"
        elif part in ("*", "?"):
            expression += "[^/]*" if part == "*" else "[^/]"
        elif "{" in part or "}" in part:
            raise InputError(
                f"the pattern has {part!r}; it may have each of {', '.join(f'{{{name}}}' for name in fields)} once."
            )
        else:
            expression += re.escape(part)
    if missing := [name for name in ("speaker", "label") if f"(?P<{name}>" not in expression]:
        raise InputError(f"the pattern has no {{{missing[0]}}}, which every clip needs.")
    return re.compile(expression)
