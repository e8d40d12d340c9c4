"""One run over several processes, each with a GPU of its own. `torchrun` starts them; each calls `fit` alike.

Every process holds the whole network and takes its share of each batch. DistributedDataParallel averages the gradients
(Li et al. 2020), and batch norm is made to see the whole batch. So a step does what one process would do with it, up to
rounding. Where there is one process, nothing here does anything.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from kdcourse.data.batches import Batch, Batches
from kdcourse.errors import KDCourseError, UsageError

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def join() -> None:
    """Meet the other processes, if `torchrun` started several (WORLD_SIZE) and they have not met yet."""
    if dist.is_available() and not dist.is_initialized() and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")


def world() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if world() > 1 else 0


def is_first() -> bool:
    """Whether this is the process that writes and prints: always so where there is one."""
    return rank() == 0


def own_device(device: torch.device) -> torch.device:
    """On CUDA the GPU of this process, which is number LOCAL_RANK of its machine.

    Raises UsageError where there are fewer GPUs than processes, and for a device on which processes cannot meet.
    """
    if world() == 1 or device.type == "cpu":
        return device
    if device.type != "cuda":
        raise UsageError(f"device={device}: several processes need CUDA or the CPU. Give device='cpu', or start one")
    local, gpus = int(os.environ.get("LOCAL_RANK", device.index or 0)), torch.cuda.device_count()
    if local >= gpus:
        raise UsageError(f"process {local} of this machine finds {gpus} GPUs: start torchrun --nproc-per-node {gpus}")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def from_first(function: Callable, *arguments, **named):
    """What `function` returns in the first process, in all of them; and if it raises a KDCourseError there, that.

    None goes on before the first is done.
    """
    if world() == 1:
        return function(*arguments, **named)
    answer = [None]
    if is_first():
        try:
            answer = [function(*arguments, **named)]
        except KDCourseError as error:
            answer = [error]
    dist.broadcast_object_list(answer)
    if isinstance(answer[0], KDCourseError):
        raise answer[0]
    return answer[0]


class Share(Batches):
    """This process' images of each batch of `Batches`: every `world()`-th one, so that shares differ by one at most.

    counted: how many images of the batch cut last are this process'. 0 where there are fewer images than processes: the
      image in the batch then stands in, so that the process keeps step with the others, and must count for nothing.
    """

    counted = 0

    def order(self, epoch: int) -> np.ndarray:
        return from_first(super().order, epoch)  # a sampler may draw as it likes: only the first process asks it

    def _batch(self, index: np.ndarray, draws: np.ndarray | None, epoch: int, view: int) -> Batch:
        mine = slice(rank(), None, world())
        self.counted = len(index[mine])
        mine = mine if self.counted else slice(1)
        return super()._batch(index[mine], None if draws is None else draws[mine], epoch, view)


def global_means(means: dict[str, torch.Tensor], count: int) -> tuple[dict[str, torch.Tensor], int, float]:
    """From a process' means over its `count` images: those over the images of all, the same in each process; how many
    images these are; and the weight of this process' loss, such that the mean of the weighted losses over the processes,
    which is what DistributedDataParallel takes, is the mean over the images.
    """
    if world() == 1:
        return means, count, 1.0
    values = [value.detach().double() for value in means.values()]
    sums = count * torch.stack([*values, torch.ones_like(values[0])])
    dist.all_reduce(sums)
    images = round(sums[-1].item())
    return dict(zip(means, sums[:-1] / images, strict=True)), images, count * world() / images


class _Step(nn.Module):
    """Student and objective as one module, (batch) → terms."""

    def __init__(self, student: nn.Module, objective: nn.Module):
        super().__init__()
        self.student, self.objective = student, objective

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        return self.objective(self.student, batch)


@contextmanager
def parallel(student: nn.Module, objective: nn.Module, share: Share) -> Iterator[nn.Module]:
    """A module, (batch) → terms, that is student and objective in DistributedDataParallel, both as the first process has
    them. While it lasts their batch norms normalise over the batch of all processes. Modules, parameters and state
    dicts stay what they are.
    """
    step = _Step(student, objective)
    if world() == 1:
        yield step
        return
    norms = [module for module in step.modules() if isinstance(module, BATCH_NORMS)]
    for norm in norms:
        norm.forward = partial(global_batch_norm, norm, share)
    try:
        # unused: where a student learns from features alone, its last layer has no gradient
        wrapped = DistributedDataParallel(step, find_unused_parameters=True)
        wrapped.broadcast_buffers = False  # once was enough: running statistics stay alike by themselves
        yield wrapped
    finally:
        for norm in norms:
            del norm.forward


def global_batch_norm(norm: nn.Module, share: Share, x: torch.Tensor) -> torch.Tensor:
    """Batch norm over the images of all processes, x (B, C, …) being this one's (Ioffe & Szegedy 2015, algorithm 1).

    nn.SyncBatchNorm computes the same, on GPUs alone.
    """
    if not norm.training:
        return type(norm).forward(norm, x)
    full = x.to(torch.promote_types(x.dtype, torch.float32))
    over, shape = [0, *range(2, x.dim())], (1, -1, *[1] * (x.dim() - 2))
    counts = float(share.counted > 0)
    values = counts * x.numel() / x.shape[1]  # of each channel
    sums = _sum_over_processes(torch.cat([counts * full.sum(over), full.new_tensor([values])]))
    total = sums[-1].detach()
    mean = sums[:-1] / total
    centred = full - mean.view(shape)
    variance = _sum_over_processes(counts * centred.square().sum(over)) / total
    if norm.track_running_stats:
        with torch.no_grad():
            norm.num_batches_tracked += 1
            momentum = 1 / norm.num_batches_tracked.item() if norm.momentum is None else norm.momentum
            norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
            norm.running_var.lerp_((variance * total / (total - 1)).to(norm.running_var.dtype), momentum)
    scale = torch.rsqrt(variance + norm.eps)
    if norm.affine:
        scale = scale * norm.weight
    normalised = centred * scale.view(shape)
    return (normalised + norm.bias.view(shape) if norm.affine else normalised).to(x.dtype)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        return _Sum.forward(ctx, gradient)  # what one adds, all others feel


_sum_over_processes = _Sum.apply
