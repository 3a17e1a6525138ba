"""Mel-frequency cepstral coefficients of a clip's sound: the published audio feature, 13 x 212.

Shapes: C coefficients, F frames, n samples.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cfnsr.config import MfccSettings
from cfnsr.errors import ClipError, InputError
from cfnsr.media.audio import read_audio

SILENCE = 1e-3
"""Peak (of full scale 1) below which a clip counts as silent: -60 dB. The quietest of RAVDESS's 1440 speech takes peaks
at 6.1e-3 in the published window; the dither of 16-bit files stays below 1e-4."""

SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("reason", pa.string()),  # why the clip is left out; empty: usable
        ("source", pa.string()),  # kind of file the sound came from: mp4, wav or flac
        ("mfcc", pa.list_(pa.list_(pa.float32()))),  # (C, F); null where the clip is left out
    ]
)
"""Columns of `mfcc.parquet`."""


def mfcc(audio: NDArray[np.float32], settings: MfccSettings) -> NDArray[np.float32]:
    """The MFCC of a clip.

    From `settings.offset` on, `settings.duration` long, padded with zeros at the end where the clip is shorter (the
    published feature). A clip so short that the offset would cut off more than it leaves is taken from its start.

    Args:
        audio: the clip from its beginning, mono (n,), between -1 and 1, at `settings.sample_rate`.
        settings: section `mfcc`.

    Returns:
        (C, F) = (settings.coefficients, settings.frames), in librosa's scale (mel power in dB, orthonormal DCT).

    Raises:
        ClipError: there is no sound or it is silent.
    """
    from librosa.feature import mfcc as librosa_mfcc  # slow to import

    offset = round(settings.offset * settings.sample_rate)
    length = round(settings.duration * settings.sample_rate)
    begin = offset if audio.size >= 2 * offset else 0
    window = audio[begin : begin + length]
    peak = float(np.abs(window).max(initial=0))
    if peak < SILENCE:
        raise ClipError(f"the sound is silent (peak {peak:.1g} of full scale)")
    coefficients = librosa_mfcc(
        y=np.pad(window, (0, length - window.size)),
        sr=settings.sample_rate,
        n_mfcc=settings.coefficients,
        n_fft=settings.n_fft,
        hop_length=settings.hop,
        n_mels=settings.n_mels,
    )
    return np.asarray(coefficients, np.float32)


def mfcc_of_file(path: Path, settings: MfccSettings) -> NDArray[np.float32]:
    """The MFCC (C, F) of a media file; only what it needs is decoded.

    Raises:
        ClipError: the file can't be read, has no sound, or is silent.
    """
    return mfcc(read_audio(path, settings.sample_rate, duration=settings.offset + settings.duration), settings)


def read_mfcc(path: Path) -> dict[str, NDArray[np.float32]]:
    """All usable clips of `mfcc.parquet`: clip id to MFCC (C, F).

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        table = pq.read_table(path, columns=["clip_id", "reason", "mfcc"])
    except FileNotFoundError:
        raise InputError(f"{path} is missing: run `dvc repro mfcc` first.") from None
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise InputError(f"{path} is not an MFCC file ({error}): run `dvc repro mfcc --force`.") from None
    usable = table.filter(pc.equal(table["reason"], ""))
    if not usable.num_rows:
        return {}
    column = usable["mfcc"].combine_chunks()  # list<list<float>>
    matrices = column.flatten().flatten().to_numpy().reshape(usable.num_rows, len(column[0]), -1)  # (N, C, F)
    return dict(zip(usable["clip_id"].to_pylist(), matrices, strict=True))
