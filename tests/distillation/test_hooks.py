"""Features by hooks: the right ones, and nothing left behind."""

import pytest
import torch
from torch import nn

from kdcourse.common.errors import UsageError
from kdcourse.distillation import FeatureHooks, forward_with_features
from kdcourse.models import thin_resnet
from kdcourse.training.checkpoint import digest

IMAGES = torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).reshape(2, 3, 8, 8) / 100


def network():
    torch.manual_seed(0)
    return thin_resnet(8, 4, classes=3).eval()


def hook_count(model):
    return sum(len(module._forward_hooks) for module in model.modules())


class Twice(nn.Module):
    """A layer that runs twice, one that never runs, and one whose output is no tensor."""

    def __init__(self):
        super().__init__()
        self.again, self.idle, self.pair = nn.Linear(3, 3), nn.Linear(3, 3), Pair()

    def forward(self, x):
        return self.pair(self.again(self.again(x)))[0]


class Pair(nn.Module):
    def forward(self, x):
        return x, x


class Broken(nn.Module):
    def forward(self, x):
        raise RuntimeError("broken on purpose")


def test_features_are_those_that_the_network_computes():
    model = network()
    with torch.no_grad(), FeatureHooks(model, ["layer1", "layer2.0", "fc"]) as hooks:
        logits = model(IMAGES)
        x = model.relu(model.bn1(model.conv1(IMAGES)))
        first = model.layer1(x)
        second = model.layer2[0](first)
    assert list(hooks) == ["layer1", "layer2.0", "fc"] and len(hooks) == 3
    assert torch.equal(hooks["layer1"], first) and torch.equal(hooks["layer2.0"], second)
    assert torch.equal(hooks["fc"], logits)


def test_looking_changes_nothing_in_the_network():
    model, plain = network(), network()
    before = digest(model)
    output = forward_with_features(model, IMAGES, ["layer1", "layer3"])
    assert torch.equal(output.logits, plain(IMAGES))
    assert digest(model) == before and not model.training
    assert hook_count(model) == 0


def test_the_gradient_goes_through_a_feature():
    model = network()
    forward_with_features(model, IMAGES, ["layer1"]).features["layer1"].sum().backward()
    assert model.conv1.weight.grad is not None and model.fc.weight.grad is None


def test_hooks_go_and_features_stay():
    model = network()
    hooks = FeatureHooks(model, ["layer1"])
    assert hook_count(model) == 0
    with hooks:
        assert hook_count(model) == 1
        model(IMAGES)
    assert hook_count(model) == 0
    kept = hooks["layer1"]
    model(2 * IMAGES)
    assert hooks["layer1"] is kept


def test_hooks_go_after_an_error_too():
    model = nn.Sequential(nn.Flatten(), Broken())
    with pytest.raises(RuntimeError, match="on purpose"):
        forward_with_features(model, IMAGES, ["0"])
    assert hook_count(model) == 0
    with pytest.raises(ZeroDivisionError), FeatureHooks(model, ["0"]):
        _ = 1 / 0
    assert hook_count(model) == 0


def test_a_second_use_forgets_the_first():
    model = network()
    hooks = FeatureHooks(model, ["layer1"])
    with hooks:
        model(IMAGES)
    with hooks, pytest.raises(UsageError, match="'layer1' did not run"):
        hooks["layer1"]


def test_a_layer_that_ran_twice_gives_its_last_output():
    model, x = Twice(), torch.ones(2, 3)
    output = forward_with_features(model, x, ["again"])
    assert torch.equal(output.features["again"], model.again(model.again(x)))


def test_a_layer_that_did_not_run_is_named():
    with pytest.raises(UsageError, match="'idle' did not run"):
        forward_with_features(Twice(), torch.ones(2, 3), ["idle"])


def test_an_output_that_is_no_tensor_is_named():
    model = Twice()
    with pytest.raises(UsageError, match="'pair' gives tuple, not a tensor"):
        forward_with_features(model, torch.ones(2, 3), ["pair"])
    assert hook_count(model) == 0


def test_an_unknown_path_comes_with_the_nearest_names():
    for path in ["layr2", ""]:
        with pytest.raises(UsageError, match="unknown layer of ThinResNet") as caught:
            FeatureHooks(network(), ["layer1", path])
        if path:
            assert (
                "Did you mean" in str(caught.value)
                and "layer2" in str(caught.value).split("Known")[0]
            )


def test_a_layer_that_was_not_tapped_is_named():
    model = network()
    with FeatureHooks(model, ["layer1"]) as hooks:
        model(IMAGES)
    with pytest.raises(UsageError, match="unknown hooked layer 'layer2'.*layer1"):
        hooks["layer2"]


def test_under_autocast_features_are_half_and_logits_whole():
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        output = forward_with_features(network(), IMAGES, ["layer1", "fc"])
    assert output.features["fc"].dtype == torch.bfloat16
    assert output.logits.dtype == torch.float32
    assert torch.equal(output.features["fc"].float(), output.logits)


def test_channels_last_gives_the_same_features():
    with torch.no_grad():
        plain = forward_with_features(network(), IMAGES, ["layer2"])
        model = network().to(memory_format=torch.channels_last)
        other = forward_with_features(
            model, IMAGES.to(memory_format=torch.channels_last), ["layer2"]
        )
    assert other.features["layer2"].shape == (2, 8, 4, 4)
    torch.testing.assert_close(other.features["layer2"], plain.features["layer2"])


def test_without_layers_there_are_logits_alone():
    model = network()
    output = forward_with_features(model, IMAGES)
    assert output.features == {} and torch.equal(output.logits, model(IMAGES))


def test_what_a_later_layer_does_in_place_is_not_output():
    model, x = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True)), torch.randn(4, 3)
    feature = forward_with_features(model, x, ["0"]).features["0"]
    assert (feature < 0).any() and torch.equal(feature, model[0](x))
    feature.sum().backward()
    assert torch.equal(model[0].bias.grad, torch.full((3,), 4.0))  # as if no ReLU had been
