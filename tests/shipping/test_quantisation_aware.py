"""Networks that round while they learn: the arithmetic, the copies, and that training helps."""

import copy

import pytest
import torch
from torch import nn

from kdcourse.common.errors import UsageError
from kdcourse.data import Batches
from kdcourse.distillation import CrossEntropy
from kdcourse.evaluation import evaluate, predict
from kdcourse.models import mobilenet_v2, thin_resnet
from kdcourse.shipping.quantisation_aware import Rounded, plain, round_through, rounded
from kdcourse.training import fit


def images(count=8, channels=3, size=8):
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network():
    """A thin ResNet whose batch norms have seen something."""
    torch.manual_seed(0)
    network = thin_resnet(8, 4, 3, 3).train()
    network(images(64))
    return network.eval()


def layers(network):
    return [module for module in network.modules() if isinstance(module, Rounded)]


def test_rounding_by_hand():
    x = torch.tensor([-9.0, -0.6, 0.2, 0.6, 9.0], requires_grad=True)
    symmetric = round_through(x, torch.tensor(0.5), 0, -3, 3)
    assert symmetric.tolist() == [-1.5, -0.5, 0.0, 0.5, 1.5]
    with_zero = round_through(x, torch.tensor(1.0), 1, 0, 3)  # q = round(x) + 1 in 0 … 3
    assert with_zero.tolist() == [-1.0, -1.0, 0.0, 1.0, 2.0]
    symmetric.sum().backward()
    assert x.grad.tolist() == [1.0] * 5


def test_weights_have_a_step_for_each_output():
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data = torch.tensor([[3.0, 1.4], [0.03, 0.0]])
    assert Rounded(layer, 3, 8).weight().tolist() == [[3.0, 1.0], [pytest.approx(0.03), 0.0]]


def test_inputs_are_rounded_to_their_range():
    layer = nn.Linear(3, 3, bias=False)
    layer.weight.data = torch.eye(3)
    network = rounded(
        nn.Sequential(layer), torch.tensor([[-1.0, 0.0, 2.0]]), weight_bits=8, input_bits=2
    )
    answers = network(
        torch.tensor([[-1.0, 0.6, 5.0]])
    )  # steps of 1 from −1 to 2; what is beyond is cut
    torch.testing.assert_close(answers, torch.tensor([[-1.0, 1.0, 2.0]]))


@pytest.mark.parametrize(
    "make", [lambda: thin_resnet(8, 4, 3, 3), lambda: mobilenet_v2(3, 3, stem="small")]
)
def test_batch_norm_is_folded_and_many_bits_change_nothing(make):
    torch.manual_seed(0)
    network = make().train()
    network(images(64))
    network.eval()
    before = copy.deepcopy(network.state_dict())
    fine = rounded(network, images(), weight_bits=16, input_bits=16)
    assert not [module for module in fine.modules() if isinstance(module, nn.BatchNorm2d)]
    kinds = (nn.Conv2d, nn.Linear)
    assert len(layers(fine)) == sum(isinstance(module, kinds) for module in network.modules())
    with torch.no_grad():
        torch.testing.assert_close(fine(images()), network(images()), rtol=1e-2, atol=1e-2)
    after = network.state_dict()
    assert before.keys() == after.keys() and all(
        torch.equal(before[key], after[key]) for key in before
    )


def test_fewer_bits_are_farther_away(network):
    with torch.no_grad():
        errors = [
            (rounded(network, images(), weight_bits=bits)(images()) - network(images()))
            .abs()
            .mean()
            for bits in (8, 4, 2)
        ]
    assert errors[0] < errors[1] < errors[2]


def test_the_range_follows_in_training_and_stays_in_eval(network):
    student = rounded(network, images())
    first = layers(student)[0]
    before = first.range.clone()
    student.eval()(10 * images())
    assert torch.equal(first.range, before)
    student.train()(10 * images())
    torch.testing.assert_close(first.range, 0.9 * before + 0.1 * 10 * before)


def test_plain_layers_answer_as_the_rounded_weights_do(network):
    student = rounded(network, images(), weight_bits=3)
    unwrapped = plain(student)
    assert not layers(unwrapped) and layers(student)
    for layer in layers(student):
        layer.input_bits = 16
        assert layer.weight().unique().numel() > 7  # a step for each output
    with torch.no_grad():
        torch.testing.assert_close(unwrapped(images()), student(images()), rtol=1e-2, atol=1e-2)


def test_training_while_rounded_wins_back_what_rounding_lost(make_data):
    data = make_data()
    network = thin_resnet(8, 4, 3, 3)
    options = dict(augment=None, device="cpu", precision="float32", progress=False)
    fit(network, data, CrossEntropy(), epochs=6, batch_size=16, **options)
    calibration = next(Batches(data.val, 64).epoch()).images
    broken = rounded(network, calibration, weight_bits=2)
    student = rounded(network, calibration, weight_bits=2)
    fit(student, data, CrossEntropy(), epochs=6, batch_size=16, **options)
    losses = [evaluate(each, data.test, data.classes).nll for each in (broken, student)]
    assert losses[1] < losses[0]
    assert predict(plain(student), data.test)[0].shape == (len(data.test), 3)


@pytest.mark.parametrize("bits", [{"weight_bits": 1}, {"input_bits": 17}])
def test_bits_that_cannot_be(network, bits):
    with pytest.raises(UsageError, match=f"{next(iter(bits))}="):
        rounded(network, images(), **bits)
