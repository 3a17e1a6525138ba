"""Gradients of a small network by several processes, for tests of training on more than one device."""

import os
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cfnsr.model import CFNSR
from cfnsr.training.distributed import BatchNormSync

CLIPS = 8


def small_network() -> CFNSR:
    """In double precision and without dropout, so that only real differences show."""
    torch.manual_seed(0)
    network = CFNSR(
        layers=(1, 1, 1, 1), width=8, cardinality=4, mfcc_frames=68, audio_width=8, transformer_layers=1
    ).double()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    return network


def clips() -> tuple[Tensor, Tensor, Tensor]:
    """Frames (8, 3, 8, 32, 32), MFCC (8, 13, 68) and labels (8,) of a batch."""
    generator = torch.Generator().manual_seed(1)
    frames = torch.randn(CLIPS, 3, 8, 32, 32, generator=generator, dtype=torch.float64)
    mfcc = torch.randn(CLIPS, 13, 68, generator=generator, dtype=torch.float64)
    return frames, mfcc, torch.arange(CLIPS)


def step_of(network: nn.Module, rank: int, processes: int) -> dict[str, Tensor]:
    """Gradients and batch norm's buffers after one batch, of which this process has every so many-th clip."""
    frames, mfcc, labels = (values[rank::processes] for values in clips())
    network.train()
    nn.functional.cross_entropy(network(frames, mfcc), labels).backward()
    return {
        **{name: parameter.grad for name, parameter in network.named_parameters()},
        **{name: buffer for name, buffer in network.named_buffers() if "running" in name},
    }


def gradients_of_processes(processes: int, folder: Path) -> dict[str, Tensor]:
    """`step_of` by as many processes, which exchange over gloo."""
    mp.spawn(_work, (processes, folder), nprocs=processes)
    return torch.load(folder / "step.pt", weights_only=True)


def _work(rank: int, processes: int, folder: Path) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=processes)
    network = DistributedDataParallel(BatchNormSync().apply(small_network()))
    step = step_of(network, rank, processes)
    if rank == 0:
        torch.save({name.removeprefix("module."): value for name, value in step.items()}, folder / "step.pt")
    dist.destroy_process_group()
