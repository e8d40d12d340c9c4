"""D3's own networks and data."""

import json

import pytest
import torch

from kdcourse.common.errors import DataError, DownloadError
from kdcourse.common.profiles import profile
from kdcourse.curriculum import Linear, easy_to_hard
from kdcourse.data import Batches
from kdcourse.distillation import Teacher
from kdcourse.experiments import baselines, curriculum
from kdcourse.experiments import curriculum_recipes as recipes
from kdcourse.models import thin_resnet

SETTINGS = profile("smoke")


def test_the_full_recipe_trains(make_data):
    data = make_data(count=30, size=16)
    with torch.device("meta"):  # its 58 million weights are not needed here
        network = recipes.teacher_from_scratch(data, SETTINGS).model()
        assert network(torch.zeros(2, 3, 16, 16)).shape == (2, 3)
    assert len(network.layer3) == 36 and network.conv1.stride == (1, 1)
    teacher = Teacher(baselines.teacher_recipe(data, SETTINGS).model())
    arm = curriculum.Arm(
        "curriculum", curriculum.teacher_only(teacher), 0.6, easy_to_hard, Linear()
    )
    student, _ = curriculum.train(
        arm,
        data,
        SETTINGS,
        teacher,
        epochs=2,
        seed=0,
        renew_every=2,
        student=recipes.mobilenet,
    )
    assert type(student).__name__ == "MobileNetV2" and student.classifier[1].out_features == 3


def test_the_recipe_is_d3s(make_data):
    recipe = recipes.mobilenet(make_data(count=30, size=8), profile("gpu"), seed=1, epochs=1000)
    assert (recipe.epochs, recipe.batch_size, recipe.keep, recipe.seed) == (1000, 128, "best", 1)
    optimiser = recipe.optimizer([torch.nn.Parameter(torch.zeros(1))])
    assert type(optimiser) is torch.optim.Adam
    assert (optimiser.defaults["lr"], optimiser.defaults["weight_decay"]) == (1e-3, 1e-4)
    schedule, rates = recipe.schedule(optimiser, 10), []
    for _ in range(10):
        optimiser.step()
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    assert rates[4] == pytest.approx((1e-3 + 1e-6) / 2) and rates[-1] == pytest.approx(1e-6)


def test_large_images_get_imagenets_stem(make_data):
    model = recipes.mobilenet(make_data(count=15, size=128), SETTINGS).model()
    assert model.features[0][0].stride == (2, 2)


def test_which_data(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        recipes, "load_data", lambda name, **options: asked.setdefault(name, options)
    )
    for name in ("smoke", "cpu", "gpu"):
        recipes.load(profile(name), limit=100)
    assert asked == {
        "tiny_imagenet": {"image_size": 64, "limit": 100},
        "mini_imagenet": {"image_size": 224, "limit": 100},
    }


@pytest.fixture
def class_index(tmp_path):
    path = tmp_path / "index.json"
    path.write_text(
        json.dumps({"0": ["n01440764", "tench"], "7": ["class0", "x"], "3": ["class1", "y"]})
    )
    return path


def test_label_map(class_index):
    assert recipes.label_map(["class1", "class0"], class_index) == [3, 7]


def test_a_bad_class_index_is_refused(tmp_path):
    path = tmp_path / "bad.json"
    for text in (None, "[1]", '{"a": ["n1", "x"]}', '{"0": 3}', "{"):
        if text is not None:
            path.write_text(text)
        with pytest.raises(DataError, match="bad.json: not ImageNet's class index.*n01440764"):
            recipes.label_map(["n1"], path)


def test_a_class_that_imagenet_has_not_is_said(class_index):
    with pytest.raises(DataError, match="2 of 3 classes are not in it, lake for one"):
        recipes.label_map(["lake", "class0", "sea"], class_index)


def two_of_a_thousand(make_data, monkeypatch):
    """Data of two classes, and a small network in the place of the ResNet-152."""
    data = make_data(count=30, classes=2)
    head = {"fc.weight": torch.randn(1000, 32), "fc.bias": torch.arange(1000.0)}
    monkeypatch.setattr(
        recipes, "resnet152", lambda classes, pretrained: thin_resnet(8, 8, classes=classes)
    )
    monkeypatch.setattr(
        recipes.ResNet152_Weights, "get_state_dict", lambda self, **options: dict(head)
    )
    return data, head


def test_the_imagenet_teacher_keeps_its_head_and_answers_for_the_classes(
    make_data, monkeypatch, class_index
):
    data, head = two_of_a_thousand(make_data, monkeypatch)
    teacher = recipes.imagenet_teacher(data, class_index)
    assert torch.equal(teacher.network.fc.bias, head["fc.bias"]) and teacher.label_map == (7, 3)
    batch = next(Batches(data.val, 4).epoch())
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in recipes.IMAGENET)
    raw = torch.from_numpy(data.val.take(range(4))).float()
    with torch.no_grad():
        expected = teacher.network((raw - mean) / std)[:, [7, 3]]
    torch.testing.assert_close(teacher(batch), expected, atol=1e-3, rtol=1e-3)


def test_without_the_weights_it_says_so(make_data, monkeypatch, class_index):
    def fails(self, **options):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models.WeightsEnum.get_state_dict", fails)
    with pytest.raises(DownloadError, match="no network.*checkpoints"):
        recipes.imagenet_teacher(make_data(count=30, classes=2), class_index)
