"""Costs: the formulae, and that measuring leaves a network as it was."""

import dataclasses
import importlib
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from kdcourse.common import system
from kdcourse.common.errors import UsageError
from kdcourse.models import (
    cost,
    d1_student,
    d1_teacher,
    latencies,
    mobilenet_v2,
    stages,
    thin_resnet,
)

module = importlib.import_module("kdcourse.models.cost")  # `kdcourse.models.cost` is the function


def hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize(
    ("layers", "shape", "macs"),
    [
        ([nn.Conv2d(4, 6, 3, padding=1)], (4, 5, 7), 5 * 7 * 6 * 4 * 9),
        ([nn.Conv2d(4, 6, (1, 3), stride=2)], (4, 5, 7), 3 * 3 * 6 * 4 * 3),
        ([nn.Conv2d(4, 8, 3, groups=4)], (4, 5, 5), 3 * 3 * 8 * 1 * 9),
        ([nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2)], (3, 2, 2), 12 * 5 + 5 * 2),
    ],
    ids=["padded", "strided", "grouped", "linear"],
)
def test_macs_by_hand(layers, shape, macs):
    assert cost(nn.Sequential(*layers), shape, latency=False).macs == macs


def test_a_layer_used_twice_is_counted_twice():
    layer = nn.Conv2d(2, 2, 1)
    measured = cost(nn.Sequential(layer, layer), (2, 3, 3), latency=False)
    assert (measured.macs, measured.parameters) == (2 * 36, 6)


def test_size_is_four_bytes_a_number_in_any_precision():
    model = nn.Sequential(
        nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)
    )  # 2 + 4 floats and a counter of 8 bytes
    assert cost(model, (1, 2, 2), latency=False).size_mb == pytest.approx((6 * 4 + 8) / 1e6)


def test_latency_of_each_batch_size_and_nothing_left_behind():
    model = thin_resnet(8, 4, 3).train()
    model.bn1.eval()  # a frozen batch norm in a network in training
    before = (
        torch.get_num_threads(),
        {name: module.training for name, module in model.named_modules()},
    )
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    measured = cost(model, (3, 8, 8), batch_sizes=(1, 5), threads=1)
    assert list(measured.latency_ms) == [1, 5] and min(measured.latency_ms.values()) > 0
    assert measured.threads == 1 and measured.device == "cpu"
    assert before == (
        torch.get_num_threads(),
        {name: module.training for name, module in model.named_modules()},
    )
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert hooks(model) == 0


def test_latency_is_a_median_after_warm_up(monkeypatch):
    ticks = iter([0, 9, 10, 11, 20, 22, 30, 33, 40, 44])  # five runs of 9, 1, 2, 3 and 4 seconds
    monkeypatch.setattr(system, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    calls = []
    model = nn.Sequential(nn.Conv2d(1, 1, 1))
    model.register_forward_hook(lambda *_: calls.append(1))
    measured = cost(model, (1, 2, 2), batch_sizes=(1,))
    assert measured.latency_ms == {1: 3000} and measured.p95_ms == {1: pytest.approx(8000)}
    assert len(calls) == 1 + 2 + 5  # one to count, two to warm up


def test_networks_take_turns_and_are_left_as_they_were(monkeypatch):
    monkeypatch.setattr(module, "times_in_turns", partial(system.times_in_turns, seconds=0.001))
    networks = {name: nn.Sequential(nn.Conv2d(1, 1, 1)).train() for name in "ab"}
    calls = []
    for name, network in networks.items():
        network.register_forward_hook(lambda *_, name=name: calls.append(name))
    times = latencies(networks, (1, 2, 2), batch_sizes=(1, 3), threads=1, rounds=2)
    turns = [
        name for name, before in zip(calls, [None, *calls[:-1]], strict=True) if name != before
    ]
    assert "".join(turns) == "ab" + 2 * 2 * "ab"  # first each shows that it takes the shape
    assert list(times) == ["a", "b"] and list(times["a"]) == [1, 3]
    for latency in (*times["a"].values(), *times["b"].values()):
        assert 0 < latency.q1 <= latency.median <= latency.q3 <= latency.p95
    assert all(network.training for network in networks.values())
    with pytest.raises(UsageError, match="rounds=1"):
        latencies(networks, (1, 2, 2), rounds=1)
    with pytest.raises(UsageError, match="input_shape"):
        latencies(networks, (2, 2, 2))


def test_threads_are_used_and_restored_even_after_an_error(monkeypatch):
    before, seen = torch.get_num_threads(), []

    def broken(*_):
        seen.append(torch.get_num_threads())
        raise RuntimeError("broken")

    monkeypatch.setattr(module, "_latencies_ms", broken)
    with pytest.raises(RuntimeError, match="broken"):
        cost(thin_resnet(8, 4), (3, 8, 8), threads=before + 1)
    assert seen == [before + 1] and torch.get_num_threads() == before


def test_wrong_input_shape_says_so_and_removes_the_hooks():
    model = thin_resnet(8, 4, 13).train()
    for shape in ((3, 32, 32), (13, 32), (13, 0, 32)):
        with pytest.raises(UsageError, match="input_shape"):
            cost(model, shape)
    assert hooks(model) == 0 and model.training


def test_bad_numbers():
    with pytest.raises(UsageError, match="threads=0"):
        cost(thin_resnet(8, 4), (3, 8, 8), threads=0)
    with pytest.raises(UsageError, match="batch_sizes"):
        cost(thin_resnet(8, 4), (3, 8, 8), batch_sizes=(0,))


def test_row_and_repr():
    measured = cost(thin_resnet(8, 16, 13), (13, 32, 32), latency=False)
    measured = dataclasses.replace(measured, latency_ms={1: 0.5, 64: 20.0})
    assert measured.row() == pytest.approx(
        {
            "parameters (M)": 0.079482,
            "MACs (M)": 13.976192,
            "size (MB)": 0.3206,
            "batch 1 (ms)": 0.5,
            "batch 64 (ms)": 20,
        },
        rel=1e-3,
    )
    assert "13.98 M MACs" in repr(measured) and "batch 64: 20 ms" in repr(measured)


@pytest.mark.parametrize(
    "build", [d1_teacher, d1_student, lambda: mobilenet_v2(13), lambda: thin_resnet(10, 8, 13)]
)
def test_stages_add_up_to_the_network(build):
    model = build()
    table, whole = stages(model, (13, 32, 32)), cost(model, (13, 32, 32), latency=False)
    assert (table.parameters.sum(), table.macs.sum()) == (whole.parameters, whole.macs)


def test_stages_of_d1():
    teacher = stages(d1_teacher(), (13, 32, 32)).set_index("stage")
    assert list(teacher.height) == [32, 16, 8, 8, 4, 2, 1, 1]
    assert list(teacher.channels) == [13, 64, 64, 256, 512, 1024, 2048, 10]
    assert list(teacher.index) == [
        "input",
        "conv1",
        "maxpool",
        "layer1",
        "layer2",
        "layer3",
        "layer4",
        "fc",
    ]
    student = stages(d1_student(), (13, 32, 32)).set_index("stage")
    assert list(student.height) == [32, 32, 32, 16, 8, 4, 1, 1]
    assert set(student.macs[["layer1", "layer2", "layer3", "layer4"]]) == {
        2**27
    }  # half the side, twice the channels
