"""Measures training speed of the paper's network with bf16, channels_last_3d and torch.compile, alone and combined.

    python -m benchmarks.train_step [--frames 30] [--size 224] [--batch 16] [--rounds 5] [--peak-tflops 989]

A step is forward, backward and optimizer on clips that are already in memory. Eager fp32 (no TF32) is the baseline. All
variants alternate in the same run, so that other load on the machine affects them equally.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from cfnsr import CFNSR

STEP_OVER_FORWARD = 290 / 113
"""FLOPs of a training step divided by those of its forward pass, for the paper's network at 30 x 224 x 224."""


@dataclass(frozen=True)
class Variant:
    """One way to run the step."""

    name: str
    bf16: bool = False
    channels_last: bool = False
    compiled: bool = False


VARIANTS = (
    Variant("eager fp32"),
    Variant("bf16", bf16=True),
    Variant("channels_last_3d", channels_last=True),
    Variant("compile", compiled=True),
    Variant("bf16 + channels_last_3d", bf16=True, channels_last=True),
    Variant("bf16 + channels_last_3d + compile", bf16=True, channels_last=True, compiled=True),
)


def prepare(variant: Variant, arguments: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """Return a training step of the paper's network."""
    torch.manual_seed(0)
    network = CFNSR().to(device).train()
    frames = torch.randn(arguments.batch, 3, arguments.frames, arguments.size, arguments.size, device=device)
    mfcc, labels = (
        torch.randn(arguments.batch, 13, 212, device=device),
        torch.arange(arguments.batch, device=device) % 8,
    )
    if variant.channels_last:
        network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        frames = frames.contiguous(memory_format=torch.channels_last_3d)
    if variant.compiled:
        network.compile()
    optimizer = torch.optim.AdamW(network.parameters())

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=variant.bf16):
            loss = F.cross_entropy(network(frames, mfcc), labels)
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def forward_gflop(arguments: argparse.Namespace) -> float:
    """Return the GFLOPs of a forward pass for one clip."""
    network = CFNSR().eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.randn(1, 3, arguments.frames, arguments.size, arguments.size), torch.randn(1, 13, 212))
    return counter.get_total_flops() / 1e9


def warm_up(variant: Variant, arguments: argparse.Namespace, device: torch.device) -> tuple[Callable[[], None], float]:
    """Return the step after a first run, which selects and compiles kernels, and its GPU memory in GB."""
    if device.type == "cpu":
        step = prepare(variant, arguments, device)
        step()
        return step, float("nan")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step = prepare(variant, arguments, device)
    step()
    return step, (torch.cuda.max_memory_allocated() - before) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5, help="timed steps of each variant (default: 5)")
    parser.add_argument("--peak-tflops", type=float, help="bf16 peak of the GPU, to report its use")
    arguments = parser.parse_args()
    torch.backends.cudnn.allow_tf32 = False  # on by default for convolutions, but not fp32
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    gflop = forward_gflop(arguments) * STEP_OVER_FORWARD
    print(
        f"{name}; torch {torch.__version__}; {arguments.batch} clips of {arguments.frames} x {arguments.size} x",
        end=" ",
    )
    print(f"{arguments.size} per step, {gflop:.0f} GFLOP per clip", flush=True)

    ready = {variant: warm_up(variant, arguments, device) for variant in VARIANTS}
    seconds: dict[Variant, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(arguments.rounds):
        for variant, (step, _) in ready.items():
            started = time.perf_counter()
            step()
            seconds[variant].append(time.perf_counter() - started)

    baseline = statistics.median(seconds[VARIANTS[0]])
    on_gpu = device.type == "cuda"
    columns = f"{'peak memory':>14}" * on_gpu + f"{'of peak':>10}" * bool(arguments.peak_tflops)
    print(f"{'':<35}{'clips/s':>9}{'ratio':>8}{columns}")
    for variant in VARIANTS:
        median = statistics.median(seconds[variant])
        speed = arguments.batch / median
        line = f"{variant.name:<35}{speed:>9.2f}{baseline / median:>8.2f}"
        if on_gpu:
            line += f"{ready[variant][1]:>11.1f} GB"
        if arguments.peak_tflops and variant.bf16:
            line += f"{speed * gflop / arguments.peak_tflops / 1000:>10.0%}"
        print(line)


if __name__ == "__main__":
    main()
