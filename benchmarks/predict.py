"""Measures the speed of prediction by part, and the memory for a long file.

    python -m benchmarks.predict CLIP [--model FILE] [--seconds 60] [--rounds 3] [--minutes 60]
    python -m benchmarks.predict --network [--model FILE] [--rounds 3]

CLIP is a few seconds of a person talking, for example from RAVDESS. It is looped to make files of any length: at its
own size to measure speed, at 320 pixels to measure memory. Speed is measured with the paper's network, with random
weights unless `--model` names a file; memory with a small network for the same inputs, so that the inputs dominate.
"One after the other" is the same code with all windows prepared before the network starts; rounds alternate, so that
other load on the machine affects both equally.

`--network` measures the network alone, one clip at a time: eager PyTorch, another memory layout, and the files of
`cfnsr export`, with int8 scales from random input, which does not change the speed. Needs the extras `onnx` and
`openvino`.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import av
import numpy as np
import torch

from cfnsr import CFNSR, Predictor
from cfnsr.config.load import load_settings
from cfnsr.config.sections import FacesSettings, MfccSettings
from cfnsr.corpus.ravdess import EMOTIONS
from cfnsr.export.graph import RawNetwork
from cfnsr.export.onnx import onnx_model
from cfnsr.export.quantize import halve, quantize
from cfnsr.media.audio import read_audio
from cfnsr.media.extent import find_extent
from cfnsr.media.video import read_frames
from cfnsr.model.checkpoint import load_model, save_model
from cfnsr.model.metadata import ModelMetadata, Provenance
from cfnsr.model.normalize import Normalization
from cfnsr.predict import Options
from cfnsr.predict.backend import Backend, TorchBackend
from cfnsr.predict.clip import Sample
from cfnsr.predict.onnx_backend import OnnxBackend, Runtime
from cfnsr.predict.windows import prepare_clip

SMALL = 320  # pixels, the longer side of the files that memory is measured with
RATE = 48_000  # Hz
BLOCK = 1024  # samples
HOP = 5.0  # s, of the windows that memory is measured with
SMALL_NETWORK = {"layers": (1, 1, 1, 1), "width": 8, "cardinality": 4, "audio_width": 8, "transformer_layers": 1}

PEAK = """
import re, sys
from pathlib import Path
from cfnsr.predict import Options, Predictor

count = len(Predictor.from_pretrained(sys.argv[1])(sys.argv[2], Options(hop=float(sys.argv[3]))).moments)
print(count, re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def loop(clip: Path, path: Path, seconds: float, longest: int | None = None) -> Path:
    """Write the clip repeated up to a duration, as H.264 and AAC."""
    frames = [frame for _, frame in read_frames(clip)]
    rate = len(frames) / find_extent(clip, 1e9).seconds
    scale = min(1.0, (longest or 10**9) / max(frames[0].width, frames[0].height))
    width, height = (round(side * scale / 2) * 2 for side in (frames[0].width, frames[0].height))
    pictures = [frame.reformat(width, height, "yuv420p") for frame in frames]
    sound = read_audio(clip, RATE)
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001))
        video.width, video.height, video.pix_fmt, video.options = width, height, "yuv420p", {"preset": "veryfast"}
        audio: Any = container.add_stream("aac", rate=RATE, layout="mono")
        heard = 0
        for number in range(round(seconds * rate)):
            picture = pictures[number % len(pictures)]
            picture.pts, picture.time_base = number, Fraction(1 / rate).limit_denominator(100_000)
            container.mux(video.encode(picture))
            while heard < (number + 1) / rate * RATE:  # interleaved, as cameras write them
                block = np.take(sound, range(heard, heard + BLOCK), mode="wrap")[None]
                wave = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout="mono")
                wave.sample_rate, wave.time_base, wave.pts = RATE, Fraction(1, RATE), heard
                container.mux(audio.encode(wave))
                heard += BLOCK
        container.mux(chain(video.encode(), audio.encode()))
    return path


def random_network(path: Path, **size: Any) -> Path:
    torch.manual_seed(0)
    return _save(path, CFNSR(**size), FacesSettings(), MfccSettings())


def _save(path: Path, network: CFNSR, faces: FacesSettings, mfcc: MfccSettings) -> Path:
    metadata = ModelMetadata(
        network=network.config,
        labels=EMOTIONS,
        faces=faces,
        detector="haar",
        mfcc=mfcc,
        normalization=Normalization((0.0,) * mfcc.channels, (1.0,) * mfcc.channels),
        temperatures={"both": 1.0},
        provenance=Provenance(unknown=True),
        profile="benchmark",
        corpus="none",
        synthetic=False,
    )
    save_model(path, network, metadata)
    return path


def speed(predictor: Predictor, clip: Path, seconds: float, rounds: int) -> None:
    parts: dict[str, list[float]] = {"prepare": [], "network": [], "one after the other": [], "overlapped": []}
    for number in range(rounds):
        started = time.perf_counter()
        samples = [step for step in prepare_clip(clip, predictor.recipe, Options()) if isinstance(step, Sample)]
        ready = time.perf_counter()
        answered = sum(1 for _ in predictor._moments((clip, sample) for sample in samples))
        done = time.perf_counter()
        count = sum(1 for _ in predictor.timeline(clip))
        overlapped = time.perf_counter() - done
        assert count == answered
        for name, value in zip(parts, (ready - started, done - ready, done - started, overlapped), strict=True):
            parts[name].append(value)
        print(f"round {number + 1}: in turn {done - started:.1f} s, overlapped {overlapped:.1f} s", flush=True)
    median = {name: statistics.median(values) for name, values in parts.items()}
    print(f"file:                {seconds:.0f} s, {count} windows, {torch.get_num_threads()} threads for the network")
    print(f"decode, faces, MFCC: {median['prepare']:.2f} s, {median['prepare'] / count:.3f} s per window")
    print(f"network:             {median['network']:.2f} s, {median['network'] / count:.3f} s per window")
    print(f"one after the other: {median['one after the other']:.2f} s")
    print(f"overlapped:          {median['overlapped']:.2f} s, {seconds / median['overlapped']:.2f} times real time")
    ratios = [after / at_once for after, at_once in zip(parts["one after the other"], parts["overlapped"], strict=True)]
    print(f"ratio:               {statistics.median(ratios):.2f} (lowest round {min(ratios):.2f})")


