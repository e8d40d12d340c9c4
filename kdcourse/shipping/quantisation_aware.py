"""Quantisation-aware training: a network that computes as its int8 file will, and can still learn.

Weights and inputs of each convolution and linear layer are rounded in the forward pass; the
gradient passes as if they were not (the straight-through estimator: Bengio, Léonard & Courville
2013). So training moves the weights to where rounding does less harm (Jacob et al. 2018, sec. 3).
With `ResponseKD` the float teacher teaches the rounded student (Mishra & Marr 2018, "Apprentice";
Polino, Pascanu & Alistarh 2018).

    student = rounded(student, calibration)                     # images as Batches normalises them
    fit(student, data, ResponseKD(teacher), epochs=3, precision="float32", …)
    export(plain(student), data, "student.int8.onnx", int8=True)
"""

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from kdcourse.common.errors import UsageError
from kdcourse.models.cost import evaluating

WEIGHT_BITS = 7  # of the 8 that the file has: see `quantise`
MEMORY = 0.9  # how much of the known range a batch in training leaves


def round_through(
    values: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | int, low: int, high: int
):
    """scale · (q − zero) with q = clamp(round(values / scale) + zero, low, high); its gradient is
    that of `values`.
    """
    q = (torch.round(values / scale) + zero).clamp(low, high)
    return values + (scale * (q - zero) - values).detach()


class Rounded(nn.Module):
    """A convolution or linear layer whose weights and inputs are rounded.

    Weights: symmetric, a scale for each output channel, from its largest weight. Inputs: a scale
    and a zero point for the whole tensor, from the range of what came in; in training the range
    follows.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, weight_bits: int, input_bits: int):
        super().__init__()
        self.layer, self.weight_bits, self.input_bits = layer, weight_bits, input_bits
        self.register_buffer("range", torch.zeros(2))  # of the inputs; zero is always in it
        self.watching = False

    def weight(self) -> torch.Tensor:
        high = 2 ** (self.weight_bits - 1) - 1
        weight = self.layer.weight
        largest = weight.detach().abs().flatten(1).amax(1).clamp(min=1e-12)  # (outputs,)
        return round_through(
            weight, (largest / high).reshape(-1, *[1] * (weight.dim() - 1)), 0, -high, high
        )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.watching or self.training:
            found = torch.stack(
                [inputs.detach().min().clamp(max=0), inputs.detach().max().clamp(min=0)]
            ).float()
            widest = torch.stack(
                [torch.minimum(self.range[0], found[0]), torch.maximum(self.range[1], found[1])]
            )
            self.range.copy_(
                widest if self.watching else MEMORY * self.range + (1 - MEMORY) * found
            )
        if not self.watching:
            levels = 2**self.input_bits - 1
            scale = ((self.range[1] - self.range[0]) / levels).clamp(min=1e-12)
            inputs = round_through(inputs, scale, torch.round(-self.range[0] / scale), 0, levels)
        return torch.func.functional_call(self.layer, {"weight": self.weight()}, (inputs,))

    def extra_repr(self) -> str:
        return f"weights {self.weight_bits} bits, inputs {self.input_bits} bits"


def rounded(
    network: nn.Module,
    calibration: torch.Tensor,
    *,
    weight_bits: int = WEIGHT_BITS,
    input_bits: int = 8,
) -> nn.Module:
    """A copy whose convolutions and linear layers round; batch norm is folded into the convolution
    before it.

    calibration: normalised images (B, C, H, W), validation images, that the ranges of the inputs
    are taken from. Without further training this is plain post-training quantisation. Raises
    UsageError for bits that cannot be right.
    """
    for name, bits in (("weight_bits", weight_bits), ("input_bits", input_bits)):
        if not 2 <= bits <= 16:
            raise UsageError(f"{name}={bits}: expected 2 to 16")
    network = copy.deepcopy(network)
    _fold(network.eval())
    _replace(
        network,
        (nn.Conv2d, nn.Linear),
        lambda layer: Rounded(layer.requires_grad_(True), weight_bits, input_bits),
    )
    layers = [module for module in network.eval().modules() if isinstance(module, Rounded)]
    for watching in (True, False):
        for layer in layers:
            layer.watching = watching
        if watching:
            with evaluating(network):
                network(calibration.to(next(network.parameters()).device))
    return network


def plain(network: nn.Module) -> nn.Module:
    """A copy of a `rounded` network with ordinary layers, their weights rounded: what `export`
    takes.
    """

    def layer(module: Rounded) -> nn.Module:
        with torch.no_grad():
            module.layer.weight.copy_(module.weight())
        return module.layer

    network = copy.deepcopy(network)
    _replace(network, Rounded, layer)
    return network


def _replace(network: nn.Module, kinds, maker) -> None:
    for name, child in network.named_children():
        if isinstance(child, kinds):
            setattr(network, name, maker(child))
        else:
            _replace(child, kinds, maker)


def _fold(network: nn.Module) -> None:
    """Fold each batch norm into the convolution that was registered right before it, as the
    exporter does.
    """
    before, last = None, None
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d) and isinstance(last, nn.Conv2d):
            setattr(network, before, fuse_conv_bn_eval(last, child))
            setattr(network, name, nn.Identity())
        _fold(child)
        before, last = name, child
