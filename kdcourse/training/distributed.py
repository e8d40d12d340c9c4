"""One run over several processes, each with a GPU of its own. `torchrun` starts them; each calls
`fit` alike.

Every process holds the whole network and takes its share of each batch. DistributedDataParallel
averages the gradients (Li et al. 2020), and batch norm is made to see the whole batch. So a step
does what one process would do, up to rounding. Where there is one process, nothing here does
anything.
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

from kdcourse.common.errors import KDCourseError, UsageError
from kdcourse.data.batches import Batch, Batches

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def join() -> None:
    """Meet the other processes, if `torchrun` started several (WORLD_SIZE) and they have not met
    yet.
    """
    if (
        dist.is_available()
        and not dist.is_initialized()
        and int(os.environ.get("WORLD_SIZE", 1)) > 1
    ):
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

    Raises UsageError where there are fewer GPUs than processes, and for a device on which processes
    cannot meet.
    """
    if world() == 1 or device.type == "cpu":
        return device
    if device.type != "cuda":
        raise UsageError(
            f"device={device}: several processes need CUDA or the CPU. Give device='cpu', or start "
            "one"
        )
    local, gpus = int(os.environ.get("LOCAL_RANK", device.index or 0)), torch.cuda.device_count()
    if local >= gpus:
        raise UsageError(
            f"process {local} (from 0) of this machine has no GPU, there are {gpus}: torchrun "
            f"--nproc-per-node {gpus}"
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def from_first(function: Callable, *arguments, **named):
    """What `function` returns in the first process, in all of them; if it raises a KDCourseError
    there, all raise it.

    The other processes wait until the first has finished.
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
    """This process' images of each batch of `Batches`: every `world()`-th, so that shares differ by
    one at most.

    images, counted: how many images the batch that was cut last has in all, and how many of them
      are this process'. counted is 0 where a batch has fewer images than there are processes: the
      image in it then stands in, so that the process keeps step with the others, and must count for
      nothing.
    """

    images = counted = 0

    def order(self, epoch: int) -> np.ndarray:
        return from_first(
            super().order, epoch
        )  # a sampler may draw as it likes: only the first process asks it

    def _batch(self, index: np.ndarray, draws: np.ndarray | None, epoch: int, view: int) -> Batch:
        share = slice(rank(), None, world())
        self.images, self.counted = len(index), len(index[share])
        if not self.counted:
            share = slice(1)
        return super()._batch(index[share], None if draws is None else draws[share], epoch, view)

    @property
    def weight(self) -> float:
        """Of this process' loss: then the mean over processes, DistributedDataParallel's, is the
        mean over images.
        """
        return self.counted * world() / self.images


def global_means(means: dict[str, torch.Tensor], share: Share) -> dict[str, torch.Tensor]:
    """Means over the whole batch, the same in all processes, from each one's means over its
    share.
    """
    if world() == 1:
        return means
    total = (
        share.weight / world() * torch.stack([value.detach().double() for value in means.values()])
    )
    dist.all_reduce(total)
    return dict(zip(means, total, strict=True))


class _Step(nn.Module):
    """Student and objective as one module, (batch) → terms."""

    def __init__(self, student: nn.Module, objective: nn.Module):
        super().__init__()
        self.student, self.objective = student, objective

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        return self.objective(self.student, batch)


@contextmanager
def parallel(student: nn.Module, objective: nn.Module, share: Share) -> Iterator[nn.Module]:
    """Student and objective as one module, (batch) → terms, in DistributedDataParallel: they start
    as the first process has them. Within the context their batch norms see the whole batch.
    Modules, parameters and state dicts stay as they are.
    """
    step = _Step(student, objective)
    if world() == 1:
        yield step
        return
    norms = [module for module in step.modules() if isinstance(module, BATCH_NORMS)]
    for norm in norms:
        norm.forward = partial(global_batch_norm, norm, share)
    try:
        # unused: a student that learns from features alone has no gradient in its last layer
        wrapped = DistributedDataParallel(step, find_unused_parameters=True)
        wrapped.broadcast_buffers = False  # made alike once, running statistics stay so
        yield wrapped
    finally:
        for norm in norms:
            del norm.forward


def global_batch_norm(norm: nn.Module, share: Share, x: torch.Tensor) -> torch.Tensor:
    """Batch norm whose mean and variance are those of the whole batch; x (B, C, …) is this process'
    share of it.

    Ioffe & Szegedy 2015, algorithm 1. Gradients flow through mean and variance to the images of all
    processes. On GPUs nn.SyncBatchNorm does the same; it knows no CPU.
    """
    if not norm.training:
        return type(norm).forward(norm, x)
    full = x.to(torch.promote_types(x.dtype, torch.float32))
    over, shape = [0, *range(2, x.dim())], (1, -1, *[1] * (x.dim() - 2))
    values = (
        x.numel() // x.shape[1] // max(share.counted, 1) * share.images
    )  # of each channel, in the whole batch
    if values < 2:
        raise ValueError(
            "expected more than 1 value a channel in training, got an input of shape "
            f"{tuple(x.shape)}"
        )
    weight = float(share.counted > 0) / values
    mean = sum_over_processes(weight * full.sum(over))
    centred = full - mean.view(shape)
    variance = sum_over_processes(weight * centred.square().sum(over))
    if norm.track_running_stats:
        with torch.no_grad():
            norm.num_batches_tracked += 1
            momentum = (
                1 / norm.num_batches_tracked.item() if norm.momentum is None else norm.momentum
            )
            norm.running_mean.lerp_(mean.to(norm.running_mean), momentum)
            norm.running_var.lerp_(
                (variance * values / (values - 1)).to(norm.running_var), momentum
            )
    scale = torch.rsqrt(variance + norm.eps)
    if not norm.affine:
        return (centred * scale.view(shape)).to(x.dtype)
    return (centred * (scale * norm.weight).view(shape) + norm.bias.view(shape)).to(x.dtype)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        return _Sum.forward(ctx, gradient)  # the sum is part of every process' loss


sum_over_processes = _Sum.apply
