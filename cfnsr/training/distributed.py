"""Batch norm over the clips of all processes, so that two processes train like one with twice the batch.

Shapes: N clips, C channels.
"""

from __future__ import annotations

import torch
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNormSync(TorchSyncBatchNorm):
    """PyTorch's SyncBatchNorm on GPUs; it refuses the CPU, where the layers become `ProcessBatchNorm`."""

    def apply(self, model: nn.Module) -> nn.Module:
        """See class."""
        # Lightning asks before it moves the network to its GPU, so the parameters don't tell.
        if torch.cuda.is_available():
            return super().apply(model)
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                # Only the class changes: parameters, buffers and the optimizer's hold on them stay as they are.
                module.__class__ = ProcessBatchNorm
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Nothing: the weights are read back from the phase's files."""
        return model


class ProcessBatchNorm(_BatchNorm):
    """Batch norm whose statistics are those of the batches of all processes together."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `(N, C, …)`."""
        if not self.training:
            return super().forward(input)
        kind, channels = input.dtype, input.shape[1]
        if kind in (torch.bfloat16, torch.float16):  # too coarse for sums, and for the number of values
            input = input.float()
        others = [axis for axis in range(input.dim()) if axis != 1]
        count = input.new_tensor([input.numel() / channels])
        sums = all_reduce(torch.cat([input.sum(others), input.square().sum(others), count]))
        total = sums[-1]
        mean = sums[:channels] / total
        variance = sums[channels:-1] / total - mean.square()
        if self.running_mean is not None and self.running_var is not None and self.momentum is not None:
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * total / (total - 1), self.momentum)
        shape = [1, -1, *[1] * (input.dim() - 2)]
        scale = (variance + self.eps).rsqrt() * self.weight
        return (input * scale.view(shape) + (self.bias - mean * scale).view(shape)).to(kind)

    def _check_input_dim(self, input: Tensor) -> None:
        """Of any number of dimensions: the layer was checked when it was built."""
