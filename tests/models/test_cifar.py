"""The benchmark's networks: their published sizes, the features that hooks find, a step of
training.
"""

import os
import subprocess
import sys
from itertools import pairwise

import pytest
import torch

from kdcourse import models
from kdcourse.common.errors import UsageError
from kdcourse.distillation import (
    AttentionTransfer,
    Combined,
    FitNets,
    RelationalKD,
    ResponseKD,
    Teacher,
    forward_with_features,
)
from kdcourse.models.cifar import PreActivationBlock
from kdcourse.training import fit

PAIRS = [
    ("resnet32x4", "resnet8x4"),
    ("wrn_40_2", "wrn_16_2"),
    ("resnet56", "resnet20"),
    ("vgg13", "vgg8"),
]
NETWORKS = [name for pair in PAIRS for name in pair]


def build(name, **options):
    torch.manual_seed(0)
    return getattr(models, name)(**options)


def conv(before, after, kernel, size):
    """MACs for an output of size × size."""
    return before * after * kernel**2 * size**2


def residual(widths, convolutions):
    """MACs of a network with a stem and three stages of so many 3×3 convolutions, and a 1×1 where
    the width changes.
    """
    total = conv(3, widths[0], 3, 32) + widths[-1] * 100
    for (before, after), size in zip(pairwise(widths), (32, 16, 8), strict=True):
        total += conv(before, after, 3, size) + (convolutions - 1) * conv(after, after, 3, size)
        total += conv(before, after, 1, size) if before != after else 0
    return total


def vgg(convolutions):
    total = 512 * 100
    for (before, after), size in zip(
        pairwise((3, 64, 128, 256, 512, 512)), (32, 16, 8, 4, 4), strict=True
    ):
        total += conv(before, after, 3, size) + (convolutions - 1) * conv(after, after, 3, size)
    return total


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),  # parameters: of RepDistiller's networks; MACs: by hand
    [
        ("resnet20", 278_324, residual((16, 16, 32, 64), 6)),
        ("resnet56", 861_620, residual((16, 16, 32, 64), 18)),
        ("resnet8x4", 1_233_540, residual((32, 64, 128, 256), 2)),
        ("resnet32x4", 7_433_860, residual((32, 64, 128, 256), 10)),
        ("wrn_16_2", 703_284, residual((16, 32, 64, 128), 4)),
        ("wrn_40_2", 2_255_156, residual((16, 32, 64, 128), 12)),
        ("vgg8", 3_965_028, vgg(1)),
        ("vgg13", 9_462_180, vgg(2)),
    ],
)
def test_parameters_and_macs_of_the_benchmark(name, parameters, macs):
    measured = models.cost(build(name), (3, 32, 32), latency=False)
    assert (measured.parameters, measured.macs) == (parameters, macs)


def test_macs_are_about_the_known_ones():
    assert residual((16, 16, 32, 64), 6) / 1e6 == pytest.approx(41, abs=1)  # ResNet-20
    assert residual((16, 16, 32, 64), 18) / 1e6 == pytest.approx(126, abs=2)  # ResNet-56


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("resnet20", [(16, 32, 32), (32, 16, 16), (64, 8, 8)]),
        ("resnet56", [(16, 32, 32), (32, 16, 16), (64, 8, 8)]),
        ("resnet8x4", [(64, 32, 32), (128, 16, 16), (256, 8, 8)]),
        ("resnet32x4", [(64, 32, 32), (128, 16, 16), (256, 8, 8)]),
        ("wrn_16_2", [(32, 32, 32), (64, 16, 16), (128, 8, 8)]),
        ("wrn_40_2", [(32, 32, 32), (64, 16, 16), (128, 8, 8)]),
        ("vgg8", [(128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 4, 4)]),
        ("vgg13", [(128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 4, 4)]),
    ],
)
def test_features_of_the_stages(name, shapes):
    model = build(name).eval()
    with torch.no_grad():
        seen = forward_with_features(model, torch.randn(2, 3, 32, 32), [*model.stages, "avgpool"])
    assert seen.logits.shape == (2, 100)
    *stages, pooled = seen.features.values()
    assert [tuple(features.shape[1:]) for features in stages] == shapes
    assert pooled.shape == (2, shapes[-1][0], 1, 1)
    rectified = not name.startswith("wrn")
    assert all((features.min() >= 0) == rectified for features in stages)
    last = stages[-1] if rectified else model.relu(model.bn1(stages[-1]))
    torch.testing.assert_close(pooled, last.mean((2, 3), keepdim=True))