def memory(clip: Path, folder: Path, minutes: list[float]) -> None:
    model, peaks = random_network(folder / "small.safetensors", **SMALL_NETWORK), []
    for length in minutes:
        file = loop(clip, folder / f"{length:g}.mp4", 60 * length, SMALL)
        command = [sys.executable, "-c", PEAK, str(model), str(file), str(HOP)]
        count, peak = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
        peaks.append(peak / 1024)
        print(f"peak memory:         {peaks[-1]:.0f} MB for {length:g} minutes ({count} windows)", flush=True)
    print(f"ratio:               {peaks[-1] / peaks[0]:.2f}")


def network_speed(model: Path, folder: Path, rounds: int, threads: int) -> None:
    torch.set_num_threads(threads)
    network, metadata = load_model(model)
    inputs = RawNetwork(network, metadata).example()
    frames, mfcc = inputs["frames"].numpy()[:1], inputs["mfcc"].numpy()[:1]
    strided = copy.deepcopy(network)
    strided.video.to(memory_format=torch.channels_last_3d)
    backends: dict[str, Backend] = {
        "PyTorch, eager": TorchBackend(network, metadata, "cpu"),
        "PyTorch, channels last": TorchBackend(strided, metadata, "cpu"),
    }
    for precision in ("fp32", "fp16", "int8"):
        for runtime in get_args(Runtime):
            file = folder / f"{precision}.onnx"
            backends[f"{runtime}, {precision}"] = OnnxBackend(file, runtime, threads)
    wall: dict[str, list[float]] = {name: [] for name in backends}
    for number in range(rounds + 1):  # the first one warms up
        for name, backend in backends.items():
            started = time.perf_counter()
            backend.logits(frames, mfcc)
            if number:
                wall[name].append(time.perf_counter() - started)
    eager = wall["PyTorch, eager"]
    print(f"one clip, {threads} thread{'s' * (threads > 1)}, median of {rounds} rounds; ratio: eager over this time")
    for name, seconds in wall.items():
        ratios = [one / other for one, other in zip(eager, seconds, strict=True)]
        print(f"{name:24} {statistics.median(seconds):6.3f} s  ratio {statistics.median(ratios):.2f}", end="")
        print(f" (lowest round {min(ratios):.2f})", flush=True)


def write_variants(model: Path, folder: Path) -> None:
    network, metadata = load_model(model)
    for precision in ("fp32", "fp16", "int8"):
        described = metadata.model_copy(update={"precision": precision})
        graph = onnx_model(RawNetwork(network, described, lazy=precision != "int8"))
        if precision == "fp16":
            halve(graph)
        if precision == "int8":
            example = {name: value.numpy()[:1] for name, value in RawNetwork(network, metadata).example().items()}
            graph = quantize(graph, [example])
        (folder / f"{precision}.onnx").write_bytes(graph.SerializeToString())
        print(f"{precision:5} {(folder / f'{precision}.onnx').stat().st_size / 1e6:6.1f} MB", flush=True)


def sample_network(path: Path) -> Path:
    """Write the sample profile's network with random weights."""
    params = load_settings(Path(__file__).resolve().parents[1] / "params.yaml", "sample").params
    network = CFNSR.from_settings(params.model, params.mfcc, len(EMOTIONS), "both")
    return _save(path, network, params.faces, params.mfcc)


def cold_start(models: Mapping[str, Path], clip: Path) -> None:
    """Measure whole commands, from start to exit."""
    predict = ["predict", str(clip), "--no-picture", "--model"]
    commands = {"`cfnsr --help`": ["--help"]}
    commands |= {f"`cfnsr predict {clip.name}`, {name}": [*predict, str(model)] for name, model in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(5):
        for name, arguments in commands.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-m", "cfnsr.cli", *arguments], check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - started)
    for name, values in seconds.items():
        print(f"cold start:          {statistics.median(values):.2f} s (slowest {max(values):.2f} s) for {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, nargs="?", help="a few seconds of a person talking")
    parser.add_argument("--network", action="store_true", help="measure the network alone, by runtime")
    parser.add_argument("--model", type=Path, help="safetensors file (default: the paper's network, random weights)")
    parser.add_argument("--seconds", type=float, default=60, help="duration of the file for speed (default: 60)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--minutes", type=float, default=60, help="duration of the long file for memory (default: 60)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = arguments.model or random_network(folder / "model.safetensors")
        if arguments.network:
            write_variants(model, folder)
            for threads in (1, 2):
                network_speed(model, folder, arguments.rounds, threads)
            return
        if arguments.clip is None:
            parser.error("name a clip, or --network")
        small = sample_network(folder / "sample.safetensors")
        cold_start({"network of the sample profile": small, "network of the paper": model}, arguments.clip)
        with Predictor.from_pretrained(model) as predictor:
            file = loop(arguments.clip, folder / "speed.mp4", arguments.seconds)
            for _ in predictor.predict_many([arguments.clip]):  # warm-up: libraries loaded, librosa compiled
                pass
            speed(predictor, file, arguments.seconds, arguments.rounds)
        memory(arguments.clip, folder, [2, arguments.minutes])


if __name__ == "__main__":
    main()
