"""What a network costs: parameters, multiply–adds, size and time. Measure before choosing a
pair.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kdcourse.common.errors import UsageError
from kdcourse.common.system import Latency, times, times_in_turns

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Cost:
    """The cost of a network for one input shape; latency_ms is empty if it was not measured."""

    parameters: int
    macs: int  # multiply–adds of a forward pass of one image
    size_mb: float  # state dict in float32, 1 MB = 10⁶ bytes
    latency_ms: dict[int, float]  # batch size → median milliseconds of a forward pass of that batch
    threads: int  # CPU threads used
    device: str  # where it was timed
    p95_ms: dict[int, float] = field(
        default_factory=dict
    )  # batch size → 95 % of the passes took no longer

    def row(self) -> dict[str, float]:
        """A row of a table, in millions, MB and ms."""
        row = {
            "parameters (M)": self.parameters / 1e6,
            "MACs (M)": self.macs / 1e6,
            "size (MB)": self.size_mb,
        }
        return row | {f"batch {batch} (ms)": ms for batch, ms in self.latency_ms.items()}

    def __repr__(self) -> str:
        text = f"{self.parameters / 1e6:.3g} M parameters, {self.macs / 1e6:.4g} M MACs"
        text += f", {self.size_mb:.3g} MB"
        text += "".join(f", batch {batch}: {ms:.3g} ms" for batch, ms in self.latency_ms.items())
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{text} ({self.device}, {threads})" if self.latency_ms else text


def cost(
    model: nn.Module,
    input_shape: tuple[int, int, int],
    *,
    latency: bool = True,
    batch_sizes: tuple[int, ...] = (1, 64),
    threads: int | None = None,
) -> Cost:
    """Parameters, MACs, size and latency of a network for images of input_shape (C, H, W).

    MACs (multiply–adds) of one image, counted by torch's FlopCounterMode as the network runs:
      convolution: H_out · W_out · C_out · (C_in / groups) · k_h · k_w; linear layer: inputs ·
        outputs.
    Biases, batch norm, activations and pooling are left out, as is usual; one MAC is two FLOPs.
    Latency: median and 95th percentile of at least five forward passes (and half a second) after
    two to warm up, in float32 and eval mode, where the network is, with `threads` CPU threads
    (default: torch's own number). It holds for this machine. To compare networks use `latencies`.

    The network's mode and torch's number of threads are as before afterwards. Raises UsageError for
    an input shape that the network cannot take.
    """
    threads = torch.get_num_threads() if threads is None else threads
    _check_numbers(threads, batch_sizes)
    _, macs = _trace(model, input_shape)
    measured = {}
    if latency:
        with _threads(threads):
            measured = {size: _latencies_ms(model, (size, *input_shape)) for size in batch_sizes}
    return Cost(
        parameters=sum(p.numel() for p in model.parameters()),
        macs=macs[""],
        size_mb=sum(
            t.numel() * (4 if t.is_floating_point() else t.itemsize)
            for t in model.state_dict().values()
        )
        / 1e6,
        latency_ms={size: statistics.median(ms) for size, ms in measured.items()},
        threads=threads,
        device=str(device_of(model)),
        p95_ms={size: float(np.percentile(ms, 95)) for size, ms in measured.items()},
    )


def latencies(
    networks: Mapping[str, nn.Module],
    input_shape: tuple[int, int, int],
    *,
    batch_sizes: tuple[int, ...] = (1, 64),
    threads: int | None = None,
    rounds: int = 4,
) -> dict[str, dict[int, Latency]]:
    """Latency of networks side by side: name → batch size → milliseconds of a forward pass.

    The networks take turns, `rounds` times, so that a busy moment of the machine doesn't count
    against one of them. Two networks of one architecture take the same time: give one of them.
    Otherwise as `cost`, whose errors it raises.
    """
    threads = torch.get_num_threads() if threads is None else threads
    _check_numbers(threads, batch_sizes, rounds)
    result = {name: {} for name in networks}
    with ExitStack() as stack:
        for network in networks.values():
            _trace(network, input_shape)
            stack.enter_context(evaluating(network))
        stack.enter_context(_threads(threads))
        for size in batch_sizes:
            passes = {
                name: _forward_pass(network, (size, *input_shape))
                for name, network in networks.items()
            }
            for name, seconds in times_in_turns(passes, rounds).items():
                result[name][size] = Latency.of(seconds)
    return result


def stages(model: nn.Module, input_shape: tuple[int, int, int]) -> pd.DataFrame:
    """A network stage by stage: stage, channels, height, width (of its output), parameters, macs.

    A stage is a child of the network ("conv1", "layer1", … "fc"; of MobileNetV2 "features.0" …).
    One that neither multiplies nor changes the map (batch norm, ReLU, identity) is counted with the
    stage before it, so that the columns add up to the network's. The first row is the input.
    """
    import pandas as pd

    shapes, macs = _trace(model, input_shape)
    channels, height, width = input_shape
    rows = [
        dict(stage="input", channels=channels, height=height, width=width, parameters=0, macs=0)
    ]
    for name, module in _children(model):
        channels, height, width = (*shapes[name][1:], 1, 1)[:3]
        row = dict(stage=name, channels=channels, height=height, width=width)
        row["parameters"] = sum(p.numel() for p in module.parameters())
        row["macs"] = macs.get(name, 0)
        last = rows[-1]
        if not row["macs"] and all(
            row[key] == last[key] for key in ("channels", "height", "width")
        ):
            last["parameters"] += row["parameters"]
        else:
            rows.append(row)
    return pd.DataFrame(rows)


def _children(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The children of a network; of a child "features", which holds a whole backbone, its own
    children.
    """
    for name, child in model.named_children():
        if name == "features":
            yield from ((f"features.{i}", part) for i, part in child.named_children())
        else:
            yield name, child


def _trace(
    model: nn.Module, input_shape: tuple[int, int, int]
) -> tuple[dict[str, tuple], dict[str, int]]:
    """Run one image through: output shape and MACs of every module by path.

    A module's MACs are those of all layers inside; the path "" is the whole network.
    """
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise UsageError(
            f"input_shape={tuple(input_shape)}: expected (channels, height, width), for example "
            "(13, 32, 32)"
        )
    shapes = {}
    handles = [
        module.register_forward_hook(
            lambda module, inputs, output, path=path: shapes.update({path: tuple(output.shape)})
        )
        for path, module in model.named_modules()
    ]
    counter = FlopCounterMode(display=False)
    try:
        with evaluating(model), counter:
            model(torch.zeros(1, *input_shape, device=device_of(model)))
    except RuntimeError as error:  # torch's own account of which shapes do not fit
        raise UsageError(
            f"the network cannot take input_shape={tuple(input_shape)} (C, H, W): {error}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    macs = {"": counter.get_total_flops() // 2}  # one MAC is two FLOPs
    for name, flops in counter.get_flop_counts().items():
        _, _, path = name.partition(".")  # the first part names the network's class
        if path:
            macs[path] = sum(flops.values()) // 2
    return shapes, macs


def _check_numbers(threads: int, batch_sizes: tuple[int, ...], rounds: int = 2) -> None:
    if threads < 1 or not all(size >= 1 for size in batch_sizes):
        raise UsageError(
            f"threads={threads}, batch_sizes={tuple(batch_sizes)}: expected numbers of 1 or more"
        )
    if rounds < 2:
        raise UsageError(f"rounds={rounds}: expected 2 or more")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """torch with `count` CPU threads; afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _latencies_ms(model: nn.Module, shape: tuple[int, ...]) -> list[float]:
    with evaluating(model):
        return [1000 * seconds for seconds in times(_forward_pass(model, shape))]


def _forward_pass(model: nn.Module, shape: tuple[int, ...]) -> Callable[[], None]:
    device = device_of(model)
    # Zeros: dense arithmetic takes the same time for any values.
    images = torch.zeros(shape, device=device)

    def forward_pass() -> None:
        model(images)
        _wait_for(device)

    return forward_pass


def _wait_for(device: torch.device) -> None:
    """Accelerators answer before they are done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def device_of(model: nn.Module) -> torch.device:
    """Where a network's parameters are; the CPU for one without parameters."""
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; afterwards every module is in the mode in which it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training
