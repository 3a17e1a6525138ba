"""The file formats that are read, by the names of FFmpeg's demuxers, and the suffixes by which their files are known.

Each of them is a single file. Formats that name other files are left out (playlists such as HLS, DASH, concat and SDP,
and numbered pictures): FFmpeg would open whatever they name. So are pictures, subtitles, text, devices, games' formats
and samples without a header. A file is recognised by its content; the suffix only tells which files of a folder are
clips.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_VIDEO = {
    "asf": "asf wm wmv dvr-ms",
    "avi": "avi divx",
    "dhav": "dav",
    "dv": "dif dv",
    "flv": "flv",
    "gxf": "gxf",
    "h264": "264 avc h264 h26l",
    "hevc": "265 h265 hevc",
    "ivf": "ivf",
    "live_flv": "",
    "m4v": "",
    "matroska": "mk3d mkv webm",
    "mjpeg": "mjpeg mjpg",
    "mov": "3g2 3gp 3gpp f4v ismv m4v mj2 mov mp4 mqv psp qt",
    "mpeg": "m2p mpe mpeg mpg tod vob vro",
    "mpegts": "m2t m2ts mts tp trp ts",
    "mpegvideo": "m1v m2v mpv",
    "mxf": "mxf",
    "nsv": "nsv",
    "nut": "nut",
    "obu": "obu",
    "ogg": "ogm ogv",
    "rm": "rm rmvb",
    "wtv": "wtv",
    "yuv4mpegpipe": "y4m",
}
_AUDIO = {
    "aac": "aac adts",
    "ac3": "ac3",
    "aiff": "aif aifc aiff",
    "amr": "amr awb",
    "ape": "ape apl mac",
    "asf": "wma",
    "au": "au snd",
    "caf": "caf",
    "dsf": "dsf",
    "dss": "dss",
    "dts": "dts",
    "dtshd": "dtshd",
    "eac3": "ec3 eac3",
    "flac": "flac",
    "gsm": "gsm",
    "ilbc": "lbc",
    "ircam": "ircam sf",
    "loas": "latm loas",
    "matroska": "mka weba",
    "mlp": "mlp",
    "mov": "3ga isma m4a m4b m4r",
    "mp3": "m2a mp2 mp3 mpa",
    "mpc": "mpc",
    "mpc8": "",
    "nistsphere": "nist sph",
    "ogg": "oga ogg opus spx",
    "oma": "aa3 oma omg",
    "qcp": "qcp",
    "rm": "ra",
    "shn": "shn",
    "sox": "sox",
    "tak": "tak",
    "truehd": "thd",
    "tta": "tta",
    "voc": "voc",
    "w64": "w64",
    "wav": "rf64 wav wave",
    "wv": "wv",
}
FORMATS = tuple(sorted(_VIDEO | _AUDIO))
"""FFmpeg's demuxers that may read a file."""


def _suffixes(table: dict[str, str]) -> frozenset[str]:
    return frozenset(f".{suffix}" for suffixes in table.values() for suffix in suffixes.split())


_SUFFIXES: dict[Literal["video", "audio"], frozenset[str]] = {"video": _suffixes(_VIDEO), "audio": _suffixes(_AUDIO)}


def clip_kind(name: str | Path) -> Literal["video", "audio", ""]:
    """Kind of a clip by the suffix of its name, in capitals or not; empty if it is not a clip."""
    suffix = Path(name).suffix.lower()
    return next((kind for kind, suffixes in _SUFFIXES.items() if suffix in suffixes), "")
