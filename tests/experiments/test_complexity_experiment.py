"""D4's three arms at the size of a smoke run."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from kdcourse.common.errors import UsageError
from kdcourse.common.profiles import profile
from kdcourse.distillation import CachedTeacher, CrossEntropy, FitNets, ResponseKD
from kdcourse.evaluation import paired_interval
from kdcourse.experiments import baselines, complexity
from kdcourse.experiments.records import add_record
from kdcourse.training.checkpoint import describe

SETTINGS = profile("smoke")


@pytest.fixture
def data(make_data):
    return make_data(count=120, size=16)


@pytest.fixture(scope="module")
def made():
    """A maker's memory: one run serves several tests."""
    return {}


@pytest.fixture
def runs(data, made):
    if "runs" not in made:
        made["runs"] = complexity.run(data, SETTINGS, seeds=range(2))
    return made["runs"]


def test_every_arm_runs_with_every_seed_under_one_teacher(runs):
    assert list(runs.arm) == ["teacher"] + [arm for arm in complexity.ARMS for _ in range(2)]
    assert list(runs.seed) == [0] + 3 * [0, 1]
    assert runs.accuracy.between(0, 100).all()


def test_the_arms_learn_from_labels_answers_and_features(data):
    torch.manual_seed(0)
    teacher = CachedTeacher(baselines.teacher_recipe(data, SETTINGS).model())
    scratch, response, intermediate = (make() for make in complexity.arms(teacher).values())
    assert [type(arm) for arm in (scratch, response, intermediate)] == [
        CrossEntropy,
        ResponseKD,
        FitNets,
    ]
    assert response.teacher is teacher and intermediate.teacher is teacher
    assert intermediate.weights == {"hint": 1.0, "label": 1.0}
    describe(complexity.arms(teacher))  # can be kept under a recipe


def test_the_arms_have_equal_budgets(data, monkeypatch):
    recipes, train = [], complexity.load_or_train

    def watched(recipe, *args, **kwargs):
        recipes.append(recipe)
        return train(recipe, *args, **kwargs)

    monkeypatch.setattr(complexity, "load_or_train", watched)
    complexity.run(data, SETTINGS, seeds=[0], teacher_epochs=1, student_epochs=2)
    teacher, *students = recipes
    assert teacher.epochs == 1 and len(students) == 3
    budgets = {
        (r.epochs, r.views, r.seed, r.batch_size, r.augment, repr(r.optimizer), repr(r.model))
        for r in students
    }
    assert len(budgets) == 1 and students[0].epochs == 2


def test_an_arm_finds_the_network_of_the_same_recipe(data, monkeypatch):
    recipes, train = [], complexity.load_or_train

    def watched(recipe, *args, **kwargs):
        recipes.append(recipe)
        return train(recipe, *args, **kwargs)

    monkeypatch.setattr(complexity, "load_or_train", watched)
    complexity.run(data, SETTINGS, seeds=[0])
    network, _ = train(baselines.teacher_recipe(data, SETTINGS), data, progress=False)
    teacher = CachedTeacher(network)
    hint = partial(FitNets, teacher, "layer3", "layer3", hint_weight=1.0)
    base = baselines.student_recipe(data, SETTINGS, 0, SETTINGS.feature_epochs)
    makers = (
        CrossEntropy,
        partial(ResponseKD, teacher),
        hint,
    )  # notebook 05's labels, response, FitNets at 1
    own = [replace(base, objective=make, views=SETTINGS.views).key(data) for make in makers]
    assert [recipe.key(data) for recipe in recipes[1:]] == own


def test_a_summary_is_means_and_paired_differences(runs):
    row = complexity.summary(runs).iloc[0]
    by_arm = {arm: group.accuracy.to_numpy() for arm, group in runs.groupby("arm")}
    assert row.teacher == by_arm["teacher"][0] and row.seeds == 2
    for arm in complexity.ARMS:
        assert row[arm] == pytest.approx(by_arm[arm].mean())
    gain, half = paired_interval(by_arm["intermediate"], by_arm["response"])
    assert row["intermediate − response"] == pytest.approx(gain)
    assert row["intermediate − response ± 95 %"] == pytest.approx(half)


def test_a_summary_can_be_recorded(runs, data, tmp_path):
    path = tmp_path / "d4.csv"
    for _ in range(2):  # the second takes the place of the first
        add_record(path, data, complexity.summary(runs), "a command")
    read = pd.read_csv(path)
    assert len(read) == 1 and read["data set"][0] == "toy" and set(complexity.ARMS) <= set(read)


def test_cut_as_d4_only_where_there_is_an_official_test_set(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        complexity, "load_data", lambda name, **options: asked.setdefault(name, options)
    )
    for name in ("usps", "digits", "scenes", "a_folder"):
        complexity.load(name, profile("cpu"), limit=100, split_seed=3)
    assert {name: (options["split"], options["image_size"]) for name, options in asked.items()} == {
        "usps": ("d4", 16), "digits": (None, 16), "scenes": (None, 32), "a_folder": (None, 32),
    }  # fmt: skip
    assert asked["usps"]["limit"] == 100 and asked["usps"]["split_seed"] == 3
    complexity.load("cifar100", profile("gpu"))
    assert asked["cifar100"]["image_size"] == 32


def test_digits_from_its_files():
    data = complexity.load("digits", SETTINGS, limit=150, progress=False)
    assert data.image_size == (16, 16) and len(data.classes) == 10


def test_published_figures_are_those_of_the_paper():
    assert list(complexity.PUBLISHED.columns) == ["teacher", *complexity.ARMS]
    assert complexity.PUBLISHED.loc["cifar10"].tolist() == [75.23, 63.47, 64.13, 74.7]
    assert np.isfinite(complexity.PUBLISHED.to_numpy()).all()


def test_d4s_own_architectures(data):
    pair = complexity.resnets("small")
    for make, blocks in ((pair.teacher, 6), (pair.student, 2)):
        recipe = make(data, SETTINGS, 1, 3)
        model = recipe.model()
        assert (recipe.epochs, recipe.seed) == (3, 1) and len(model.layer3) == blocks
        assert model.conv1.kernel_size == (3, 3) and model.fc.out_features == 3


def test_unknown_data_set_is_said():
    with pytest.raises(UsageError, match="digts"):
        complexity.load("digts", SETTINGS)
