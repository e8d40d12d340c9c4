"""Networks: their sizes against sums done by hand from the layer tables, their shapes, their
weights.
"""

import subprocess
import sys
from urllib.error import URLError

import pytest
import torch
import torchvision

from kdcourse import models
from kdcourse.common.errors import DownloadError, KDCourseError, UsageError
from kdcourse.models.pretrained import adapt_first_convolution

NETWORKS = ("resnet18", "resnet34", "resnet50", "resnet152", "mobilenet_v2")


# A layer is (parameters, MACs). `size` is the height and width of its output.
def conv(before, after, kernel, size, bias=False):
    weights = before * after * kernel**2
    return weights + bias * after, weights * size**2


def norm(channels):
    return 2 * channels, 0


def linear(before, after):
    return (before + 1) * after, before * after


def total(*layers):
    return tuple(map(sum, zip(*layers, strict=True)))


def basic(before, after, size):
    """A basic block that changes shape: 3×3, 3×3 and a 1×1 shortcut."""
    return total(
        conv(before, after, 3, size),
        conv(after, after, 3, size),
        conv(before, after, 1, size),
        *3 * [norm(after)],
    )


def basic_same(channels, size):
    return total(*2 * [conv(channels, channels, 3, size), norm(channels)])


def bottleneck_stage(before, width, blocks, size_in, size):
    """1×1 down, 3×3 with the stride, 1×1 up to 4 · width; a 1×1 shortcut in the first block."""
    after = 4 * width
    first = [
        conv(before, width, 1, size_in),
        conv(width, width, 3, size),
        conv(width, after, 1, size),
    ]
    first += [conv(before, after, 1, size), norm(width), norm(width), norm(after), norm(after)]
    later = [conv(after, width, 1, size), conv(width, width, 3, size), conv(width, after, 1, size)]
    later += [norm(width), norm(width), norm(after)]
    return total(*first, *(blocks - 1) * later)


D1_TEACHER = total(  # 32×32 → 16 → (max-pool) 8 → 8 → 4 → 2 → 1
    conv(13, 64, 7, 16),
    norm(64),
    bottleneck_stage(64, 64, 3, 8, 8),
    bottleneck_stage(256, 128, 4, 8, 4),
    bottleneck_stage(512, 256, 6, 4, 2),
    bottleneck_stage(1024, 512, 3, 2, 1),
    linear(2048, 10),
)
D1_STUDENT = total(  # 32×32 → 32 → 32 → 16 → 8 → 4
    conv(13, 32, 3, 32),
    norm(32),
    *(
        conv(32, 64, 3, 32, bias=True),
        conv(64, 64, 3, 32),
        conv(32, 64, 1, 32, bias=True),
        *3 * [norm(64)],
    ),
    *(
        basic_same(64, 32),
        basic(64, 128, 16),
        basic_same(128, 16),
        basic(128, 256, 8),
        basic_same(256, 8),
    ),
    *(basic(256, 512, 4), basic_same(512, 4), linear(512, 10)),
)
THIN_8 = total(
    conv(13, 16, 3, 32),
    norm(16),
    basic_same(16, 32),
    basic(16, 32, 16),
    basic(32, 64, 8),
    linear(64, 10),
)
THIN_10 = total(THIN_8, linear(128, 10), basic(64, 128, 4), [-x for x in linear(64, 10)])
THIN_14 = total(THIN_8, basic_same(16, 32), basic_same(32, 16), basic_same(64, 8))


