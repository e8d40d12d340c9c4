"""Exercise 02: right answers written otherwise than the solution, and wrong ones with what they
must be told.
"""

import itertools
import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock

# --- map_sizes ------------------------------------------------------------------------------------


def sizes_by_layers(size, layers):
    x, sizes = torch.zeros(1, 1, size, size), []
    for kernel, stride, padding in layers:
        x = nn.Conv2d(1, 1, kernel, stride, padding)(x)
        sizes.append(x.shape[-1])
    return torch.tensor(sizes)


def sizes_by_counting(size, layers):
    sizes = []
    for kernel, stride, padding in layers:
        size = len(range(0, size + 2 * padding - kernel + 1, stride))
        sizes.append(float(size))
    return tuple(sizes)


def sizes_by(formula, chained=True):
    def map_sizes(size, layers):
        sizes, first = [], size
        for kernel, stride, padding in layers:
            size = formula(size if chained else first, kernel, stride, padding)
            sizes.append(size)
        return sizes

    return map_sizes


# --- convolution_cost -----------------------------------------------------------------------------


def cost_by_layer(shape, out_channels, kernel, stride, padding, groups, bias):
    layer = nn.Conv2d(shape[0], out_channels, kernel, stride, padding, groups=groups, bias=bias)
    pixels = layer(torch.zeros(1, *shape))[0, 0].numel()
    return sum(p.numel() for p in layer.parameters()), pixels * layer.weight.numel()