def test_parts_have_the_names_that_the_docstrings_say():
    top = {
        name: [path for path, _ in build(name).named_children()]
        for name in ("resnet20", "wrn_16_2", "vgg8")
    }
    layers, head = ["layer1", "layer2", "layer3"], ["avgpool", "flatten", "fc"]
    assert top["resnet20"] == ["conv1", "bn1", "relu", *layers, *head]
    assert top["wrn_16_2"] == ["conv1", *layers, "bn1", "relu", *head]
    assert top["vgg8"] == [
        "block0",
        "pool0",
        "block1",
        "pool1",
        "block2",
        "pool2",
        "block3",
        "block4",
        *head,
    ]


def test_a_pre_activation_block_adds_to_its_input_or_to_the_shortcut_of_what_it_activated():
    x = torch.randn(2, 4, 6, 6)
    for block in (PreActivationBlock(4, 4), PreActivationBlock(4, 8, stride=2)):
        torch.nn.init.zeros_(block.conv2.weight)  # the residual is nothing
        by_hand = x if block.shortcut is None else block.shortcut(torch.relu(block.bn1(x)))
        assert torch.equal(block(x), by_hand)


def test_any_channels_classes_size():
    for name in NETWORKS:
        for channels, classes, size in ((1, 10, 28), (13, 7, 64)):
            with torch.device("meta"):
                model = getattr(models, name)(channels, classes).eval()
                shape = model(torch.zeros(2, channels, size, size)).shape
            assert shape == (2, classes), name


def test_the_smallest_images():
    assert build("resnet20").eval()(torch.zeros(1, 3, 1, 1)).shape == (1, 100)
    assert build("wrn_16_2").eval()(torch.zeros(1, 3, 1, 1)).shape == (1, 100)
    assert build("vgg8").eval()(torch.zeros(1, 3, 8, 8)).shape == (1, 100)
    with pytest.raises(UsageError, match=r"cannot take input_shape=\(3, 7, 7\)"):
        models.cost(build("vgg8"), (3, 7, 7), latency=False)


def test_arguments_that_cannot_be_right():
    for name in ("resnet20", "wrn_16_2", "vgg8"):
        with pytest.raises(UsageError, match="channels=0"):
            build(name, channels=0)
        with pytest.raises(UsageError, match="classes=1"):
            build(name, classes=1)


def test_initialisation_is_that_of_the_benchmark():
    for name, path in (
        ("resnet8x4", "layer3.0.conv2"),
        ("wrn_16_2", "layer3.0.conv2"),
        ("vgg8", "block3.0"),
    ):
        convolution = build(name).get_submodule(path)
        assert convolution.weight.std().item() == pytest.approx(
            (2 / (9 * convolution.out_channels)) ** 0.5, rel=0.02
        )
        assert convolution.bias is None or not convolution.bias.any()
    assert build("vgg8").fc.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not build("vgg8").fc.bias.any() and not build("wrn_16_2").fc.bias.any()


@pytest.mark.parametrize(("teacher", "student"), PAIRS)
def test_a_pair_learns_from_logits_and_from_every_stage(make_data, teacher, student):
    data = make_data(count=15, size=16)  # 9 to train on: one step
    teacher, student = Teacher(build(teacher, classes=3)), build(student, classes=3)
    stages = student.stages
    assert stages == teacher.network.stages
    objectives = [
        ResponseKD(teacher),
        FitNets(teacher, stages[1], stages[1], label_weight=0),
        AttentionTransfer(teacher, stages, stages, label_weight=0),
        RelationalKD(teacher, "avgpool", "avgpool", label_weight=0),
    ]
    history = fit(
        student,
        data,
        Combined(objectives, [1] * 4),
        epochs=1,
        batch_size=9,
        precision="float32",
        device="cpu",
        progress=False,
    )
    assert {"soft", "label", "hint", "attention", "distance"} <= history.records[0].keys()
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert all(parameter.grad is None for parameter in teacher.network.parameters())


STEPS = """
import torch
from torch.nn import functional as F
from kdcourse.models import resnet20
model = resnet20().to(memory_format=torch.channels_last)
optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
for bfloat16 in (True, False):
    for size, steps in ((1, 8), (2, 4), (8, 1), (64, 1)):
        for _ in range(steps):
            images = torch.randn(size, 3, 32, 32).to(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                loss = F.cross_entropy(model(images).float(), torch.arange(size))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
"""


@pytest.mark.slow
def test_strided_shortcuts_do_not_break_the_process():
    """In a process of its own, which torch's fault would kill: see
    `kdcourse.models.resnet._shortcut`.

    ResNet-20 and -56 have the narrowest strided shortcuts, both the same: 16 and 32 channels.
    """
    environment = os.environ | {
        "OMP_NUM_THREADS": "2",
        "OMP_WAIT_POLICY": "passive",
    }  # one thread seldom shows it
    done = subprocess.run(
        [sys.executable, "-c", STEPS], text=True, capture_output=True, env=environment
    )
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-2000:]}"