@pytest.mark.parametrize(
    ("build", "by_hand", "pinned"),
    [
        (models.d1_teacher, D1_TEACHER, (23_559_882, 91_459_584)),
        (models.d1_student, D1_STUDENT, (11_159_786, 540_709_888)),
        (lambda: models.thin_resnet(8, 16, 13), THIN_8, (79_482, 13_976_192)),
        (lambda: models.thin_resnet(10, 16, 13), THIN_10, None),
        (lambda: models.thin_resnet(14, 16, 13), THIN_14, None),
    ],
    ids=["d1_teacher", "d1_student", "thin 8", "thin 10", "thin 14"],
)
def test_parameters_and_macs_are_those_of_the_layer_table(build, by_hand, pinned):
    measured = models.cost(build(), (13, 32, 32), latency=False)
    assert (measured.parameters, measured.macs) == by_hand
    assert pinned in (None, by_hand)


@pytest.mark.parametrize("name", NETWORKS)
def test_sizes_are_the_ones_torchvision_publishes(name):
    with torch.device("meta"):  # shapes alone, no arithmetic
        model = getattr(models, name)(channels=3, classes=1000)
    measured = models.cost(model, (3, 224, 224), latency=False)
    published = torchvision.models.get_model_weights(name).IMAGENET1K_V1.meta
    assert measured.parameters == published["num_params"]
    assert measured.macs / 1e9 == pytest.approx(published["_ops"], abs=0.001)


def test_any_channels_classes_size():
    for name in ("resnet18", "resnet50", "mobilenet_v2"):
        for stem in ("imagenet", "small"):
            for channels, classes, size in ((1, 10, 28), (3, 100, 16), (13, 10, 64)):
                with torch.device("meta"):
                    model = getattr(models, name)(channels, classes, stem=stem).eval()
                    shape = model(torch.zeros(2, channels, size, size)).shape
                assert shape == (2, classes), (name, stem)


def test_thin_resnets_take_any_size():
    for depth in (8, 10, 14):
        for channels, classes, size in ((1, 10, 28), (13, 7, 64)):
            model = models.thin_resnet(depth, 8, channels, classes).eval()
            assert model(torch.randn(2, channels, size, size)).shape == (2, classes)


def test_d1_pair_runs_at_both_resolutions():
    for build in (models.d1_teacher, models.d1_student):
        with torch.device("meta"):
            network = build().eval()
            for size in (32, 64):
                assert network(torch.randn(1, 13, size, size)).shape == (1, 10)


def test_stems_keep_or_quarter_the_resolution():
    for name, stage, sizes in (
        ("resnet18", "layer1", {"imagenet": 8, "small": 32}),
        ("mobilenet_v2", "features.2", {"imagenet": 8, "small": 32}),
        ("mobilenet_v2", "features.18", {"imagenet": 1, "small": 4}),
    ):
        for stem, size in sizes.items():
            table = models.stages(getattr(models, name)(stem=stem), (3, 32, 32)).set_index("stage")
            assert table.height[stage] == table.width[stage] == size


def test_features_can_be_tapped_by_path():
    for build in (models.d1_teacher, models.d1_student, models.resnet34, models.thin_resnet):
        paths = dict(build().named_modules())
        assert {"conv1", "bn1", "layer1", "layer2.0", "layer3", "fc"} <= paths.keys()


def test_the_seed_decides_the_weights():
    def weights(seed):
        torch.manual_seed(seed)
        return torch.nn.utils.parameters_to_vector(models.thin_resnet().parameters())

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: models.resnet18(stem="smal"), "Did you mean small"),
        (lambda: models.mobilenet_v2(stem="cifar"), "imagenet, small"),
        (lambda: models.thin_resnet(depth=12), "10, 14, 8"),
        (lambda: models.thin_resnet(width=0), "width=0"),
        (lambda: models.d1_teacher(channels=0), "channels=0"),
        (lambda: models.resnet50(classes=1), "classes=1"),
    ],
)
def test_arguments_that_cannot_be_right(call, says):
    with pytest.raises(UsageError, match=says):
        call()