def cost_by_loops(shape, out_channels, kernel, stride, padding, groups, bias):
    channels, height, width = shape
    weights = sum(
        1
        for _ in itertools.product(range(out_channels), range(channels // groups), range(kernel**2))
    )
    rows = len(range(0, height + 2 * padding - kernel + 1, stride))
    columns = len(range(0, width + 2 * padding - kernel + 1, stride))
    return np.array(
        [weights + (out_channels if bias else 0), weights * rows * columns], dtype=float
    )


def cost_by(weights=None, parameters=None, macs=None, size=None):
    """The right formulas, each of which can be exchanged for another."""
    weights = weights or (lambda i, o, k, g: o * i // g * k * k)
    parameters = parameters or (lambda w, i, o, bias: w + o * bias)
    macs = macs or (lambda w, pixels, i, o, k, bias: w * pixels)
    size = size or (lambda n, k, s, p: (n + 2 * p - k) // s + 1)

    def convolution_cost(shape, out_channels, kernel, stride, padding, groups, bias):
        channels, height, width = shape
        own = weights(channels, out_channels, kernel, groups)
        pixels = size(height, kernel, stride, padding) * size(width, kernel, stride, padding)
        of_all = macs(own, pixels, channels, out_channels, kernel, bias)
        return parameters(own, channels, out_channels, bias), of_all

    return convolution_cost


# --- residual_block -------------------------------------------------------------------------------


def block_by_torchvision(x, weights, stride):
    shortcut = None
    if "downsample.0.weight" in weights:
        after, before = weights["downsample.0.weight"].shape[:2]
        shortcut = nn.Sequential(
            nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
        )
    block = BasicBlock(x.shape[1], weights["conv1.weight"].shape[0], stride, shortcut)
    block.load_state_dict(weights)
    return block.eval()(x)


def block_by_folding(x, weights, stride):
    """In float64, each batch norm folded into the convolution before it."""
    w = {name: value.double() for name, value in weights.items()}

    def layer(x, conv, norm, stride, padding):
        factor = w[f"{norm}.weight"] / torch.sqrt(w[f"{norm}.running_var"] + 1e-5)
        bias = w[f"{norm}.bias"] - factor * w[f"{norm}.running_mean"]
        return F.conv2d(x, w[f"{conv}.weight"] * factor[:, None, None, None], bias, stride, padding)

    x = x.double()
    y = layer(layer(x, "conv1", "bn1", stride, 1).clamp(min=0), "conv2", "bn2", 1, 1)
    shortcut = (
        layer(x, "downsample.0", "downsample.1", stride, 0) if "downsample.0.weight" in w else x
    )
    return torch.maximum(y + shortcut, torch.zeros(())).numpy()


def norm(x, w, name, training=False, eps=1e-5):
    mean, var = w[f"{name}.running_mean"].clone(), w[f"{name}.running_var"].clone()
    return F.batch_norm(
        x, mean, var, w[f"{name}.weight"], w[f"{name}.bias"], training=training, eps=eps
    )


def by_variance(x, w, name):
    mean, var, scale, shift = (
        w[f"{name}.{key}"].view(1, -1, 1, 1)
        for key in ("running_mean", "running_var", "weight", "bias")
    )
    return scale * (x - mean) / (var + 1e-5) + shift


def block_by(
    norm=norm, shortcut="both", add=lambda y, x: F.relu(y + x), middle=F.relu, second_stride=False
):
    def residual_block(x, w, stride):
        y = middle(norm(F.conv2d(x, w["conv1.weight"], stride=stride, padding=1), w, "bn1"))
        y = norm(
            F.conv2d(y, w["conv2.weight"], stride=stride if second_stride else 1, padding=1),
            w,
            "bn2",
        )
        if "downsample.0.weight" in w and shortcut != "never":
            x = F.conv2d(x, w["downsample.0.weight"], stride=stride)
            x = (
                norm(x, w, "downsample.1" if shortcut == "both" else "bn2")
                if shortcut != "bare"
                else x
            )
        return add(y, x)

    return residual_block


# --- choose_pair ----------------------------------------------------------------------------------


def pair_by_sorting(networks):
    by_accuracy = sorted(networks, key=lambda network: network["val_accuracy"], reverse=True)
    for student in by_accuracy:
        for teacher in by_accuracy:
            if (
                teacher["val_accuracy"] - student["val_accuracy"] >= 3
                and 5 * student["macs"] <= teacher["macs"]
            ):
                return teacher["name"], student["name"]
    return None


def pair_by_arrays(networks):
    accuracy = np.array([network["val_accuracy"] for network in networks])
    macs = np.array([network["macs"] for network in networks], dtype=float)
    fits = (accuracy[:, None] - accuracy >= 3) & (macs[:, None] / macs >= 5)  # (teachers, students)
    if not fits.any():
        return None
    student = np.where(fits.any(0), accuracy, -1).argmax()
    teacher = np.where(fits[:, student], accuracy, -1).argmax()
    return [networks[teacher]["name"], networks[student]["name"]]


def pair_by(accuracy="val_accuracy", size="macs", points=3.0, times=5.0, best=None):
    best = best or (lambda teacher, student: (student[accuracy], teacher[accuracy]))

    def choose_pair(networks):
        pairs = [
            (teacher, student)
            for teacher, student in itertools.permutations(networks, 2)
            if teacher[accuracy] - student[accuracy] >= points
            and teacher[size] >= times * student[size]
        ]
        return (
            tuple(one["name"] for one in max(pairs, key=lambda pair: best(*pair)))
            if pairs
            else None
        )

    return choose_pair


def pair_by_percent(networks):
    more = [
        network | {"val_accuracy": 1e6 * math.log(network["val_accuracy"])} for network in networks
    ]
    return pair_by(points=1e6 * math.log(1.03))(more)


def pair_of_extremes(networks):
    ranked = sorted(networks, key=lambda network: network["macs"])
    return ranked[-1]["name"], ranked[0]["name"]


# --- the tables -----------------------------------------------------------------------------------

WORK = {"stage": "layer3", "share": 32.7, "ratio": 5.91}

RIGHT = {
    "map_sizes": [
        sizes_by_layers,
        sizes_by_counting,
        sizes_by(lambda n, k, s, p: -(-(n + 2 * p - k + 1) // s)),
    ],
    "convolution_cost": [cost_by_layer, cost_by_loops, cost_by()],
    "residual_block": [block_by_torchvision, block_by_folding, block_by()],
    "work": [
        WORK,
        {"ratio": torch.tensor(6.0), "share": 33, "stage": "Layer3"},
        WORK | {"share": np.float32(31.5)},
        WORK | {"stage": "layer 3", "share": "33 %"},
    ],
    "choose_pair": [pair_by_sorting, pair_by_arrays, pair_by()],
    "claims": [
        ["B", "C", "E"],
        "bce",
        ("E", "C", "B"),
        {"B", "C", "E"},
        "B, C and E",
        {c: c in "BCE" for c in "ABCDEF"},
    ],
}
WRONG = {
    "map_sizes": [
        (sizes_by(lambda n, k, s, p: n // s), "stride only", "padding"),
        (sizes_by(lambda n, k, s, p: (n + 2 * p - k) // s), "plus one", "first place"),
        (sizes_by(lambda n, k, s, p: (n + p - k) // s + 1), "one side", "both"),
        (sizes_by(lambda n, k, s, p: (n - k) // s + 1), "no padding", "missing"),
        (
            sizes_by(lambda n, k, s, p: math.ceil((n + 2 * p - k) / s) + 1),
            "rounded up",
            "round down",
        ),
        (sizes_by(lambda n, k, s, p: (n + 2 * p - k) / s + 1), "fraction", "round down"),
        (sizes_by(lambda n, k, s, p: round((n + 2 * p - k) / s + 1)), "nearest", "Round down"),
        (sizes_by(lambda n, k, s, p: (n + 2 * p - k + 1) // s), "stride later", "last"),
        (
            sizes_by(lambda n, k, s, p: (n + 2 * p - k) // s + 1, chained=False),
            "not chained",
            "layer before",
        ),
        (lambda size, layers: sizes_by_layers(size, layers)[-1], "shape", "(2,)"),
        (lambda size, layers: [size, *sizes_by_layers(size, layers).tolist()], "shape", "(2,)"),
    ],
    "convolution_cost": [
        (cost_by(weights=lambda i, o, k, g: o * i * k * k), "groups", "sees only"),
        (cost_by(weights=lambda i, o, k, g: o // g * i // g * k * k), "groups twice", "shared out"),
        (cost_by(weights=lambda i, o, k, g: o * i // g * k), "kernel", "kernel · kernel"),
        (cost_by(parameters=lambda w, i, o, bias: w), "bias", "missing"),
        (cost_by(parameters=lambda w, i, o, bias: w + o), "bias", "there is none"),
        (cost_by(parameters=lambda w, i, o, bias: w + i * bias), "bias of inputs", "output"),
        (cost_by(size=lambda n, k, s, p: n), "input size", "output"),
        (cost_by(size=lambda n, k, s, p: n // s), "stride only", "task 1"),
        (cost_by(macs=lambda w, pixels, i, o, k, bias: 2 * w * pixels), "flops", "one"),
        (
            cost_by(macs=lambda w, pixels, i, o, k, bias: (w + o * bias) * pixels),
            "bias in macs",
            "added",
        ),
        (
            cost_by(macs=lambda w, pixels, i, o, k, bias: o * i * k * k * pixels),
            "groups",
            "multiply–adds",
        ),
        (cost_by(macs=lambda w, pixels, i, o, k, bias: w), "no map", "output map"),
        (lambda *args: cost_by()(*args)[::-1], "swapped", "(parameters, macs)"),
        (lambda *args: cost_by()(*args)[0], "shape", "(2,)"),
    ],
    "residual_block": [
        (block_by(add=lambda y, x: F.relu(y)), "no shortcut", "x is added"),
        (
            block_by(norm=lambda x, w, name: norm(x, w, name, training=True)),
            "batch statistics",
            "running_mean",
        ),
        (block_by(add=lambda y, x: F.relu(y) + x), "relu before adding", "*after*"),
        (block_by(add=lambda y, x: F.relu(F.relu(y) + x)), "relu too often", "no ReLU between"),
        (block_by(add=lambda y, x: y + x), "no last relu", "missing"),
        (block_by(middle=lambda y: y), "no first relu", "bn1"),
        (block_by(norm=lambda x, w, name: norm(x, w, name, eps=0.0)), "epsilon", "1e-5"),
        (block_by(norm=by_variance), "variance", "root"),
        (block_by(shortcut="bare"), "shortcut without norm", "downsample.1"),
        (block_by(shortcut="second"), "shortcut as bn2", "of its own"),
        (block_by(shortcut="never"), "raised", "must match"),
        (block_by(second_stride=True), "raised", "must match"),
    ],
    "work": [
        (WORK | {"share": "a third"}, "type", "a number"),
        (WORK | {"share": None}, "type", "got None"),
        (WORK | {"stage": "layer4"}, "parameters", "most parameters"),
        (WORK | {"stage": "layer1"}, "stage", "highest"),
        (WORK | {"share": 0.327}, "fraction", "In %"),
        (WORK | {"share": 30.1}, "parameters", "share of parameters"),
        (WORK | {"share": 5.5}, "of the student", "student's work"),
        (WORK | {"share": 119.5}, "millions", "divide"),
        (WORK | {"ratio": 0.17}, "turned over", "larger"),
        (WORK | {"ratio": 0.47}, "parameters", "ratio of parameters"),
        (WORK | {"ratio": 8.0}, "value", "too large"),
        (("layer3", 32.7, 5.91), "type", "keys"),
    ],
    "choose_pair": [
        (pair_by(size="parameters"), "parameters", "not cost"),
        (pair_by(accuracy="test_accuracy"), "test", "Validation chooses"),
        (lambda networks: (pair_by()(networks) or (None,))[::-1], "type", "or None"),
        (lambda networks: (pair_by()(networks) or ())[::-1] or None, "swapped", "order"),
        (
            pair_by(best=lambda t, s: (t["val_accuracy"], s["val_accuracy"])),
            "best teacher first",
            "student",
        ),
        (pair_by(best=lambda t, s: -s["macs"]), "cheapest student", "cheap enough"),
        (
            pair_by(best=lambda t, s: (s["val_accuracy"], -t["macs"])),
            "cheapest teacher",
            "most accurate",
        ),
        (pair_by(points=0.0), "not better", "at least 3"),
        (pair_by(times=1.0), "not cheaper", "at least 5"),
        (pair_by(times=1 / 5), "not cheaper", "turn the ratio"),
        (pair_by(points=3.01), "exactly", "`>=`"),
        (pair_of_extremes, "largest and smallest", "need not be the best"),
        (pair_by_percent, "percent", "subtract"),
        (lambda networks: None, "none found", "is a pair"),
        (lambda networks: pair_by()(networks) or networks[0]["name"], "type", "or None"),
    ],
    "claims": [
        (["A", "B", "C", "E"], "claim A", "times the multiply–adds"),
        (["C", "E"], "claim B", "times the parameters"),
        (["B", "E"], "claim C", "of the multiply–adds"),
        (["B", "C", "D", "E"], "claim D", "logits"),
        (["B", "C"], "claim E", "state dict"),
        (["B", "C", "E", "F"], "claim F", "times its multiply–adds"),
        ("all", "type", "No statement"),
        ([1, 2], "type", "letters"),
        (3, "type", "letters"),
    ],
}