@pytest.fixture
def download(monkeypatch, tmp_path):
    """Replaces torch's download by a function of (url, destination)."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def replace(function):
        monkeypatch.setattr(
            torch.hub, "download_url_to_file", lambda url, to, *_, **__: function(url, to)
        )

    return replace


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_offline_names_the_network_and_the_way_on(download, name):
    def offline(url, to):
        raise URLError("Name or service not known")

    download(offline)
    with pytest.raises(DownloadError, match=r"(?s)pretrained=False.*from scratch") as caught:
        getattr(models, name)(pretrained=True)
    assert name.replace("_", "") in str(caught.value).lower().replace("_", "")
    assert isinstance(caught.value, KDCourseError)


def test_damaged_weights(download):
    def wrong_checksum(url, to):
        raise RuntimeError('invalid hash value (expected "f37072fd", got "00")')

    download(wrong_checksum)
    with pytest.raises(DownloadError, match="invalid hash value"):
        models.resnet18(pretrained=True)
    for content in (b"", b"<html>log in</html>"):
        download(lambda url, to, content=content: open(to, "wb").write(content) and None)
        with pytest.raises(DownloadError, match="ResNet18"):
            models.resnet18(pretrained=True)


@pytest.mark.parametrize(
    ("name", "first", "head"),
    [("resnet18", "conv1", "fc"), ("mobilenet_v2", "features.0.0", "classifier.1")],
)
def test_pretrained_weights_go_in_but_for_the_classifier(download, name, first, head):
    original = torchvision.models.get_model(name, weights=None)
    download(lambda url, to: torch.save(original.state_dict(), to))
    model = getattr(models, name)(channels=3, classes=10, pretrained=True)
    for path, tensor in original.state_dict().items():
        if not path.startswith(head):
            assert torch.equal(model.state_dict()[path], tensor), path
    assert model.get_submodule(head).out_features == 10

    bands = getattr(models, name)(channels=13, classes=10, pretrained=True)
    rgb = original.get_submodule(first)
    grey = torch.rand(1, 1, 32, 32)  # all bands alike: the same answer as before
    torch.testing.assert_close(
        bands.get_submodule(first)(grey.repeat(1, 13, 1, 1)), rgb(grey.repeat(1, 3, 1, 1))
    )


def test_pretrained_with_a_small_stem_keeps_all_but_the_stem(download):
    original = torchvision.models.resnet18(weights=None)
    download(lambda url, to: torch.save(original.state_dict(), to))
    model = models.resnet18(stem="small", pretrained=True)
    assert model.conv1.weight.shape == (64, 3, 3, 3)
    assert torch.equal(model.layer1[0].conv1.weight, original.layer1[0].conv1.weight)


def test_adapted_filters_by_hand():
    rgb = torch.tensor([1.0, 2.0, 6.0]).reshape(1, 3, 1, 1)
    assert adapt_first_convolution(rgb, 1).flatten().tolist() == [9.0]
    assert adapt_first_convolution(rgb, 6).flatten().tolist() == [1.5] * 6
    assert torch.equal(adapt_first_convolution(rgb, 3), rgb)


@pytest.mark.parametrize(("stride", "side"), [(1, 32), (2, 16), (4, 8)])
def test_a_strided_stem_looks_at_every_pixel_and_reduces_the_map(stride, side):
    model = models.thin_resnet(8, 4, 3, 10, stem_stride=stride).eval()
    assert model.conv1(torch.zeros(1, 3, 32, 32)).shape == (1, 4, side, side)
    image = torch.zeros(1, 3, 32, 32, requires_grad=True)
    reach = torch.autograd.grad(model.conv1(image).sum(), image)[0]
    assert (reach[..., 1:-1, 1:-1] != 0).all()


def test_an_impossible_stem_stride_is_refused():
    with pytest.raises(UsageError, match="stem_stride=3"):
        models.thin_resnet(8, 4, stem_stride=3)


@pytest.mark.slow
def test_importing_the_networks_needs_no_torchvision():
    code = (
        "import sys; from kdcourse.models import thin_resnet\n"
        "print([name for name in ('torchvision', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert done.stdout == "[]\n"
